"""Logits of users' own networks, and what `predict` refuses."""

import flax
import jax
import numpy as np
import pytest
from support import problems
from support.refusals import refused
from support.user_networks import Dropping, Stock, spoil
from support.wrong_networks import ONE, STACK, Bit, Tensor, stack

import jaxmu
from jaxmu.errors import DataError, ModelError


def test_predict_equals_the_network_in_eval_mode_for_any_batch_size(stock, sets):
  x = sets["retain"][0]
  stats = {"BatchNorm_0": {"mean": np.full(4, 0.3, "f"), "var": np.full(4, 2.0, "f")}}
  variables = {"params": stock["params"], "batch_stats": stats}
  wanted = Stock().apply(variables, x, train=False)
  for batch_size in (500, 22, 5):
    found = jaxmu.predict(Stock(), variables, x, batch_size=batch_size)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_predict_works_without_batch_statistics_and_dropout_is_off(dropping, sets):
  x = sets["retain"][0]
  wanted = Dropping().apply(dropping, x, deterministic=True)
  np.testing.assert_allclose(jaxmu.predict(Dropping(), dropping, x), wanted, atol=1e-5)


X, _ = problems.samples()
WRONG_CALLS = {
  "no params": ({"variables": {}}, ModelError, "with 'params' (and 'batch_stats'), got []"),
  "one row": (
    {"x": X[0, 0, :, 0]},
    DataError,
    "x: images must have shape [n >= 1, ...], got (6,)",
  ),
  "a nan": (
    {"x": spoil((X, None), 2, np.nan)[0]},
    DataError,
    "x: 1 images hold NaN or infinity, th",
  ),
  "class": ({"model": Stock}, ModelError, "model must be an instance of flax.linen.Module"),
  "x none": ({"x": None}, DataError, "x: expected an array of numbers, got None"),
  "x masked": ({"x": np.ma.array(X)}, DataError, "x: got a masked array"),
  "batch 0": ({"batch_size": 0}, DataError, "batch_size must be a whole number at least 1 and at"),
  "batch 2.5": ({"batch_size": 2.5}, DataError, "batch_size must be a whole number, got 2.5"),
  "batch text": ({"batch_size": "8"}, DataError, "batch_size must be a whole number, got '8'"),
  "batch true": ({"batch_size": True}, DataError, "batch_size must be a whole number, got True"),
  "batch nan": ({"batch_size": np.nan}, DataError, "batch_size must be a whole number, got nan"),
  "batch array": ({"batch_size": np.ones(2)}, DataError, "got float64 of shape (2,)"),
  "model": (
    {"model": Bit(), "variables": None},
    ModelError,
    "Bit cannot be called: it has no method __call__",
  ),
  "raises": (stack("raises"), ModelError, "Stack cannot be called on images of shape (1, 6, 6, 1)"),
  "one logit": (stack("one", ONE), ModelError, "a logit for each of at least 2 classes"),
  "nan": (
    stack("", jax.tree.map(lambda a: a * np.nan, STACK)),
    ModelError,
    "holds NaN or infinity",
  ),
  "three channels": ({"x": X.repeat(3, 3)}, ModelError, "reads 1 channels, the images have 3"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_are_answered_in_one_line(case, stock, uncompiled):
  change, error, message = WRONG_CALLS[case]
  given = {"model": Stock(), "variables": stock, "x": X} | change
  refused(lambda: jaxmu.predict(**given), error, message)


def test_frozen_variables_and_tensors_that_require_a_gradient_are_taken(stock):
  """What is merely wrapped is no mistake."""

  class Trained(Tensor):
    def numpy(self):
      return X

  frozen = flax.core.freeze(stock)
  wanted = jaxmu.predict(Stock(), stock, X)
  np.testing.assert_array_equal(jaxmu.predict(Stock(), frozen, Trained()), wanted)
  np.testing.assert_array_equal(
    jaxmu.predict(Stock(), {"params": frozen["params"], "batch_stats": stock["batch_stats"]}, X),
    wanted,
  )
