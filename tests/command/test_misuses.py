"""A table to be read: what a wrong command line answers, in one line and with exit code 2.

In data/misuses.txt stands a command after `$ `, and under it all that is printed, where a last
`...` is its rest. Nothing is written. The commands of its last section are processes of their own.
"""

import contextlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import sweeps

from jaxmu.command import cli, endings, program
from jaxmu.evaluation.evidence_file import PARTS
from jaxmu.execution import runner

TABLE = (Path(__file__).parent / "data" / "misuses.txt").read_text()
HERE, APART = (
  re.findall(r"^\$ (.+)\n(.+)$", part, re.M) for part in TABLE.split("# Programs in processes")
)
LONGEST = 800  # the entries of a config are many


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Make the folder that the commands are given in."""
  made = tmp_path_factory.mktemp("misuses")
  (made / "folder.py").mkdir()
  (made / "folder").mkdir()
  (made / "configs").mkdir()
  shutil.copy(sweeps.ROOT / "configs" / "cnn_digits.py", made / "configs")
  (made / "bin").symlink_to(sweeps.ROOT / "bin")
  (made / "mine.txt").write_text("hello")
  np.savez(made / "alien.npz", a=np.ones(3))
  np.savez(made / "part.npz", **{"original/retain": np.ones((3, 2))})
  (made / "damaged.json").write_text("{")
  (made / "alien.json").write_text('{"a": 1}')
  empty = {"format": 1, "versions": {}, "thresholds": {}, "inputs": {}, "results": {}}
  assert {*empty, "shared_images"} == {*PARTS}
  (made / "alone.json").write_text(json.dumps(empty | {"shared_images": None}))
  (made / "older.json").write_text(json.dumps(empty | {"shared_images": None, "format": 0}))
  return made


@pytest.fixture
def here(folder, monkeypatch):
  """Work in the folder, where nothing may be computed and nothing written."""

  def late(*args, **options):
    raise AssertionError("this ought to have been refused before")

  monkeypatch.setattr(runner, "run", late)
  monkeypatch.setattr(endings.os, "_exit", sys.exit)
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
  monkeypatch.chdir(folder)
  before = sorted(folder.rglob("*"))
  yield folder
  assert sorted(folder.rglob("*")) == before


def words_of(command):
  return shlex.split(command.replace("\\", "\\\\"))


def told(command, monkeypatch, capsys):
  """Run a command in this process; return its exit code and all that it prints."""
  name, *words = words_of(command)
  monkeypatch.setattr(sys, "argv", [name])
  if name == "jaxmu":
    with pytest.raises(SystemExit) as ended:
      program.run(words)
    return ended.value.code, "".join(capsys.readouterr())
  script = runpy.run_path(words[0], run_name="script")
  code = cli.run(script["main"], script["flags"](), words[1:])
  return code, "".join(capsys.readouterr())


def check(code, text, expected, folder):
  text = text.replace(f"{folder}/", "").replace(f"{sweeps.ROOT}/", "")
  start = expected.removesuffix("...")
  assert code == 2, text
  assert text.startswith(start) and (text == f"{start}\n" or expected != start), text
  assert text.count("\n") == 1 and text.endswith("\n") and len(text) < LONGEST, text


@pytest.mark.parametrize(("command", "expected"), HERE, ids=[command for command, _ in HERE])
def test_a_misuse_is_one_line(command, expected, here, monkeypatch, capsys):
  check(*told(command, monkeypatch, capsys), expected, here)


def test_programs_end_alike(here):
  """All at once: a process takes its time to start."""
  start = lambda command: subprocess.Popen(
    [sys.executable, *words_of(command)[1:]],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  with contextlib.ExitStack() as stack:
    started = [stack.enter_context(start(command)) for command, _ in APART]
    for process, (_, expected) in zip(started, APART):
      text, _ = process.communicate(timeout=120)
      check(process.returncode, text, expected, here)


def test_every_line_of_the_table_is_read():
  told = [line for line in TABLE.splitlines() if line and not line.startswith("# ")]
  known = [command for command, _ in HERE + APART]
  assert len(told) == 2 * len(known) and len(set(known)) == len(known) > 40
