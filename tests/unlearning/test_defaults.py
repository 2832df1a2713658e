"""Defaults lie where hyper-parameters may lie, and where a search would look for better ones."""

import math

import pytest

from jaxmu.unlearning import ANCHORS, METHODS

# Defaults of the reference that lie outside of what is recommended: switched
# off, which no logarithmic range holds, or smaller. None of them damages a model.
OUTSIDE = {
  ("ngplus", "weight_decay"): 0.0,
  ("bt", "weight_decay"): 0.0,
  ("salun", "weight_decay"): 0.0,
  ("salun", "momentum"): 0.0,
  ("fcs", "weight_decay"): 0.0,
  ("fcs", "forget_optimizer_weight_decay"): 0.0,
  ("scrub", "retain_batch_size"): 32,
}


def values(hyper):
  return hyper.default if isinstance(hyper.default, tuple) else (hyper.default,)


def recommended(distribution, value):
  if distribution.kind == "categorical":
    return value in distribution.choices
  high = math.inf if distribution.high is None else distribution.high
  return distribution.low <= value <= high


@pytest.mark.parametrize("method", [*METHODS.values(), *ANCHORS.values()], ids=lambda m: m.name)
def test_every_default_is_accepted(method):
  assert method.hyperparameters(method.defaults) == method.defaults


def test_every_default_is_one_that_is_recommended():
  found = {
    (name, key): hyper.default
    for name, method in METHODS.items()
    for key, hyper in method.live.items()
    for wanted in [hyper.amended or hyper.search]
    if wanted is not None and not all(recommended(wanted, value) for value in values(hyper))
  }
  assert found == OUTSIDE


def test_the_default_that_destroyed_models_is_gone():
  """The reference's alpha of FF, 0.2, leaves nothing of a model."""
  alpha = METHODS["ff"].hyper["alpha"]
  assert recommended(alpha.amended, alpha.default) and not recommended(alpha.amended, 0.2)
