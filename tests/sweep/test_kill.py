"""SIGKILL in the middle of two stages, the same command again: bit-identical results."""

import subprocess
import time

import numpy as np
import sweeps

from jaxmu import checkpoint
from jaxmu.store import Run

STAGES = ("original", "retrained", "msg")
KILLED = ("original", "msg")  # retraining goes through the same lines as the original
EPOCHS = ("--config.unlearning.msg.num_epochs=12",)


def kill_within(stage, argv, output_dir, patience=120):
  """Start the benchmark and kill it once `stage` has saved a leg but is not done."""
  process = subprocess.Popen(sweeps.command(*argv), stderr=subprocess.PIPE)
  deadline = time.monotonic() + patience
  try:
    while time.monotonic() < deadline:
      saved = [p for p in output_dir.glob(f"*/legs/{stage}/*/metadata.json")]
      done = list(output_dir.glob(f"*/stages/{stage}.json"))
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


def test_killed_runs_end_bit_identical(tmp_path):
  calm, rough = tmp_path / "calm", tmp_path / "rough"
  arguments = lambda folder: sweeps.arguments(folder, *EPOCHS, methods="msg", epochs=12)
  assert sweeps.call(*arguments(calm)) == 0
  for stage in KILLED:
    kill_within(stage, arguments(rough), rough)
  assert sweeps.call(*arguments(rough)) == 0
  a, b = (Run.open(sweeps.only_run(folder)) for folder in (calm, rough))
  for table in ("rows.parquet", "curves.parquet"):
    assert (a.path / table).read_bytes() == (b.path / table).read_bytes()
  for stage in STAGES:
    assert checkpoint.describe(a.state_path(stage)).sha256 == (
      checkpoint.describe(b.state_path(stage)).sha256
    )
    np.testing.assert_array_equal(a.array(f"logits/{stage}"), b.array(f"logits/{stage}"))
