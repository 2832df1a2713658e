"""SalUN: its mask, and SRL restricted to it, at both levels of fidelity (methods.md 5.3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, relabelling
from support.relabelling import HP, INDEX, LABELS, ORDER, alone, close, execute

from jaxmu.errors import MethodError
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get, salun
from jaxmu.unlearning.parts import selection

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

KEY = jax.random.key(4)
SALUN = {**HP, "threshold": 0.3}
LEVELS = ("reference", "fixed")


@pytest.fixture(scope="module")
def variables():
  return alone(relabelling.start())


def naive_gradient(variables, batch_size, weigh):
  """Add up weigh(k, K) grad CE(b_k), k = 1 ... K, over the forget set in stored order."""
  x, y = relabelling.data()
  batches = relabelling.cut(INDEX["forget"], batch_size)
  total = jax.tree.map(np.zeros_like, variables["params"])
  for k, b in enumerate(batches, 1):
    pair = variables["params"], variables["batch_stats"]
    _, g = relabelling.gradient(*pair, x[b], y[b], train=False)
    weight = weigh(k, len(batches))
    total = jax.tree.map(lambda t, g, w=weight: t + w * g, total, g)
  return total


def flat(tree):
  return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def naive_mask(gradient, fraction):
  """Rank all entries of all leaves by a sort."""
  size = np.abs(flat(gradient))
  kept = np.zeros(size.size, bool)
  kept[np.argsort(-size, kind="stable")[: int(fraction * size.size)]] = True
  return kept


def forget_gradient(batch_size, fidelity, shuffle=False):
  """Compile `salun.forget_gradient`: (variables, key) -> gradient."""
  hp = {"batch_size": batch_size, "fidelity": fidelity}
  known = contract.step(hp, relabelling.view(shuffle))
  return jax.jit(lambda variables, key: salun.forget_gradient(variables, known._replace(key=key)))


# The mask


def test_gradients_and_masks_of_three_batches_equal_loops(variables):
  """Batches of 4, 4 and 2: weights 3, 2, 1 in the reference, 1 in fixed."""
  masks = []
  for fidelity, weigh in (("reference", lambda k, n: n - k + 1), ("fixed", lambda k, n: 1)):
    found = forget_gradient(4, fidelity)(variables, KEY)
    wanted = naive_gradient(variables, 4, weigh)
    close(found, wanted)
    for fraction in (0.1, 0.3, 0.6):
      mask = flat(salun.most_salient(found, fraction))
      np.testing.assert_array_equal(mask, naive_mask(wanted, fraction))
    masks.append(mask)
  assert (masks[0] != masks[1]).any()


def test_with_one_batch_both_levels_coincide(variables):
  """A batch size above the forget set gives one batch, too."""
  reference, fixed = (forget_gradient(50, level)(variables, KEY) for level in LEVELS)
  assert problems.equal(reference, fixed)
  close(fixed, naive_gradient(variables, 10, lambda k, n: 1))


def test_the_reference_depends_on_the_order_of_batches(variables):
  spread = {}
  for level in LEVELS:
    run = forget_gradient(5, level, shuffle=True)
    a, b = (flat(run(variables, key)) for key in jax.random.split(KEY))
    spread[level] = np.abs(a - b).max() / np.abs(a).max()
  assert spread["fixed"] < 1e-10 < 1e-2 < spread["reference"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exactly_the_floor_of_the_fraction_is_kept(dtype):
  gradient = {
    "a": jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), dtype),
    "b": {"c": jnp.zeros(40, dtype), "d": jnp.full(6, -2.0, dtype)},  # P = 67, many ties
  }
  rates = jnp.asarray([0.0, 0.01, 0.0625, 0.31, 0.5, 0.9, 0.999, 1.0], dtype)
  masks = jax.vmap(lambda rate: salun.most_salient(gradient, rate))(rates)
  counts = sum(leaf.reshape(len(rates), -1).sum(1) for leaf in jax.tree.leaves(masks))
  assert counts.tolist() == [0, 0, 4, 20, 33, 60, 66, 67]
  size = np.abs(flat(gradient))
  for k in range(1, len(rates) - 1):
    kept = flat(jax.tree.map(lambda leaf, k=k: leaf[k], masks))
    assert size[kept].min(initial=np.inf) >= size[~kept].max()


def test_float32_keeps_the_count_of_the_double_that_was_given():
  """ResNet-18 has 11,181,642 parameters, more than a float32 can tell apart by a fraction."""
  size, fractions = 11_181_642, [i / 1000 for i in range(1, 1000)]
  wanted = np.array([int(fraction * size) for fraction in fractions])
  rest_of = lambda fraction: salun.derive({"threshold": fraction}, {})["threshold_rest"]
  assert rest_of(0.3) == 0  # nothing is lost in float64
  with jax.enable_x64(False):
    rates, rests = jnp.asarray(fractions, float), jnp.asarray([*map(rest_of, fractions)], float)
    assert rates.dtype == jnp.float32
    plain = np.asarray(selection.count(rates, size, floor=True))
    exact = np.asarray(selection.count(rates, size, floor=True, rest=rests))
  np.testing.assert_array_equal(exact, wanted)
  assert (plain != wanted).any()


class Attending(nn.Module):
  """A head behind a table of biases, as attention has one."""

  @nn.compact
  def __call__(self, x, train=False):
    biases = self.param("attention_biases", nn.initializers.ones, (1, 36), x.dtype)
    head = nn.Dense(problems.CLASSES, name="head", param_dtype=x.dtype)
    return head(x.reshape(len(x), 36) * biases)


def test_attention_biases_have_no_gradient_in_the_reference():
  task = Task(Attending(), problems.CLASSES, shuffle=False)
  view = View(task, Arrays(*map(jnp.asarray, relabelling.data())), INDEX, {})
  variables = {**Attending().init(KEY, jnp.zeros((1, 6, 6, 1))), "batch_stats": {}}
  reference, fixed = (
    salun.forget_gradient(
      variables, contract.step({"batch_size": 10, "fidelity": level}, view, key=KEY)
    )
    for level in LEVELS
  )
  assert problems.equal(reference["head"], fixed["head"])
  assert not reference["attention_biases"].any()
  assert fixed["attention_biases"].all()


# Training


@pytest.mark.parametrize("fidelity", LEVELS)
def test_training_equals_a_loop_with_masked_gradients(variables, fidelity):
  reference = fidelity == "reference"
  weigh = (lambda k, n: n - k + 1) if reference else (lambda k, n: 1)
  gradient = naive_gradient(variables, HP["batch_size"], weigh)
  parts = np.split(
    naive_mask(gradient, 0.3), np.cumsum([g.size for g in jax.tree.leaves(gradient)])[:-1]
  )
  tree = jax.tree.structure(gradient)
  shaped = [part.reshape(g.shape) for part, g in zip(parts, jax.tree.leaves(gradient))]
  mask = jax.tree.unflatten(tree, shaped)
  draws = {"random_labels": LABELS, "union_order": ORDER}
  found, values, _, rates = execute("salun", SALUN, fidelity=fidelity, **draws)
  visits = np.concatenate([INDEX["retain"], INDEX["forget"]])[ORDER]
  wanted, reported = relabelling.loop(visits, mask, gate=not reference)
  close(found, wanted)
  close(values.reshape(-1), reported)
  assert (rates == HP["learning_rate"]).all()
  moved = flat(found["params"]) != flat(variables["params"])
  np.testing.assert_array_equal(moved, flat(mask) | (reference & (flat(variables["params"]) != 0)))


def test_threshold_one_is_srl():
  wanted, *_ = execute("srl", HP, shuffle=True)
  for fidelity in LEVELS:
    found, *_ = execute("salun", {**HP, "threshold": 1.0}, shuffle=True, fidelity=fidelity)
    close(found, wanted)


def test_threshold_zero_leaves_weight_decay_alone(variables):
  """fixed: nothing moves; reference: every weight decays, b <- mu b + lambda theta."""
  hp = {**HP, "threshold": 0.0}
  still, *_ = execute("salun", hp, shuffle=True, fidelity="fixed")
  assert problems.equal(still["params"], variables["params"])
  factor, buffer = 1.0, 0.0
  for _ in range(12):
    buffer = HP["momentum"] * buffer + HP["weight_decay"] * factor
    factor -= HP["learning_rate"] * buffer
  decayed, *_ = execute("salun", hp, shuffle=True, fidelity="reference")
  close(decayed["params"], jax.tree.map(lambda leaf: leaf * factor, variables["params"]))


# The table's row


def test_the_mask_optimizer_is_dead_and_momentum_off_by_default():
  method = get("salun")
  odd = {"learning_rate": 7.0, "momentum": 0.3, "weight_decay": 2.0}
  flat_names = {f"mask_optimizer_{name}": value for name, value in odd.items()}
  plain = method.hyperparameters({})
  assert method.hyperparameters({"mask_optimizer": odd}) == plain
  assert method.hyperparameters(flat_names) == plain
  assert plain["momentum"] == 0.0
  assert method.resolve_fidelity(None) == "fixed"
  assert method.prepare_samples(plain, {"retain": 90, "forget": 10}, {}) == 30


def test_a_threshold_outside_0_1_is_refused():
  with pytest.raises(
    MethodError, match=r"salun: threshold must be a number at least 0 and at most 1, got 1\.5"
  ):
    get("salun").hyperparameters({"threshold": 1.5})


def test_labels_of_the_wrong_form_are_refused():
  with pytest.raises(MethodError, match="random_labels must hold 10 integers"):
    execute("salun", SALUN, random_labels=np.arange(9))
