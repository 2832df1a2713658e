"""A benchmark small enough to run whole in a test: synthetic 8x8 images, two seeds."""

import runpy
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWEEP = str(ROOT / "bin" / "sweep.py")


def arguments(output_dir, *overrides, methods="ft,msg", epochs=3):
  """Return the command line of the tiny benchmark; later overrides win."""
  return [
    f"--config={ROOT / 'configs' / 'search_digits.py'}",  # hyper-parameters chosen by hand
    "--config.study=benchmark",
    "--config.name=cnn_digits",
    "--config.dataset=synthetic",
    "--config.data.forget_fraction=0.1",
    "--config.model.width=4",
    "--config.seeds=0,1",
    f"--config.methods={methods}",
    f"--config.training.num_epochs={epochs}",
    "--config.unlearning.ft.num_epochs=3",
    "--config.unlearning.msg.num_epochs=3",
    "--config.checkpoint_seconds=0",
    "--config.evaluation.bootstrap=50",
    f"--config.output_dir={output_dir}",
    *overrides,
  ]


def call(*argv) -> int:
  """Run bin/sweep.py in this process; returns its exit code."""
  from jaxmu.command import cli

  script = runpy.run_path(SWEEP, run_name="sweep")
  return cli.run(script["main"], script["flags"](), list(argv))


def settings(*argv):
  """Return the settings of a command line."""
  from jaxmu.command import cli
  from jaxmu.settings import Settings
  from jaxmu.studies import catalog

  flags = runpy.run_path(SWEEP, run_name="sweep")["flags"]()
  return Settings.from_config(cli.parse(flags, argv).config, catalog())


def command(*argv) -> list[str]:
  """Return the same as a command for a process of its own."""
  return [sys.executable, SWEEP, *argv]


def only_run(output_dir) -> Path:
  """Return the one run directory in a folder."""
  (run,) = [path for path in Path(output_dir).glob("[!.]*") if path.is_dir()]
  return run


def kill_within(stage, argv, output_dir, patience=120):
  """Start a program and SIGKILL it once `stage` has saved a leg but is not done."""
  process = subprocess.Popen(command(*argv), stderr=subprocess.PIPE)
  deadline = time.monotonic() + patience
  try:
    while time.monotonic() < deadline:
      saved = list(output_dir.glob(f"*/legs/{stage}/*/*-*/metadata.json"))
      done = list(output_dir.glob(f"*/stages/{stage}/*/marker.json"))
      assert not done, f"{stage} ended before it could be killed"
      assert process.poll() is None, process.stderr.read().decode()
      if saved:
        return
      time.sleep(0.002)
    raise AssertionError(f"{stage} saved no leg within {patience} s")
  finally:
    process.kill()
    process.wait()
    process.stderr.close()
