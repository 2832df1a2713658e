"""One unit of work: out of memory it is halved, coming ones are compiled ahead, rows are kept."""

import jax
import numpy as np
import pytest
from support import simulated, sweeps

from jaxmu.execution import runner
from jaxmu.store import Run
from jaxmu.store.record import Record


def exhausted(real, most):
  """Run as the real one, on a device that has room for so many members."""

  def run(method, problem, *arguments, **options):
    if problem.population.size > most:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    return real(method, problem, *arguments, **options)

  return run


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
  folder = tmp_path_factory.mktemp("calm")
  assert sweeps.call(*arguments(folder)) == 0
  return sweeps.only_run(folder)


def arguments(folder):
  return sweeps.arguments(folder, "--config.seeds=0..3", methods="ft")


def test_out_of_memory_in_mid_run_halves_units_and_changes_nothing(calm, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(runner, "run", exhausted(runner.run, 2))
    assert sweeps.call(*arguments(tmp_path)) == 0
  found, wanted = Record(sweeps.only_run(tmp_path)), Record(calm)
  for stage in ("original", "retrained", "ft"):
    assert [len(group.members) for group in found.groups(stage)] == [2, 2]
    assert found.size(stage) == 2
    np.testing.assert_array_equal(found.logits(stage), wanted.logits(stage))
  assert Run.open(found.path).rows().equals(Run.open(calm).rows())


def test_not_even_one_model_fits(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(runner, "run", exhausted(runner.run, 0))
  assert sweeps.call(*arguments(tmp_path)) == 2
  said = capsys.readouterr().err
  assert "original: the device ran out of memory; 2 at once" in said
  assert "error: original: not even one model fits into memory" in said
  assert "Traceback" not in said


def test_other_failures_are_no_lack_of_memory(tmp_path, monkeypatch):
  def broken(*arguments, **options):
    raise jax.errors.JaxRuntimeError("INTERNAL: a kernel failed")

  monkeypatch.setattr(runner, "run", broken)
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    sweeps.call(*arguments(tmp_path))


def test_stages_that_are_left_are_announced_in_their_order(tmp_path):
  heard = []
  announce = lambda units: heard.append([unit.key.split("/")[0] for unit in units])
  driver, _ = simulated.driver(tmp_path / "run", most=5, announce=announce)
  driver.run(simulated.stages(5))
  assert heard == [["ft", "ga"]]


def test_accuracies_of_the_sets_are_kept_with_every_member(calm):
  record, rows = Record(calm), Run.open(calm).rows()
  for row in record.rows("ft"):
    table = rows[(rows["method"] == "ft") & (rows["seed"] == row["seed"])].iloc[0]
    assert [row[name] for name in ("RA", "FA", "VA", "TA")] == table[
      ["RA", "FA", "VA", "TA"]
    ].tolist()
    assert row["passes"] == table["passes"] and row["finite"]
