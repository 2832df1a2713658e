"""How programs end: one line and an exit code for whatever a user can cause."""

import errno
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest

from jaxmu import errors
from jaxmu.command import cli, endings

GO_ON = "; run the same command again to go on where it stopped"
MEMORY = "; try --config.population.members_at_once=1, "
ENDINGS = {
  "mistake": (errors.DataError("a\nb   c"), 2, "error: a b c"),
  "missing need": (errors.NeedMissing("no original/000"), 69, "error: no original/000"),
  "held elsewhere": (errors.Busy("node7 works on it"), 75, "error: node7 works on it"),
  "SIGTERM": (errors.Interrupted(75, "SIGTERM"), 75, f"stopped by SIGTERM{GO_ON}"),
  "Ctrl-C": (errors.Interrupted(130, "Ctrl-C"), 130, f"stopped by Ctrl-C{GO_ON}"),
  "Ctrl-C of Python": (KeyboardInterrupt(), 130, f"stopped by Ctrl-C{GO_ON}"),
  "full disk": (
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b"),
    2,
    "error: cannot use /a/b: No space left on device",
  ),
  "full output": (
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    2,
    "error: cannot write to the standard output: No space left on device",
  ),
  "device memory": (
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.\nmore"),
    2,
    f"error: out of memory (Out of memory allocating 123 bytes. more){MEMORY}",
  ),
  "memory": (MemoryError(), 2, f"error: out of memory{MEMORY}"),
}
CRASHES = [
  ZeroDivisionError("x"),
  jax.errors.JaxRuntimeError("INTERNAL: x"),
  OSError(errno.EIO, "x", "y"),
  ValueError("RESOURCE_EXHAUSTED: x"),
]


def ending(error, monkeypatch):
  def main(args):
    raise error

  monkeypatch.setattr(os, "dup2", lambda a, b: None)  # pytest's output stays
  return cli.run(main, cli.parser("A program.", config=False), [])


@pytest.mark.parametrize("case", ENDINGS)
def test_what_a_user_can_cause_is_one_line_and_a_code(case, capsys, monkeypatch):
  error, code, line = ENDINGS[case]
  assert ending(error, monkeypatch) == code
  shown = capsys.readouterr().err
  assert shown.startswith(line) and shown.count("\n") == 1


@pytest.mark.parametrize("error", CRASHES, ids=repr)
def test_other_errors_keep_their_traceback(error, monkeypatch):
  with pytest.raises(type(error), match=re.escape(str(error))):
    ending(error, monkeypatch)


def test_scripts_get_what_knows_of_signals():
  seen = []
  assert (
    cli.run(lambda args: seen.append(args.stop.wanted), cli.parser("A.", config=False), []) == 0
  )
  assert seen == [False]
  assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


PRINTS = """
import sys
import tomllib
from pathlib import Path
from jaxmu.command import cli, endings
sys.exit(cli.run(lambda args: print(*range({count})), cli.parser("A.", config=False), []))
"""


@pytest.mark.parametrize("count", [10, 100_000])  # found out when flushed, and while printing
def test_output_onto_a_full_disk_is_one_line(count):
  command = [sys.executable, "-c", PRINTS.format(count=count)]
  with open("/dev/full", "w") as full:
    done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
  assert done.returncode == 2
  assert done.stderr == "error: cannot write to the standard output: No space left on device\n"


@pytest.mark.parametrize("count", [10, 100_000])
def test_a_reader_that_goes_away_is_no_error(count):
  command = [sys.executable, "-c", PRINTS.format(count=count)]
  pipe = subprocess.PIPE
  with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, b"")


def test_signs_that_the_terminal_lacks_are_no_error():
  command = [sys.executable, "-c", PRINTS.replace("*range({count})", "'0.5 \\u00b1 0.1'")]
  environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"}
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert (done.returncode, done.stdout, done.stderr) == (0, "0.5 ? 0.1\n", "")


def test_an_absent_package_of_an_extra_is_one_line(capsys):
  absent = ModuleNotFoundError("No module named 'orbax'", name="orbax.checkpoint")
  assert endings.told(absent) == 2
  line = "orbax.checkpoint is not installed; run pip install 'jaxmu[bench]', which has all of it"
  assert capsys.readouterr().err == f"error: {line}\n"
  with pytest.raises(ModuleNotFoundError):  # of the program itself
    endings.told(ModuleNotFoundError("No module named 'jaxmu.x'", name="jaxmu.x"))


def test_every_package_of_an_extra_is_known():
  """What pip calls a package and what Python imports differ."""
  root = Path(__file__).parents[2]
  extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
  imported = {"absl-py": "absl", "adjusttext": "adjustText", "pillow": "PIL", "pyyaml": "yaml"}
  imported |= {"orbax-checkpoint": "orbax", "tensorflow-datasets": "tensorflow_datasets"}
  names = {re.split(r"[\[><=]", one)[0] for extra in ("bench", "report") for one in extras[extra]}
  assert {imported.get(name, name) for name in names - {"jaxmu"}} <= set(endings.EXTRAS)
