"""Finished waves of an unfinished stage: back as they were, refused in one line where torn."""

import jax
import numpy as np
import pytest
from support import manifests

from jaxmu.engine.population import Population
from jaxmu.errors import StoreError
from jaxmu.execution.runner import Outcome
from jaxmu.store import Run, checkpoint
from jaxmu.store.records import CurveRow
from jaxmu.studies.finished_waves import Parts

ROW = CurveRow("ft", "train", 0, 1, 16, 2.25, 0.5, 0.1)
OUTCOME = Outcome(
  variables={"params": {"kernel": np.ones((1, 2), np.float32)}, "batch_stats": {}},
  failures=("",),
  seconds=1.5,
  compile_seconds=0.5,
  passes=(3.0,),
)


@pytest.fixture
def run(tmp_path):
  return Run.create(tmp_path, "x", "0", {}, manifests.manifest(seeds=(0, 1)))


@pytest.fixture
def wave():
  return Population(2, chunk=1, devices=tuple(jax.devices()[:1])).waves(1)[0]


def test_a_wave_comes_back_with_its_curves(run, wave):
  parts = Parts(run, "ft", "a")
  parts.add(wave.members, [ROW])
  parts.put(wave, OUTCOME)
  again = Parts(run, "ft", "a")
  found = again.get(wave)
  assert found[1:] == OUTCOME[1:] and found.variables["batch_stats"] == {}
  np.testing.assert_array_equal(found.variables["params"]["kernel"], [[1, 1]])
  assert again.all_curves() == [ROW]
  assert Parts(run, "ft", "b").get(wave) is None


@pytest.mark.parametrize(
  ("metadata", "message"),
  [
    ({}, "'failures' is missing"),
    ({"failures": 0}, "'failures' is a whole number, expected a list"),
  ],
)
def test_metadata_of_another_form_is_one_line(run, wave, metadata, message):
  checkpoint.save(run.path / "legs" / "ft" / "waves" / "0-1", OUTCOME.variables, metadata)
  with pytest.raises(StoreError, match=rf"metadata\.json is damaged \({message}\)"):
    Parts(run, "ft", "a").get(wave)
