"""PRMQ: global pruning, redrawing, matched entropies, step budget, float16 (methods.md 6.4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, replays

from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training.task import Batch
from jaxmu.unlearning import get, prmq
from jaxmu.unlearning.parts.selection import count

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

POOL = {"stem": ("kernel",), "stage1": ("kernel",), "head": ("kernel", "bias")}
SIZE = 36 + 216 + 24 + 4
HP = {**prmq.METHOD.defaults, "batch_size": 8, "prune_rest": 0.0}
FAN_IN = {"stem": 9, "stage1": 36, "head": 6}
RESNET18 = 11_166_912 + 5_120 + 10  # entries of its pool


@pytest.fixture(scope="module")
def start():
  """Return variables with a few weights and one bias that are zero already."""
  variables = replays.alone(replays.start())
  variables["params"]["stem"]["kernel"][0, 0, 0, :2] = 0
  variables["params"]["head"]["bias"][1] = 0
  return variables


@pytest.fixture(scope="module")
def prepare():
  """Compile `prmq.prepare`: (variables, amount, seed, labels) -> (variables, teacher)."""

  @jax.jit
  def run(variables, amount, key, y):
    view = replays.view(["retain"], y=y)
    known = contract.step({**HP, "prune_amount": amount}, view, key=key)
    return prmq.prepare(variables, known)

  def arrays(variables, amount, seed=0, y=None):
    y = problems.samples()[1] if y is None else y
    return jax.tree.map(np.asarray, run(variables, amount, jax.random.key(seed), y))

  return arrays


def pooled(params):
  return np.concatenate([params[m][leaf].ravel() for m, leaves in POOL.items() for leaf in leaves])


def spread(flat, params):
  """Undo `pooled`: {module: {leaf: array}}."""
  shapes = [(m, leaf, params[m][leaf].shape) for m, leaves in POOL.items() for leaf in leaves]
  ends = np.cumsum([np.prod(shape) for *_, shape in shapes])[:-1]
  found = {m: {} for m in POOL}
  for (m, leaf, shape), part in zip(shapes, np.split(flat, ends)):
    found[m][leaf] = part.reshape(shape)
  return found


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.5, 0.77, 0.9875, 1.0])
def test_the_smallest_of_the_whole_pool_are_redrawn_and_nothing_else(prepare, start, amount):
  variables, _ = prepare(start, amount)
  flat = np.abs(pooled(start["params"]))
  pruned = np.zeros(SIZE, bool)
  pruned[np.argsort(flat, kind="stable")[: round(amount * SIZE)]] = True
  pruned = spread(pruned, start["params"])
  for module, leaves in POOL.items():
    for leaf in leaves:
      before, after = start["params"][module][leaf], variables["params"][module][leaf]
      gone = pruned[module][leaf]
      if leaf == "bias":
        np.testing.assert_array_equal(after, np.where(gone, 0, before))
        continue
      gone = gone | (before == 0)  # zeros are redrawn at any amount
      np.testing.assert_array_equal(after[~gone], before[~gone])
      assert (after[gone] != before[gone]).all()
      assert (np.abs(after[gone]) <= 1 / np.sqrt(FAN_IN[module])).all()
  replays.close(variables["params"]["norm"], start["params"]["norm"], rtol=0, atol=0)
  replays.close(variables["batch_stats"], start["batch_stats"], rtol=0, atol=0)


def test_redrawn_values_are_uniform_and_follow_the_key(prepare, start):
  drawn = [prepare(start, 1.0, seed)[0]["params"] for seed in range(20)]
  for module, fan_in in FAN_IN.items():
    values = np.stack([params[module]["kernel"] for params in drawn]) * np.sqrt(fan_in)
    assert np.unique(values).size == values.size
    assert np.abs(values).max() > 0.98
    assert abs(values.mean()) < 4 / np.sqrt(3 * values.size)
    assert abs(np.square(values).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / values.size)


def test_fresh_values_of_another_form_are_refused(start):
  """That injected values are taken shows in the whole run below."""
  view = replays.view(["retain"], fresh={"kernel": np.zeros((6, 4)), "bias": np.zeros(4)})
  with pytest.raises(MethodError, match=r"^prmq: fresh must be a tree like params, with leaves"):
    known = contract.step(HP, view, key=jax.random.key(0))
    jax.eval_shape(lambda: prmq.prepare(start, known))


def test_the_teacher_is_the_original_and_absent_classes_weigh_nothing(prepare, start):
  _, teacher = prepare(start, 0.9)
  x, y = replays.data()
  p = np.asarray(jax.nn.softmax(replays.eval_logits(start, x)))
  places = problems.index()["retain"][0]
  np.testing.assert_allclose(teacher.entropy[places], -np.sum(p * np.log(p), axis=1), rtol=1e-9)
  assert np.isnan(np.delete(teacher.entropy, places)).all()
  np.testing.assert_allclose(teacher.class_weights, np.bincount(y, minlength=4) ** -0.1)
  _, teacher = prepare(start, 0.9, y=np.full(38, 2, np.int32))
  np.testing.assert_allclose(teacher.class_weights, [0, 0, 22**-0.1, 0])


def test_float32_amounts_give_the_exact_count_for_a_pool_of_millions():
  """The amount alone, rounded to float32, is off by one for every tenth value."""
  amounts = [*np.random.default_rng(0).uniform(size=300).tolist(), 0.99, 0.9, 0.3, 0.5, 0.0, 1.0]
  with jax.enable_x64(False):
    rests = [
      prmq.derive({**prmq.METHOD.defaults, "prune_amount": a}, {"retain": 22})["prune_rest"]
      for a in amounts
    ]
    counts = jax.jit(jax.vmap(lambda a, rest: count(a, RESNET18, rest=rest)))
    found = counts(jnp.asarray(amounts, jnp.float32), jnp.asarray(rests, jnp.float32))
    without = counts(jnp.asarray(amounts, jnp.float32), jnp.zeros(len(amounts)))
  wanted = [round(a * RESNET18) for a in amounts]
  np.testing.assert_array_equal(found, wanted)
  assert np.sum(np.asarray(without) != wanted) > 10


@pytest.mark.parametrize("weight", [None, [1.0, 1, 1, 1, 1, 0, 0]])
def test_loss_is_a_weighted_mean_plus_squared_entropy_gaps_without_padding(weight):
  rng = np.random.default_rng(1)
  logits, y, table = rng.normal(size=(7, 3)), rng.integers(0, 3, 7), rng.uniform(0, 1, 9)
  index, w = rng.permutation(9)[:7], np.array([0.5, 0.8, 0.0])
  batch = Batch(None, jnp.asarray(y), weight and jnp.array(weight), None, jnp.asarray(index))
  teacher = prmq.Teacher(jnp.asarray(table), jnp.asarray(w))
  forward = lambda params, stats, x, weight: (jnp.asarray(logits), stats)
  found, _ = prmq.loss(None, {}, batch, contract.step(aux=teacher, forward=forward))
  n = 7 if weight is None else 5
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  entropies = -np.sum(p * np.log(p), axis=1)
  terms = [(w[c], -np.log(q[c])) for q, c in zip(p[:n], y[:n])]
  wanted = sum(a * b for a, b in terms) / sum(a for a, _ in terms)
  wanted += np.mean([(entropies[i] - table[index[i]]) ** 2 for i in range(n)])
  assert float(found) == pytest.approx(wanted)


@pytest.mark.parametrize(
  ("epochs", "steps", "passes"),
  [(3.2, 10, 4), (1, 4, 2), (0.1, 1, 1), (2.999, 9, 3), (1 / 3, 2, 1), (0.7, 3, 1)],
)
def test_one_step_beyond_the_real_number_of_epochs(epochs, steps, passes):
  """Three batches of 8, 8 and 6."""
  hp = {**prmq.METHOD.defaults, "num_epochs": epochs, "batch_size": 8}
  found = prmq.METHOD.derive(hp, {"retain": 22})
  assert (found["steps"], found["epochs"]) == (steps, passes)


def test_no_epochs_are_refused():
  message = r"^prmq: num_epochs must be a number above 0 and at most 1000000, got 0$"
  with pytest.raises(MethodError, match=message):
    prmq.METHOD.hyperparameters({"num_epochs": 0})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_equals_a_cast_to_float16_and_back(dtype):
  """Ties, subnormal and too large values included; float64 is rounded to float32 first."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=20_000) * 10.0 ** rng.integers(-9, 6, 20_000)
  edges = [0, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-30, 2**-14, 2**-14 * (1 - 2**-12)]
  values = np.concatenate([values, edges, [2**-24, 2**-25, 1.5 * 2**-24, 65519, 65520, 1e9]])
  values = np.concatenate([values, -values]).astype(dtype)
  with np.errstate(over="ignore"):
    wanted = values.astype(np.float32).astype(np.float16).astype(dtype)
  found = np.asarray(jax.jit(prmq.nearest_half)(values))
  assert found.dtype == dtype
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_whole_run_equals_a_loop_over_a_real_number_of_epochs():
  """1.4 epochs of three batches: five steps, the second pass stopped after two."""
  variables = replays.start()
  fresh = jax.tree.map(lambda p: np.random.default_rng(p.size).normal(size=p.shape), variables)
  hp = {"batch_size": 8, "learning_rate": 0.05, "num_epochs": 1.4, "prune_amount": 0.6}
  legs = []
  outcome = runner.run(
    get("prmq"),
    replays.problem(),
    variables,
    hp=[get("prmq").hyperparameters(hp)],
    keys=problems.member_keys([1]),
    draws={"fresh": fresh["params"]},
    on_leg=legs.append,
  )
  losses = np.concatenate([leg.metrics.loss[0] for leg in legs])
  assert np.isnan(losses).tolist() == [False] * 5 + [True]

  variables, fresh, (x, y) = replays.alone(variables), replays.alone(fresh), replays.data()
  params, flat = variables["params"], np.abs(pooled(variables["params"]))
  pruned = spread(np.argsort(np.argsort(flat)) < round(0.6 * SIZE), params)
  pruned["norm"] = {"scale": False, "bias": False}
  fresh["params"]["head"]["bias"][:] = 0
  params = jax.tree.map(np.where, pruned, fresh["params"], params)
  p = np.asarray(jax.nn.softmax(replays.eval_logits(variables, x)))
  extra = np.stack([np.bincount(y, minlength=4)[y] ** -0.1, -np.sum(p * np.log(p), axis=1)], axis=1)
  state, wanted = (params, variables["batch_stats"], replays.zeros(params)), []
  for steps in (3, 2):
    state, more = replays.epoch(
      state, (x, y), matching, rate=0.05, momentum=0.9, decay=5e-4, extra=extra, steps=steps
    )
    wanted += more
  np.testing.assert_allclose(losses[:5], wanted, rtol=1e-9)
  half = lambda leaf: np.asarray(leaf).astype(np.float32).astype(np.float16).astype(np.float64)
  found = replays.alone(outcome.variables)
  replays.close(found, jax.tree.map(half, {"params": state[0], "batch_stats": state[1]}), rtol=0)


def matching(logits, y, extra):
  log_p = jax.nn.log_softmax(logits)
  values, weights = -log_p[jnp.arange(len(y)), y], extra[:, 0]
  gap = -jnp.sum(jnp.exp(log_p) * log_p, axis=1) - extra[:, 1]
  return jnp.sum(weights * values) / jnp.sum(weights) + jnp.mean(gap**2)
