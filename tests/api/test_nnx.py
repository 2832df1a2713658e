"""Modules of flax's nnx: the same result as their linen twins, and state as it came."""

import jax
import numpy as np
import pytest
from flax import nnx
from support import problems
from support.nnx_networks import Caching, Layers, StockNnx
from support.refusals import refused
from support.user_networks import SMALL, Stock, ft

import jaxmu
from jaxmu.errors import MethodError, ModelError

KEY = jax.random.key(5)


def pure(state):
  """Return a state as nested dictionaries, like linen's collections."""
  return nnx.to_pure_dict(state)


def linen(state):
  return {
    "params": pure(nnx.filter_state(state, nnx.Param)),
    "batch_stats": pure(nnx.filter_state(state, nnx.BatchStat)),
  }


@pytest.fixture(scope="module")
def twin(stock):
  """The nnx module with the weights of the linen network."""
  model = StockNnx(nnx.Rngs(0))
  weights = {**stock["params"]}
  weights["BatchNorm_0"] = weights["BatchNorm_0"] | stock["batch_stats"]["BatchNorm_0"]
  state = nnx.state(model)
  nnx.replace_by_pure_dict(state, weights)
  nnx.update(model, state)
  return model


@pytest.mark.parametrize("method", ["ft", "msg"])
def test_an_nnx_model_gives_the_same_result_as_its_linen_twin(method, twin, stock, sets):
  how = {**sets, "key": KEY, **problems.TABLE[method].small}
  found = jaxmu.unlearn(method, twin, **how)
  wanted = jaxmu.unlearn(method, Stock(), stock, **how)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, linen(found), wanted)
  x = sets["retain"][0]
  close(jaxmu.predict(twin, found, x), jaxmu.predict(Stock(), wanted, x))


def test_the_state_comes_back_as_it_came_and_the_model_stays_as_it_was(twin, stock, sets):
  found = ft(None, sets, model=twin)
  assert isinstance(found, nnx.State)
  assert jax.tree.structure(found) == jax.tree.structure(nnx.state(twin))
  assert problems.equal(linen(nnx.state(twin)), stock)
  assert not problems.equal(linen(found), stock)
  x, copy = sets["retain"][0], nnx.clone(twin)
  nnx.update(copy, found)
  copy.eval()
  np.testing.assert_allclose(jaxmu.predict(copy, None, x), copy(x), atol=1e-5)
  weights = ft(nnx.state(twin, nnx.Param), sets, model=twin)  # the rest is the model's own
  assert problems.equal(pure(weights), pure(nnx.filter_state(found, nnx.Param)))
  assert problems.equal(ft(nnx.state(twin), sets, model=twin), found)


def test_lists_of_layers_shared_layers_and_random_streams(sets):
  model, x = Layers(nnx.Rngs(3)), sets["retain"][0]
  found = {
    (rate, seed): ft(None, sets, model=Layers(nnx.Rngs(3), rate), key=seed, shuffle=False)
    for rate, seed in ((0.5, 1), (0.5, 2), (0.0, 1), (0.0, 2))
  }
  head = {at: np.asarray(state["head"]["kernel"].get_value()) for at, state in found.items()}
  assert np.array_equal(head[0.0, 1], head[0.0, 2])
  assert not np.allclose(head[0.5, 1], head[0.5, 2], atol=1e-5)
  assert not np.allclose(head[0.5, 1], head[0.0, 1], atol=1e-5)
  state = found[0.5, 1]
  assert problems.equal(pure(state)["drop"]["rngs"]["count"], 0)  # as it came
  logits = jaxmu.predict(model, state, x)
  nnx.update(model, state)
  model.eval()
  np.testing.assert_allclose(logits, model(x, nnx.Rngs(0)), atol=1e-5)


def test_requests_pass_states_on(twin, sets):
  x, y = sets["retain"]
  rest, gone = (x[4:], y[4:]), (x[:4], y[:4])
  (found,) = jaxmu.unlearn_requests("ft", twin, retain=rest, requests=[gone], **SMALL)
  assert isinstance(found, nnx.State)


def test_a_bad_teacher_of_nnx_is_given(twin, stock, sets):
  """Its weights are drawn in a constructor, which is not called again."""
  how = {**sets, "key": KEY, **problems.TABLE["bt"].small}
  message = "StockNnx is an nnx module, which draws new weights in its constructor alone; expected"
  refused(lambda: jaxmu.unlearn("bt", twin, **how), ModelError, message)
  teacher = linen(nnx.state(StockNnx(nnx.Rngs(9))))
  how["randomness"] = {"bad_teacher": teacher}
  found, wanted = jaxmu.unlearn("bt", twin, **how), jaxmu.unlearn("bt", Stock(), stock, **how)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, linen(found), wanted)
  how["randomness"] = {"bad_teacher": {**teacher, "batch_stats": {}}}
  refused(
    lambda: jaxmu.unlearn("bt", twin, **how), MethodError, "bt: bad_teacher must be {'params'"
  )


class Unhashable(StockNnx):
  def __init__(self, rngs):
    super().__init__(rngs)
    self.sizes = {1, 2}


WRONG = {
  "variables of linen": (
    lambda m, v: {"variables": v},
    "variables of StockNnx, an nnx module, must be its nnx.State, or left out; got {'batch_stats'",
  ),
  "another's state": (
    lambda m, v: {"variables": nnx.state(Layers(nnx.Rngs(0)))},
    "variables hold again/bias, which StockNnx does not have",
  ),
  "a cache": (
    lambda m, v: {"model": Caching(nnx.Rngs(0))},
    "Caching holds cache, a Cache, which is not supported and would be lost; expected nnx.Param",
  ),
  "unhashable": (
    lambda m, v: {"model": Unhashable(nnx.Rngs(0))},
    "Unhashable has an attribute that cannot be hashed, so programs cannot be looked up by it",
  ),
  "layers in modes of their own": (
    lambda m, v: {"method": "euk", "fidelity": "fixed"},
    "StockNnx is an nnx module, whose layers all run in one mode; expected a linen network here",
  ),
  "channels": (
    lambda m, v: {"retain": (np.zeros((4, 6, 6, 3), "f"), np.zeros(4, int))},
    "StockNnx cannot be called on images of shape (1, 6, 6, 3): ValueError: conv_general_dilated",
  ),
}


@pytest.mark.filterwarnings("ignore:euk finds in StockNnx no blocks:jaxmu.errors.UnlearningWarning")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_line(case, twin, stock, sets):
  change, message = WRONG[case]
  given = {"model": twin, "learning_rate": 0.01, "batch_size": 8, "num_epochs": 1}
  refused(lambda: ft(None, sets, **{**given, **change(twin, stock)}), ModelError, message)
