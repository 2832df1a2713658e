"""Chunk "auto" by measurement, progress lines, and the rows of training curves."""

import io
import json

import numpy as np
import pytest
import sweeps

from jaxmu import cli
from jaxmu.settings import Settings
from jaxmu.sweep import catalog, setup, tuning
from jaxmu.sweep.progress import Progress
from jaxmu.sweep.stage import curve_rows
from jaxmu.training import EpochMetrics
from jaxmu.unlearning.runner import Leg


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  argv = sweeps.arguments(tmp_path_factory.mktemp("unused"), "--config.seeds=0,1,2,3")
  flags = sweeps.runpy.run_path(sweeps.SWEEP, run_name="sweep")["flags"]()
  return Settings.from_config(cli.parse(flags, argv).config, catalog())


def test_chunk_is_one_on_cpu_and_as_given_elsewhere(settings):
  import dataclasses

  dataset, splits = setup.load_data(settings)
  assert tuning.resolve_chunk(settings, dataset, splits) == 1
  pinned = dataclasses.replace(settings.population, chunk=2)
  settings = dataclasses.replace(settings, population=pinned)
  assert tuning.resolve_chunk(settings, dataset, splits) == 2


def test_a_measured_chunk_is_remembered(settings, tmp_path, monkeypatch):
  dataset, splits = setup.load_data(settings)
  cache = tmp_path / "chunks.json"
  seen = []
  real = tuning._seconds
  monkeypatch.setattr(tuning, "_seconds", lambda *a: seen.append((a[3], real(*a))) or seen[-1][1])
  chosen = tuning.measured_chunk(settings, dataset, splits, cache)
  assert chosen == min(seen, key=lambda pair: pair[1])[0]
  assert all(0 < seconds < 60 for _, seconds in seen)
  (key,) = json.loads(cache.read_text())
  assert key.startswith("cnn/4/64/")
  tries = len(seen)
  assert tuning.measured_chunk(settings, dataset, splits, cache) == chosen
  assert len(seen) == tries


def leg(epoch=0, epochs=2, loss=None):
  loss = np.full((2, 3), 0.5) if loss is None else loss
  metrics = EpochMetrics(loss, np.full((2, 3), 0.75), np.full((2, 3), 0.1))
  return Leg("train", 0, epoch, epochs, 3, metrics, 600, 1.0, dict)


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_progress_on_a_terminal_is_a_bar_with_the_facts():
  stream = Terminal()
  progress = Progress("original", 2, stream=stream)
  progress.leg(leg())
  progress.leg(leg(1))
  progress.close()
  said = stream.getvalue()
  for part in ("original (2 members)", "2/2", "step 6", "images/s", "accuracy 0.750"):
    assert part in said


def test_progress_elsewhere_is_a_line_now_and_then(monkeypatch):
  stream = io.StringIO()
  progress = Progress("ft", 2, stream=stream)
  progress.leg(leg())
  assert stream.getvalue() == ""  # not every epoch
  progress.said -= 31
  progress.leg(leg(1))
  (line,) = stream.getvalue().splitlines()
  assert line.startswith("ft: train: epoch 2/2, step 6, 2 members, ")
  assert line.endswith("accuracy 0.750, 0 s left")


def test_curves_average_steps_and_leave_resting_members_out():
  resting = EpochMetrics(*(np.array([[1.0, 2.0, 6.0], [np.nan] * 3]) for _ in range(3)))
  rows = list(curve_rows("ft", leg()._replace(metrics=resting), (7, 8)))
  assert [row["seed"] for row in rows] == [7]
  assert rows[0]["loss"] == 3.0
  assert rows[0]["learning_rate"] == 1.0
  assert rows[0]["epoch"] == 1
