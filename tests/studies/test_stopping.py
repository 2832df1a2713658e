"""Stopped by a signal or by the clock: saved, told in a line, gone on with, the same in the end."""

import os
import signal
import subprocess
import time

import pytest
from support import signals, sweeps

from jaxmu.store.legs import Legs
from jaxmu.store.record import Record

LONG = ("--config.unlearning.ft.num_epochs=400", "--config.checkpoint_seconds=1000")


def arguments(folder, *overrides):
  return sweeps.arguments(folder, *LONG, *overrides, methods="ft", epochs=2)


def stopped(folder, number):
  """Start a study, send a signal while `ft` trains, and wait for the end."""
  process = subprocess.Popen(
    signals.as_in_a_terminal(sweeps.command(*arguments(folder))),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 120
  while not list(folder.glob("*/legs/ft/*/alive.json")):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(number)
  _, said = process.communicate(timeout=60)
  return process.returncode, said


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
  folder = tmp_path_factory.mktemp("calm")
  assert sweeps.call(*arguments(folder)) == 0
  return sweeps.only_run(folder)


@pytest.mark.parametrize(
  ("number", "code", "words"),
  [(signal.SIGTERM, 75, "stopped by SIGTERM"), (signal.SIGINT, 130, "stopped by Ctrl-C")],
)
def test_a_signal_saves_the_last_leg_and_says_how_to_go_on(number, code, words, calm, tmp_path):
  """Whatever the interval between saved legs is."""
  found, said = stopped(tmp_path, number)
  assert found == code
  (line,) = [line for line in said.splitlines() if words in line]
  assert line == f"{words}; run the same command again to go on where it stopped"
  assert "Traceback" not in said and "never awaited" not in said
  (leg,) = tmp_path.glob("*/legs/ft/*/0-*")
  epoch = int(leg.name.split("-")[1])
  assert 0 <= epoch < 400
  ended = subprocess.run(
    sweeps.command(*arguments(tmp_path)), capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stderr
  assert f"ft: resuming after epoch {epoch + 1}" in ended.stderr
  again = sweeps.only_run(tmp_path)
  for table in ("rows.parquet", "curves.parquet"):
    assert (again / table).read_bytes() == (calm / table).read_bytes()
  assert not [path for path in again.glob("legs/**/*") if path.is_file()]


@pytest.mark.parametrize(("leg", "saved"), [(3, 4), (400, None)], ids=["while noted", "the last"])
def test_a_signal_that_comes_while_a_leg_is_noted_loses_nothing(
  leg, saved, calm, tmp_path, monkeypatch
):
  """The next leg is saved; after the last one the unit is finished first."""
  real, count = Legs.take, iter(range(1, 1000))

  def take(self, *arguments, **options):
    real(self, *arguments, **options)
    if self.folder.parent.name == "ft" and next(count) == leg:
      os.kill(os.getpid(), signal.SIGTERM)

  with monkeypatch.context() as patch:
    patch.setattr(Legs, "take", take)
    assert sweeps.call(*arguments(tmp_path)) == 75
  legs = [path.name for path in tmp_path.glob("*/legs/ft/*/0-*")]
  assert legs == ([] if saved is None else [f"0-{saved - 1}"])
  assert bool(list(tmp_path.glob("*/stages/ft/*/marker.json"))) == (saved is None)
  assert sweeps.call(*arguments(tmp_path)) == 0
  again = sweeps.only_run(tmp_path)
  assert (again / "rows.parquet").read_bytes() == (calm / "rows.parquet").read_bytes()


def test_the_clock_stops_it_too(calm, tmp_path):
  command = sweeps.command(*arguments(tmp_path, "--stop-after=1s"))
  ended = subprocess.run(command, capture_output=True, text=True, check=False)
  assert ended.returncode == 75
  assert "stopped by its limit of time; run the same command again to go on" in ended.stderr
  assert sweeps.call(*arguments(tmp_path)) == 0
  (a, b) = (Record(path).logits("ft") for path in (calm, sweeps.only_run(tmp_path)))
  assert a.tobytes() == b.tobytes()


def test_a_duration_of_another_form_is_one_line(tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path, "--stop-after=soon")) == 2
  assert "'soon' is not a duration; expected one like 90s, 55m or 1h30m" in capsys.readouterr().err
