"""Several models in one call: each is what its own call gives, and one's failure is its own."""

import warnings

import jax
import numpy as np
import pytest
from flax import nnx
from support import problems
from support.nnx_networks import StockNnx
from support.refusals import refused
from support.user_networks import SMALL, Dropping, Stock, Table, initial

import jaxmu
from jaxmu.errors import MethodError, ModelError, UnlearningWarning
from jaxmu.execution import fitting

pytestmark = pytest.mark.filterwarnings(
  "ignore:.* finds in Stock no:jaxmu.errors.UnlearningWarning"
)


def many(method, model, variables, sets, **options):
  return jaxmu.unlearn(method, model, variables, **sets, **{**SMALL, **options})


@pytest.fixture(scope="module")
def table():
  return initial(Table(), (36,))


@pytest.fixture(scope="module")
def rows(sets):
  return {name: (x.reshape(-1, 36), y) for name, (x, y) in sets.items()}


@pytest.mark.parametrize("method", ["ngplus", "msg", "srl"])
def test_each_seed_is_a_call_with_its_key(method, stock, sets, table, rows):
  """Batch statistics move in the first, the second draws places and weights, the third labels."""
  model, given, own = (Table(), table, rows) if method == "srl" else (Stock(), stock, sets)
  call = lambda **who: jaxmu.unlearn(
    method, model, given, **own, **problems.TABLE[method].small, **who
  )
  found = call(seeds=[3, 11])
  assert problems.equal(found[0], call(key=3)) and problems.equal(found[1], call(key=11))
  assert not problems.equal(found[0], found[1])


def test_each_original_has_its_own(table, rows):
  moved = lambda factor: jax.tree.map(lambda leaf: leaf * np.float32(factor), table)
  originals = [table, moved(1.1), moved(0.9)]
  before = jax.tree.map(np.copy, originals)
  found = many("ft", Table(), originals, rows)  # without seeds there are as many as originals
  for k, own in enumerate(found):
    assert problems.equal(own, many("ft", Table(), originals[k], rows, key=k))
  assert problems.equal(originals, before)


def test_dropout_pixels_and_details_are_of_each_seed(dropping, sets):
  rng = np.random.default_rng(0)
  stored = {
    name: (rng.integers(0, 256, x.shape).astype(np.uint8), y) for name, (x, y) in sets.items()
  }
  how = {"mean": 0.5, "std": 0.25, "details": True}
  found = many("ngplus", Dropping(), dropping, stored, seeds=2, **how)
  for seed, own in enumerate(found):
    alone = many("ngplus", Dropping(), dropping, stored, key=seed, **how)
    assert problems.equal(own.variables, alone.variables)
    assert own.curves == alone.curves and own.passes == alone.passes
    assert (own.seed, alone.seed, own.failure) == (seed, None, "")
  assert found[0].curves != found[1].curves


def test_groups_that_do_not_fit_together_run_one_after_another(monkeypatch, table, rows, capsys):
  monkeypatch.setattr(fitting, "LARGEST", 2)
  found = many("ft", Table(), table, rows, seeds=3, progress=True)
  assert problems.equal(found[2], many("ft", Table(), table, rows, key=2))
  told = capsys.readouterr().err
  assert "ft 1-2 of 3: compiling, about 1 s" in told and told.count("compiling") == 1


def test_a_prediction_of_memory_divides_what_is_too_large(monkeypatch, table, rows):
  tried = []

  def capacity(*args, **options):
    tried.append(len(options["hp"]))
    found = real(*args, **options)
    return found._replace(at_once=2, limit=0) if tried[-1] > 2 else found

  real = fitting.capacity
  monkeypatch.setattr(fitting, "capacity", capacity)
  found = many("ft", Table(), table, rows, seeds=3)
  assert tried == [3, 2]
  assert problems.equal(found[2], many("ft", Table(), table, rows, key=2))


def test_a_model_that_turns_non_finite_is_named_and_leaves_the_others_as_they_are(table, rows):
  """Weights near the end of float32: the first product of them overflows."""
  huge = jax.tree.map(lambda leaf: np.full_like(leaf, 1e30), table)
  given = [table, huge, table]
  with pytest.warns(UnlearningWarning, match="turned non-finite") as caught:
    found = many("ft", Table(), given, rows, seeds=[5, 6, 7], details=True)
  (said,) = [str(one.message) for one in caught if "non-finite" in str(one.message)]
  assert said.startswith(
    "ft turned non-finite (seed 6 of 3), the first in fine-tune: epoch 1 (steps"
  )
  assert found[1].variables is None and found[1].failure.startswith("fine-tune: epoch 1")
  for k in (0, 2):
    own = many("ft", Table(), table, rows, key=5 + k)
    assert problems.equal(found[k].variables, own) and not found[k].failure
  with pytest.raises(
    FloatingPointError, match=r"ft turned non-finite \(seeds 0, 1, 2 of 3\), the fir"
  ):
    many("ft", Table(), [huge, huge, huge], rows)


def test_warnings_name_the_seeds(table, rows):
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    many("ft", Table(), table, rows, seeds=[4, 9, 1], learning_rate=1e-300)
  texts = [str(one.message) for one in caught]
  assert [
    t for t in texts if t.startswith("ft changed nothing (seeds 4, 9, 1 of 3): every parameter")
  ]


