"""What tests of several reports start."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch, capsys):
  """Run bin/report.py with arguments; returns exit code, stdout and stderr."""

  def call(*arguments):
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
      runpy.run_path(str(ROOT / "bin" / "report.py"), run_name="__main__")
    return stopped.value.code, *capsys.readouterr()

  return call
