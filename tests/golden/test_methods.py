"""Whole runs of methods against the reference implementation's numbers, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden_cases as cases

from jaxmu import models
from jaxmu.engine.population import Population
from jaxmu.execution import predictions
from jaxmu.training import Task
from jaxmu.training.task import Arrays

SLOW = {"vit_ft"}  # a quarter of a minute even where all is compiled
TOLERANCE = {"logits": 1e-9, "losses": 1e-9, "parameter norms": 1e-12, "BatchNorm norms": 1e-12}


@pytest.mark.parametrize(
  "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in cases.CASES]
)
def test_float64_equals_the_reference(case):
  # The engine reuses a state's memory: what selection is checked with must be copied at once.
  copied = lambda leg: leg._replace(snapshot=leg.snapshot())
  keep = {"keep": copied} if case == "scrub" else {}
  with jax.enable_x64(True):
    found = cases.run(case, np.float64, **keep)
    for measure, (distance,) in cases.distances(case, found).items():
      assert distance <= TOLERANCE[measure], measure
    cases.check_rates(found, 1e-12)
    if case == "scrub":
      check_selection(found.golden, found.legs)


def check_selection(golden, legs):
  """SCRUB's errors (%) of the model after every epoch, what it remembers of them, its choice."""
  legs, replayed = [leg for leg in legs if not leg.replay], sum(leg.replay for leg in legs)
  wanted = golden["f64/x/errors"]
  population = Population(1, devices=tuple(jax.devices()[:1]))
  x, y, index = cases.samples(np.float64)
  task = Task(models.make("resnet18", 10), 10, shuffle=False)
  arrays = population.share(Arrays(jnp.asarray(x), jnp.asarray(y)))
  sets = {name: index[name][0] for name in ("retain", "forget", "val")}
  sets["unseen"] = sets["val"][np.isin(y[sets["val"]], y[sets["forget"]])]
  assert len(sets["unseen"]) == 29
  for leg, row in zip(legs, wanted[1:], strict=True):
    variables = leg.snapshot.variables
    wrong = predictions.logits(population, task, arrays, variables, 44)[0].argmax(1) != y
    np.testing.assert_allclose([100 * wrong[i].mean() for i in sets.values()], row, atol=1e-9)
  *_, remembered = legs[-1].snapshot.optimizers.values()
  np.testing.assert_allclose(
    100 / len(sets["forget"]) * remembered[0, : len(legs)], wanted[:-1, 1], atol=1e-9
  )
  assert replayed == int(golden["x/selected"])  # a choice before the last epoch
