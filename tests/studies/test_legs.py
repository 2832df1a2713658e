"""Saved legs of a stage: back as they were, with their curves; refused in one line where torn."""

import jax
import numpy as np
import pytest
from support import manifests

from jaxmu.engine.population import Population
from jaxmu.errors import StoreError
from jaxmu.execution.observations import Leg, Snapshot
from jaxmu.store import Run, files, leg_checkpoints
from jaxmu.store.records import CurveRow, LegRecord
from jaxmu.studies.finished_waves import Parts
from jaxmu.studies.legs import Legs

ROW = CurveRow("ft", "train", 0, 1, 16, 2.25, 0.5, 0.1)
SNAPSHOT = Snapshot(
  phase=1,
  epoch=0,
  seconds=1.5,
  failures=("", "train: epoch 1 (steps 0-1)"),
  variables={"params": {"kernel": np.ones((2, 3), np.float32)}, "batch_stats": {}},
  failed_at=np.array([-1, 0], np.int32),
  optimizers={"0": np.zeros((2, 3), np.float32)},
  targets=(0, 1),
)
RECORD = files.plain(LegRecord(**SNAPSHOT.rest(), identity="a", curves=(ROW,)))


class Silent:
  """A progress that says nothing."""

  def leg(self, leg):
    pass

  def line(self, text):
    pass


@pytest.fixture
def run(tmp_path):
  return Run.create(tmp_path, "x", "0", {}, manifests.manifest(seeds=(0, 1)))


@pytest.fixture
def population():
  return Population(2, devices=tuple(jax.devices()[:1]))


def legs_of(run, identity="a"):
  """Return legs that are saved at once, and where their curves go."""
  parts = Parts(run, "ft", identity)
  rows = lambda leg: [ROW]
  return Legs(run, "ft", identity, Silent(), every=0, rows=rows, record=parts.add), parts


def test_a_leg_comes_back_with_its_curves(run, population):
  legs, _ = legs_of(run)
  legs.take(Leg("train", 1, 0, 9, 2, None, 32, 0.5, lambda: SNAPSHOT, members=slice(0, 2)))
  again, parts = legs_of(run)
  found = again.resume(population)
  assert found.rest() == SNAPSHOT.rest()
  jax.tree.map(np.testing.assert_array_equal, found.arrays(), SNAPSHOT.arrays())
  assert parts.all_curves() == [ROW]
  other, _ = legs_of(run, "b")
  assert other.resume(population) is None


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"identity": None}, "'identity' is null, expected text"),
    ({"epoch": "0"}, "'epoch' is text, expected a whole number"),
    ({"curves": [{}]}, "'curves.0.stage' is missing"),
    ({"failures": 0}, "'failures' is a whole number, expected a list"),
  ],
)
def test_metadata_of_another_form_is_one_line(run, population, change, message):
  number = leg_checkpoints.LegNumber(0, 1, 0)
  leg_checkpoints.save(run, "ft", number, SNAPSHOT.arrays(), RECORD | change)
  with pytest.raises(StoreError, match=rf"legs/ft/0-1-0/metadata\.json is damaged \({message}\)"):
    legs_of(run)[0].resume(population)


@pytest.mark.parametrize("name", RECORD)
def test_a_leg_without_a_part_of_its_metadata_is_refused(run, population, name):
  torn = {key: value for key, value in RECORD.items() if key != name}
  leg_checkpoints.save(run, "ft", leg_checkpoints.LegNumber(0, 1, 0), SNAPSHOT.arrays(), torn)
  with pytest.raises(StoreError, match=rf"\('{name}' is missing\)"):
    legs_of(run)[0].resume(population)