def test_a_destroyed_model_is_named(table, rows):
  """The third one gives all samples one class already: nothing is left to destroy."""
  blank = jax.tree.map(np.zeros_like, table)
  trained = many("ft", Table(), table, rows, num_epochs=60, learning_rate=0.1)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    many("ga", Table(), [trained, trained, blank], rows, learning_rate=1e3)
  (text,) = [str(one.message) for one in caught]
  assert text.startswith("ga destroyed the model (seeds 0, 1 of 3): ")
  assert text.endswith("use a smaller rate, fewer epochs or a smaller share")


def test_training_draws_each_models_first_weights(table, rows):
  """Originals and retrained models of a seed begin alike."""
  small = {"num_epochs": 1, "batch_size": 8}
  found = jaxmu.retrain(Table(), retain=rows["retain"], seeds=2, **small)
  assert problems.equal(found[1], jaxmu.retrain(Table(), retain=rows["retain"], key=1, **small))
  assert not problems.equal(found[0], found[1])
  still = {**small, "learning_rate": 1e-30}
  first = jaxmu.retrain(Table(), retain=rows["retain"], seeds=2, **still)
  both = {"retain": rows["retain"], "forget": rows["forget"]}
  again = jaxmu.train(Table(), **both, seeds=2, **still)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-20), first, again)
  assert not problems.equal(jaxmu.train(Table(), **both, seeds=2, **small), found)
  assert problems.equal(jaxmu.train(Table(), retain=rows["retain"], seeds=2, **small), found)
  spoilt = {**small, "learning_rate": 1e3}  # what begins is no model that could be destroyed
  jaxmu.retrain(Table(), retain=rows["retain"], seeds=2, **spoilt)
  one = jaxmu.retrain(Table(), table, retain=rows["retain"], **small)
  expected = jaxmu.unlearn("retrained", Table(), table, retain=rows["retain"], **small)
  assert problems.equal(one, expected)


def test_states_of_nnx_modules(sets):
  nets = [StockNnx(nnx.Rngs(seed)) for seed in (0, 1)]
  states = [nnx.state(net) for net in nets]
  found = jaxmu.unlearn("ft", nets[0], states, retain=sets["retain"], **SMALL)
  for k, own in enumerate(found):
    alone = jaxmu.unlearn("ft", nets[k], retain=sets["retain"], **SMALL, key=k)
    assert problems.equal(own, alone)
    nnx.update(nets[k], own)
    logits = jaxmu.predict(nets[k], None, sets["retain"][0])
    np.testing.assert_array_equal(logits, jaxmu.predict(nets[0], own, sets["retain"][0]))
  refused(
    lambda: jaxmu.retrain(nets[0], retain=sets["retain"], **SMALL),
    ModelError,
    "StockNnx is an nnx module, whose weights may be trained already; give fresh ones",
  )


WRONG = {
  "both": ({"seeds": 2, "key": 1}, MethodError, "key= is of one model and was given beside seeds="),
  "none": ({"seeds": 0}, MethodError, "seeds must be how many models, or a seed for each, a whole"),
  "twice": ({"seeds": [1, 1]}, MethodError, "all of them different; got [1, 1]"),
  "empty": ({"seeds": []}, MethodError, "seeds must be how many models"),
  "text": (
    {"seeds": "3"},
    MethodError,
    "seeds must be how many models, or a seed for each, got '3'",
  ),
  "chunk": ({"seeds": 2, "chunk": 0}, MethodError, "chunk must be a whole number at least 1"),
  "negative": ({"seeds": [0, -1]}, MethodError, "a whole number at least 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_seeds(case, stock, sets, uncompiled):
  options, error, words = WRONG[case]
  refused(lambda: many("ft", Stock(), stock, sets, **options), error, words)


def test_models_that_are_computed_together_agree_up_to_round_off(table, rows):
  apart, together = (many("ft", Table(), table, rows, seeds=3, chunk=chunk) for chunk in (1, 3))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), apart, together)
  one = many("ft", Table(), table, rows, chunk=64)
  assert problems.equal(one, many("ft", Table(), table, rows))  # there is nothing to compute with


def test_predictions_of_a_list(table, rows):
  x = rows["retain"][0]
  given = [table, jax.tree.map(lambda leaf: leaf * np.float32(2), table)]
  found = jaxmu.predict(Table(), given, x)
  assert found.shape == (2, len(x), 4)
  np.testing.assert_array_equal(found[1], jaxmu.predict(Table(), given[1], x))
  refused(lambda: jaxmu.predict(Table(), [table, None], x), ModelError, "variables[1] is None, as")


def test_wrong_lists_of_models(stock, sets, uncompiled):
  call = lambda given, **more: many("ft", Stock(), given, sets, **more)
  refused(lambda: call([]), ModelError, "variables are an empty list")
  refused(lambda: call([stock, stock], seeds=3), MethodError, "of 2 models and there are 3 seeds")
  refused(
    lambda: call([stock, None]), ModelError, "variables[1] is None, as of a model that turned"
  )
  refused(
    lambda: call([stock, {}]), ModelError, "variables[1]: variables must be a mapping with 'para"
  )
  other = {**stock, "params": {**stock["params"], "Dense_0": {}}}
  refused(lambda: call([stock, other]), ModelError, "variables[1] has at ['params']['Dense_0']['bi")
  refused(lambda: call([stock], key=1), MethodError, "was given beside a list of variables")
  ask = {"retain": sets["retain"], "requests": [sets["forget"]]}
  refused(
    lambda: jaxmu.unlearn_requests("ft", Stock(), stock, **ask, seeds=2),
    MethodError,
    "unlearn_requests goes on with one model",
  )
