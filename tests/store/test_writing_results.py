"""Several processes at the end of one study: one writes results, the others find them written."""

import pytest
from support import manifests

from jaxmu.store import Run
from jaxmu.store import run as run_module

ROWS = [{"method": "ft", "seed": seed, "RA": 0.5} for seed in range(3)]


@pytest.fixture
def run(tmp_path):
  return Run.create(tmp_path, "x", "0", {"name": "x"}, manifests.manifest(seeds=(0, 1)))


def meet(run, monkeypatch, end):
  """Let one process write results while another waits; return what the second one is told."""
  first = run.alone()
  assert first.__enter__() is False

  def sleep(seconds):
    end()
    first.__exit__(None, None, None)

  monkeypatch.setattr(run_module.time, "sleep", sleep)
  with Run.open(run.path).alone() as written:
    return written


def write(run):
  with run.writing_results():
    run.write_rows(ROWS)


def test_who_waited_finds_results_written(run, monkeypatch):
  assert meet(run, monkeypatch, lambda: write(run))
  assert len(run.rows()) == len(ROWS)


def test_who_waited_for_one_that_was_killed_writes_them(run, monkeypatch):
  assert not meet(run, monkeypatch, lambda: None)


def test_results_of_another_config_do_not_count(run, monkeypatch):
  def grow():
    write(run)
    config = {"name": "x", "more": 1}
    Run.create(run.path.parent, "x", "0", config, manifests.manifest(seeds=(0, 1)))

  assert not meet(run, monkeypatch, grow)


def test_who_did_not_wait_writes_again(run):
  """What is there may be of older code."""
  write(run)
  with run.alone() as written:
    assert not written
