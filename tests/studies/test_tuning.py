"""Chunk "auto" by measurement, progress lines, and the rows of training curves."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from support import sweeps

from jaxmu.command import cli
from jaxmu.engine import memory
from jaxmu.execution.capacity import capacity
from jaxmu.execution.runner import Leg
from jaxmu.settings import Settings
from jaxmu.store import files
from jaxmu.studies import catalog, preparation, tuning
from jaxmu.studies.progress import Progress
from jaxmu.studies.stage import curve_rows
from jaxmu.training import EpochMetrics
from jaxmu.unlearning import ANCHORS


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  argv = sweeps.arguments(tmp_path_factory.mktemp("unused"), "--config.seeds=0,1,2,3")
  flags = sweeps.runpy.run_path(sweeps.SWEEP, run_name="sweep")["flags"]()
  return Settings.from_config(cli.parse(flags, argv).config, catalog())


@pytest.fixture(scope="module")
def one_device(settings):
  return dataclasses.replace(
    settings, population=dataclasses.replace(settings.population, devices=1)
  )


def test_chunk_is_one_on_cpu_and_as_given_elsewhere(settings):
  dataset, splits = preparation.load_data(settings)
  assert tuning.resolve_chunk(settings, dataset, splits) == 1
  pinned = dataclasses.replace(settings.population, chunk=2)
  settings = dataclasses.replace(settings, population=pinned)
  assert tuning.resolve_chunk(settings, dataset, splits) == 2


@pytest.mark.parametrize(
  ("seconds", "largest", "chunk", "tried"),
  [
    ({1: 4, 2: 3, 4: 2, 8: 2.5, 16: 1}, 16, 4, [1, 2, 4, 8]),  # stops once 10 % slower
    ({1: 4, 2: 4.3, 4: 3, 8: 2}, 8, 8, [1, 2, 4, 8]),  # 7 % slower is noise: goes on
    ({1: 4, 2: 3, 4: float("inf")}, 8, 2, [1, 2, 4]),  # does not fit
    ({1: 4, 2: 3}, 3, 2, [1, 2]),  # never more than there are
    ({1: 4}, 1, 1, [1]),
    ({1: float("inf"), 2: 3}, 2, 2, [1, 2]),
  ],
)
def test_choose_chunk_takes_the_measured_minimum(seconds, largest, chunk, tried):
  found, measured = tuning.choose_chunk(seconds.__getitem__, largest)
  assert found == chunk
  assert measured == {size: seconds[size] for size in tried}


def test_a_measured_chunk_is_remembered(settings, tmp_path, monkeypatch):
  dataset, splits = preparation.load_data(settings)
  cache = tmp_path / "chunks"
  seen = []
  real = tuning._seconds
  monkeypatch.setattr(tuning, "_seconds", lambda *a: seen.append((a[3], real(*a))) or seen[-1][1])
  chosen = tuning.measured_chunk(settings, dataset, splits, cache)
  assert chosen == min(seen, key=lambda pair: pair[1])[0]
  assert all(0 < seconds < 60 for _, seconds in seen)
  (file,) = cache.iterdir()
  assert files.read_sealed(file)["key"].startswith("cnn/4/64/")
  tries = len(seen)
  assert tuning.measured_chunk(settings, dataset, splits, cache) == chosen
  assert len(seen) == tries


def measured(settings, tmp_path, monkeypatch, limit, exhausted=99):
  """Tune where predictions beyond `limit` bytes do not fit, and chunks from `exhausted` on fail.

  Returns the chosen chunk and the (chunk, members) that were run.
  """
  dataset, splits = preparation.load_data(settings)
  tried = []

  def timed(bench, recipe):
    population = bench.problem.population
    tried.append((population.chunk, population.size))
    if population.chunk >= exhausted:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
    return 1 / population.chunk  # larger chunks would win

  monkeypatch.setattr(tuning, "_timed", timed)
  monkeypatch.setattr(memory, "limit", lambda devices: limit)
  return tuning.measured_chunk(settings, dataset, splits, tmp_path / "chunks"), tried


@pytest.fixture(scope="module")
def bytes_at(one_device):
  """Return (chunk, places) -> predicted bytes on a device."""
  dataset, splits = preparation.load_data(one_device)
  recipe = preparation.hyperparameters(one_device, "retrained") | {"num_epochs": 3}

  def predict(chunk, places):
    few = [dataclasses.replace(split, retain=split.retain[:256]) for split in splits]
    bench = preparation.build(one_device, dataset, few, chunk)
    shapes, hp = bench.variable_shapes(), [recipe] * len(splits)
    return capacity(ANCHORS["retrained"], bench.problem, shapes, hp=hp).total(places)

  return predict


def test_what_is_predicted_not_to_fit_is_not_tried(one_device, bytes_at, tmp_path, monkeypatch):
  """Two members at chunk 2 fit, four at chunk 4 do not; of chunk 1 all fit."""
  limit = bytes_at(4, 4) - 1
  assert bytes_at(1, 4) < bytes_at(2, 4) <= limit
  assert measured(one_device, tmp_path, monkeypatch, limit) == (2, [(1, 4), (2, 4)])


def test_a_chunk_is_timed_on_as_many_members_as_fit(one_device, bytes_at, tmp_path, monkeypatch):
  limit = bytes_at(2, 2)
  assert bytes_at(1, 4) < limit < bytes_at(2, 4)
  assert measured(one_device, tmp_path, monkeypatch, limit) == (2, [(1, 4), (2, 2)])


def test_chunk_one_is_tried_where_nothing_is_predicted_to_fit(one_device, tmp_path, monkeypatch):
  assert measured(one_device, tmp_path, monkeypatch, limit=1) == (1, [(1, 1)])


def test_a_chunk_that_runs_out_of_memory_leaves_the_smaller_ones(one_device, tmp_path, monkeypatch):
  found = measured(one_device, tmp_path, monkeypatch, 2**40, exhausted=4)
  assert found == (2, [(1, 4), (2, 4), (4, 4)])
  (file,) = (tmp_path / "chunks").iterdir()
  assert files.read_sealed(file)["value"] == 2


def test_a_damaged_memory_is_measured_again(one_device, tmp_path, monkeypatch):
  first = measured(one_device, tmp_path, monkeypatch, 2**40)
  (file,) = (tmp_path / "chunks").iterdir()
  whole = file.read_bytes()
  for content in (b"", b"[]", whole[:-9], whole.replace(b'"value": 4', b'"value": 2')):
    file.write_bytes(content)
    assert measured(one_device, tmp_path, monkeypatch, 2**40) == first
    assert file.read_bytes() == whole
  assert measured(one_device, tmp_path, monkeypatch, 2**40) == (4, [])


def test_nothing_is_remembered_where_nothing_ran(one_device, tmp_path, monkeypatch):
  assert measured(one_device, tmp_path, monkeypatch, 2**40, exhausted=1)[0] == 1
  assert not (tmp_path / "chunks").exists()


def test_other_errors_are_not_taken_for_a_lack_of_memory(one_device, tmp_path, monkeypatch):
  dataset, splits = preparation.load_data(one_device)

  def broken(bench, recipe):
    raise jax.errors.JaxRuntimeError("INTERNAL: no")

  monkeypatch.setattr(tuning, "_timed", broken)
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: no"):
    tuning.measured_chunk(one_device, dataset, splits, tmp_path / "chunks")


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


def test_progress_says_which_wave(monkeypatch):
  stream = io.StringIO()
  progress = Progress("ft", 6, stream=stream)
  progress.said -= 31
  progress.started -= 30
  progress.leg(leg(1)._replace(wave=0, waves=3))
  (line,) = stream.getvalue().splitlines()
  assert "6 members, wave 1 of 3" in line
  assert line.endswith(("60 s left", "61 s left"))  # two thirds are to come


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
  (row,) = curve_rows("ft", leg()._replace(metrics=resting), (7, 8))
  assert (row.seed, row.loss, row.learning_rate, row.epoch) == (7, 3.0, 1.0, 1)
