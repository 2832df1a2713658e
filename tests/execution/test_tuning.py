"""Chunk "auto": by rule on CPUs, by measurement elsewhere, remembered."""

import dataclasses

import jax
import pytest
from support import sweeps

from jaxmu import data
from jaxmu.command import cli
from jaxmu.data import chosen
from jaxmu.engine import memory
from jaxmu.execution import tuning
from jaxmu.execution.capacity import capacity
from jaxmu.execution.setup import Setup
from jaxmu.settings import Settings
from jaxmu.store import files
from jaxmu.store.measurements import Measurements
from jaxmu.studies import catalog
from jaxmu.training import anchors


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  argv = sweeps.arguments(tmp_path_factory.mktemp("unused"), "--config.seeds=0,1,2,3")
  flags = sweeps.runpy.run_path(sweeps.SWEEP, run_name="sweep")["flags"]()
  return Settings.from_config(cli.parse(flags, argv).config, catalog())


def load(settings):
  """Return the data, and a split for every seed."""
  dataset = data.load_for(settings)
  return dataset, chosen.splits_for(settings, data.Facts.of(dataset))


@pytest.fixture(scope="module")
def one_device(settings):
  return dataclasses.replace(
    settings, population=dataclasses.replace(settings.population, devices=1)
  )


def test_chunk_is_one_on_cpu_and_as_given_elsewhere(settings):
  dataset, splits = load(settings)
  assert tuning.resolve_chunk(settings, dataset, splits, None) == 1
  pinned = dataclasses.replace(settings.population, chunk=2)
  settings = dataclasses.replace(settings, population=pinned)
  assert tuning.resolve_chunk(settings, dataset, splits, None) == 2


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
  dataset, splits = load(settings)
  cache = tmp_path / "chunks"
  seen = []
  real = tuning._seconds
  monkeypatch.setattr(tuning, "_seconds", lambda *a: seen.append((a[3], real(*a))) or seen[-1][1])
  chosen = tuning.measured_chunk(settings, dataset, splits, Measurements(cache))
  assert chosen == min(seen, key=lambda pair: pair[1])[0]
  assert all(0 < seconds < 60 for _, seconds in seen)
  (file,) = cache.iterdir()
  key = files.read_sealed(file)["key"]
  assert key.startswith("cnn/4/64/")
  tries = len(seen)
  assert tuning.measured_chunk(settings, dataset, splits, Measurements(cache)) == chosen
  assert len(seen) == tries


def measured(settings, tmp_path, monkeypatch, limit, exhausted=99):
  """Tune where predictions beyond `limit` bytes do not fit, and chunks from `exhausted` on fail.

  Returns the chosen chunk and the (chunk, members) that were run.
  """
  dataset, splits = load(settings)
  tried = []

  def timed(setup, splits, hp):
    population = setup.problem(splits).population
    tried.append((population.chunk, population.size))
    if population.chunk >= exhausted:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
    return 1 / population.chunk  # larger chunks would win

  monkeypatch.setattr(tuning, "_timed", timed)
  monkeypatch.setattr(memory, "limit", lambda devices: limit)
  return tuning.measured_chunk(settings, dataset, splits, Measurements(tmp_path / "chunks")), tried


@pytest.fixture(scope="module")
def bytes_at(one_device):
  """Return (chunk, places) -> predicted bytes on a device."""
  dataset, splits = load(one_device)
  recipe = anchors.recipe(one_device.training, "retrained") | {"num_epochs": 3}

  def predict(chunk, places):
    few = [dataclasses.replace(split, retain=split.retain[:256]) for split in splits]
    setup, hp = Setup(one_device, dataset, chunk), [recipe] * len(few)
    shapes = setup.variable_shapes(len(few))
    return capacity(anchors.RETRAINED, setup.problem(few), shapes, hp=hp).total(places)

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
  dataset, splits = load(one_device)

  def broken(*given):
    raise jax.errors.JaxRuntimeError("INTERNAL: no")

  monkeypatch.setattr(tuning, "_timed", broken)
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: no"):
    tuning.measured_chunk(one_device, dataset, splits, Measurements(tmp_path / "chunks"))
