"""Attempts at a unit: counted, told apart by how they ended, refused where they lead nowhere."""

import os
import socket
import time
from contextlib import suppress

import pytest

from jaxmu.errors import Interrupted, StoreError, UserError
from jaxmu.store import files, unit_attempts
from jaxmu.store.groups import ATTEMPTS

AT = [{"seed": 4}, {"seed": 5}]


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "legs" / "ft" / "4-5-ab"


def attempt(folder, error=None, leg=""):
  """Make an attempt that saves a leg, if it is given one, and ends by an error, if by any.

  Without an error the file stays as it is while the unit is worked on.
  """
  with suppress(Exception, KeyboardInterrupt), unit_attempts.noted(folder, AT):
    if leg:
      (folder / leg).mkdir()
    if error is not None:
      raise error
  return unit_attempts.read(folder)


def died(folder, leg=""):
  """Make an attempt of which nothing was heard any more."""
  return attempt(folder, leg=leg)


def test_an_attempt_says_who_where_and_of_whom(folder, monkeypatch):
  monkeypatch.setenv("SLURM_JOB_ID", "71")
  found = attempt(folder)
  assert (found.begun, found.crashes, found.ended, found.error) == (1, 0, "", "")
  assert (found.host, found.process, found.job) == (socket.gethostname(), os.getpid(), "71")
  assert list(found.members) == AT and abs(found.time - time.time()) < 60


@pytest.mark.parametrize(
  ("variables", "job"),
  [
    ({}, ""),
    ({"SLURM_JOB_ID": "71"}, "71"),
    ({"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}, "70_3"),
    ({"JOB_COMPLETION_INDEX": "0"}, "index 0"),
  ],
)
def test_the_job_of_a_queue(variables, job, monkeypatch):
  for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert unit_attempts.job_name() == job


def test_an_error_is_one_line(folder):
  found = attempt(folder, ValueError("first\nsecond"))
  assert (found.ended, found.error, found.crashes) == ("failed", "ValueError: first second", 1)
  assert attempt(folder, StoreError("the disk is full")).error == "the disk is full"
  assert attempt(folder, KeyError()).error == "KeyError"
  assert len(attempt(folder, ValueError("x" * 9999)).error) < 200


def test_crashes_in_a_row_are_counted_with_those_that_said_nothing(folder):
  assert [attempt(folder, ValueError("a")).crashes, died(folder).crashes] == [1, 1]
  last = attempt(folder, ValueError("b"))
  assert (last.begun, last.crashes, last.error) == (3, 3, "ValueError: b")
  assert died(folder).crashes == 3 and died(folder).crashes == 4


def test_being_stopped_is_no_crash(folder):
  attempt(folder, ValueError("a"))
  stopped = attempt(folder, Interrupted(75, "SIGTERM"))
  assert (stopped.begun, stopped.crashes, stopped.ended) == (2, 1, "interrupted")
  assert attempt(folder, KeyboardInterrupt()).ended == "interrupted"
  assert attempt(folder, ValueError("b")).crashes == 2


@pytest.mark.parametrize("end", ["error", "death", "stop"])
def test_a_new_leg_makes_earlier_crashes_forgotten(folder, end):
  attempt(folder, ValueError("a"))
  attempt(folder, ValueError("a"))
  if end == "error":
    assert attempt(folder, ValueError("b"), leg="0-9").crashes == 0
  elif end == "death":
    died(folder, leg="0-9")
  else:
    attempt(folder, Interrupted(75, "SIGTERM"), leg="0-9")
  assert attempt(folder, ValueError("c")).crashes == 1
  assert attempt(folder, ValueError("c"), leg="0-10").crashes == 0  # later than 0-9
  assert unit_attempts.latest_leg(folder) == "0-10"


def test_after_three_crashes_it_is_refused_until_its_file_is_deleted(folder):
  unit_attempts.refuse_hopeless(folder, "ft/4-5-ab")
  for _ in range(3):
    unit_attempts.refuse_hopeless(folder, "ft/4-5-ab")
    attempt(folder, ValueError("no such kernel"))
  with pytest.raises(UserError) as refused:
    unit_attempts.refuse_hopeless(folder, "ft/4-5-ab")
  said = str(refused.value)
  assert said.startswith("ft/4-5-ab crashed 3 times in a row without getting further, at last on ")
  assert said.endswith(f"(ValueError: no such kernel); delete {folder / ATTEMPTS} to try it again")
  (folder / ATTEMPTS).unlink()
  unit_attempts.refuse_hopeless(folder, "ft/4-5-ab")


def test_a_process_that_dies_again_and_again_is_refused_as_well(folder):
  for _ in range(3):
    unit_attempts.refuse_hopeless(folder, "u")
    died(folder)
  with pytest.raises(UserError, match=r"crashed 3 times .*died without a word: killed, or out of"):
    unit_attempts.refuse_hopeless(folder, "u")


def test_what_nobody_can_read_or_write_is_done_without(folder, monkeypatch):
  attempt(folder, ValueError("a"))
  (folder / ATTEMPTS).write_text('{"begun": ')
  assert unit_attempts.read(folder) is None
  assert attempt(folder).begun == 1
  files.write_json(folder / ATTEMPTS, {"begun": "many"})
  assert unit_attempts.read(folder) is None

  def full(*given):
    raise StoreError("the disk is full")

  monkeypatch.setattr(files, "replace", full)
  with pytest.raises(ZeroDivisionError), unit_attempts.noted(folder, AT):
    raise ZeroDivisionError
