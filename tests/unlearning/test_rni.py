"""RNI: which layers train and receive noise, and when; rates; degenerate cases (methods.md 6.7)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, replays

from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.models import structure
from jaxmu.models.layers import Conv, LayerNorm, Linear
from jaxmu.models.norm import BatchNorm
from jaxmu.training import Task
from jaxmu.unlearning import get, rni

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

KEY = jax.random.key(2)
POOL, ALWAYS = 13, 2  # leaves of Many
NUMBERS = ("num_epochs", "fine_num_epochs", "reset_num_epochs", "origin_noise", "noisy_layers")


class Many(nn.Module):
  """More leaves in the pool than an epoch chooses, a LayerNorm among them."""

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    x = Conv(4, 3, 1, 1, name="stem")(x)
    x = jnp.mean(jnp.tanh(BatchNorm(name="norm")(x, train=train, mask=mask)), (1, 2))
    x = LayerNorm(name="layer_norm", param_dtype=x.dtype)(x)
    for i in range(4):
      x = jnp.tanh(Linear(5, name=f"layer{i}")(x))
    return Linear(problems.CLASSES, name="head")(x)


@pytest.fixture(scope="module")
def start():
  return jax.tree.map(np.asarray, Many().init(jax.random.key(0), jnp.zeros((1, 6, 6, 1))))


def flags(tree):
  return np.array([bool(leaf) for leaf in jax.tree.leaves(tree)])


def always(start):
  return flags(structure.always_trained(**start))


# The hook alone


@pytest.fixture(scope="module")
def choose(start):
  view = replays.view(["retain"], Many())

  def run(key, params, memory, epoch, hp):
    known = contract.step(hp, view, key=key, memory=memory, epoch=epoch)
    return rni.choose({**start, "params": params}, known)

  return jax.jit(run)


def simulate(choose, start, seed, **given):
  """Run the hook of every epoch; return per epoch the chosen leaves, the noisy ones, `fine`."""
  hp = {**rni.METHOD.defaults, **given}
  hp = {**hp, **rni.derive(hp, {})}
  params, memory, record = start["params"], rni.unseen(start["params"], contract.step(hp)), []
  numbers = {name: value for name, value in hp.items() if name in NUMBERS}
  for epoch in range(hp["num_epochs"]):
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    new, memory = choose(key, params, memory, epoch, numbers)
    noisy = ~flags(jax.tree.map(lambda a, b: (a == b).all(), params, new))
    record.append((flags(memory.trained), noisy, bool(memory.fine)))
    params = new
  return record


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("reset", [0, 1, 2, 5])
def test_noise_comes_once_when_a_layer_is_first_chosen_and_not_before_epoch_reset(
  choose, start, ratio, reset
):
  number, total = int(9 * ratio), 0
  for seed in range(3):
    seen, times = np.zeros(POOL + ALWAYS, bool), np.zeros(POOL + ALWAYS, int)
    record = simulate(
      choose,
      start,
      seed,
      num_epochs=6,
      fine_num_epochs=1,
      noise_ratio=ratio,
      reset_num_epochs=reset,
    )
    for epoch, (trained, noisy, fine) in enumerate(record[:-1]):
      chosen = trained & ~always(start)
      assert not fine
      assert trained[always(start)].all()
      assert chosen.sum() == 9
      assert not noisy[~chosen | seen].any()
      assert noisy.sum() <= (number if epoch >= reset else 0)
      if ratio == 1 and epoch >= reset:
        np.testing.assert_array_equal(noisy, chosen & ~seen)
      assert noisy.sum() == number or epoch or reset
      seen |= chosen
      times += noisy
    assert times.max() <= 1
    total += times.sum()
    trained, noisy, fine = record[-1]
    assert (fine, trained.all(), noisy.any()) == (True, True, False)
  assert total > 0 or ratio == 0 or reset >= 2  # by epoch 2 few layers are left


@pytest.mark.parametrize(("epochs", "fine"), [(2, 2), (2, 5)])
def test_as_many_fine_epochs_as_epochs_choose_no_layer(choose, start, epochs, fine):
  for trained, noisy, is_fine in simulate(
    choose, start, 0, num_epochs=epochs, fine_num_epochs=fine, reset_num_epochs=0
  ):
    assert (is_fine, trained.all(), noisy.any()) == (True, True, False)


def with_noisy(number, **draws):
  """Return the step of an epoch with so many noisy layers."""
  return contract.step({"noisy_layers": number}, replays.view(["retain"], **draws))


def test_layers_are_drawn_evenly_without_replacement():
  n = 2000
  draw = lambda key: rni.select(key, with_noisy(4), POOL)
  layers, noisy = jax.jit(jax.vmap(draw))(jax.random.split(KEY, n))
  layers, noisy = np.asarray(layers), np.asarray(noisy)
  assert layers.shape == noisy.shape == (n, 9)
  assert all(len(set(row)) == 9 for row in layers.tolist())
  assert (noisy.sum(1) == 4).all()
  chosen = np.bincount(layers.ravel(), minlength=POOL) / n
  assert np.abs(chosen - 9 / 13).max() < 4.5 * np.sqrt(9 / 13 * 4 / 13 / n)
  hit = np.bincount(layers[noisy], minlength=POOL) / n
  assert np.abs(hit - 4 / 13).max() < 4.5 * np.sqrt(4 / 13 * 9 / 13 / n)
  assert len({tuple(row) for row in np.sort(layers, axis=1)}) > 500  # of 715 combinations


def test_a_small_pool_is_chosen_whole():
  layers, noisy = rni.select(KEY, with_noisy(6), 4)
  assert sorted(layers.tolist()) == [0, 1, 2, 3]
  assert noisy.all()


def test_injected_rows_belong_to_epochs_and_the_last_one_repeats():
  layers, noisy = np.array([[3, 1, 0, 2], [2, 3, 1, 0]]), np.array([[1, 0, 0, 1], [0, 1, 0, 0]])
  known = with_noisy(4, layers=layers, noisy=noisy)
  for epoch, row in ((0, 0), (1, 1), (2, 1), (5, 1)):
    found = rni.select(KEY, known._replace(epoch=epoch), 4)
    np.testing.assert_array_equal(found[0], layers[row])
    np.testing.assert_array_equal(found[1], noisy[row] == 1)


def test_drawn_noise_is_standard_normal_times_the_deviation(choose, start):
  """With all nine layers noisy; after one epoch, of many runs."""
  hp = {**rni.METHOD.defaults, "noisy_layers": 9, "reset_num_epochs": 0}
  hp = {name: value for name, value in hp.items() if name in NUMBERS}
  values, memory = [], rni.unseen(start["params"], contract.step(hp))
  for key in jax.random.split(KEY, 30):
    new, chosen = choose(key, start["params"], memory, 0, hp)
    noisy = flags(chosen.trained) & ~always(start)
    leaves = zip(jax.tree.leaves(new), jax.tree.leaves(start["params"]), noisy)
    values += [np.ravel(a - b) / 0.04 for a, b, moved in leaves if moved]
  xi = np.concatenate(values)
  assert np.abs(xi).min() > 0
  assert abs(xi.mean()) < 4 / np.sqrt(xi.size)
  assert abs(np.square(xi).mean() - 1) < 4 * np.sqrt(2 / xi.size)


# Rates and derived numbers


@pytest.mark.parametrize(
  ("epochs", "fine", "rates", "wanted"),
  [
    (4, 2, (0.5, 0.6), [0.1, 0.1, 0.5, 0.6]),
    (4, 3, (0.5,), [0.1, 0.5, 0.5, 0.5]),
    (2, 3, (0.5, 0.6, 0.7), [0.6, 0.7]),
    (3, 0, (0.5, 0.6), [0.1, 0.1, 0.1]),
  ],
)
def test_rates_of_coarse_and_fine_epochs(epochs, fine, rates, wanted):
  hp = {"num_epochs": epochs, "fine_num_epochs": fine, "learning_rate": 0.1}
  schedule = rni.rate({**hp, "fine_optimizer_learning_rate": jnp.array(rates)}, steps=7)
  found = [float(schedule(jnp.asarray(7 * e + last))) for e in range(epochs) for last in (0, 6)]
  np.testing.assert_allclose(found, np.repeat(wanted, 2))


@pytest.mark.parametrize("ratio", [*np.arange(0, 1.001, 0.1), 1 / 3, 2 / 3, 4 / 9, 7 / 9, 8 / 9])
def test_noisy_layers_are_counted_in_double_precision(ratio):
  hp = {**rni.METHOD.defaults, "noise_ratio": float(ratio)}
  assert rni.METHOD.derive(hp, {}) == {"noisy_layers": int(9 * float(ratio))}


def test_fewer_rates_than_fine_epochs_are_refused():
  hyper = lambda **given: rni.METHOD.hyperparameters(given)
  rni.METHOD.derive(hyper(fine_num_epochs=6), {})
  message = "^rni: fine_optimizer_learning_rate holds 6 rates for 7 fine epochs; give one for each,"
  with pytest.raises(MethodError, match=message):
    rni.METHOD.derive(hyper(fine_num_epochs=7), {})
  single = hyper(fine_num_epochs=7, fine_optimizer={"learning_rate": 1e-3})
  assert single["fine_optimizer_learning_rate"] == (1e-3,)
  rni.METHOD.derive(single, {})


# Whole runs

HP = {
  "batch_size": 8,
  "num_epochs": 5,
  "fine_num_epochs": 2,
  "reset_num_epochs": 1,
  "origin_noise": 0.3,
  "learning_rate": 0.05,
  "momentum": 0.9,
  "weight_decay": 0.01,
  "fine_optimizer_learning_rate": (0.02, 0.03, 9.0),
  "fine_optimizer_momentum": 0.7,
  "fine_optimizer_weight_decay": 0.02,
}


def injected(start):
  rng = np.random.default_rng(0)
  normal = lambda: jax.tree.map(lambda p: rng.normal(size=p.shape), start["params"])
  layers = np.stack([rng.permutation(POOL)[:9] for _ in range(3)])
  return {"fresh": normal(), "noise": normal(), "layers": layers, "noisy": rng.random((3, 9)) < 0.7}


def run(start, draws):
  """Return (variables, losses, snapshots after every epoch)."""
  problem, legs, snapshots = replays.problem(), [], []
  problem = dataclasses.replace(problem, task=Task(Many(), problems.CLASSES, shuffle=False))

  def keep(leg):
    legs.append(leg.metrics.loss[0])
    snapshots.append(replays.alone(leg.snapshot().variables))

  lead = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)
  outcome = runner.run(
    get("rni"),
    problem,
    lead(start),
    hp=[get("rni").hyperparameters(HP)],
    keys=problems.member_keys([1]),
    draws=lead(draws),
    on_leg=keep,
  )
  return replays.alone(outcome.variables), np.concatenate(legs), snapshots


def test_whole_run_equals_a_loop_and_frozen_leaves_stay_bit_for_bit(start):
  draws = injected(start)
  found, losses, snapshots = run(start, draws)
  params = {**start["params"], "head": draws["fresh"]["head"]}
  form, noise = jax.tree.structure(params), jax.tree.leaves(draws["noise"])
  pool = np.flatnonzero(~always(start))
  state, wanted, seen = (params, start["batch_stats"], None), [], set()
  for epoch in range(5):
    if epoch >= 3:
      open_, settings = set(range(POOL + ALWAYS)), ((0.02, 0.03)[epoch - 3], 0.7, 0.02)
    else:
      chosen, settings = pool[draws["layers"][epoch]], (0.05, 0.9, 0.01)
      open_ = {*chosen, *np.flatnonzero(always(start))}
      leaves = jax.tree.leaves(state[0])
      for leaf, noisy in zip(chosen, draws["noisy"][epoch]):
        if epoch >= 1 and noisy and leaf not in seen:
          leaves[leaf] = leaves[leaf] + 0.3 * noise[leaf]
      state = (jax.tree.unflatten(form, leaves), *state[1:])
      seen |= set(chosen)
    before = snapshots[epoch - 1]["params"] if epoch else params
    moved = ~flags(jax.tree.map(np.array_equal, before, snapshots[epoch]["params"]))
    assert set(np.flatnonzero(moved)) == open_
    trained = jax.tree.unflatten(form, [i in open_ for i in range(form.num_leaves)])
    rate, momentum, decay = settings
    state, more = replays.epoch(
      (*state[:2], replays.zeros(params)),
      replays.data(),
      entropy,
      module=Many(),
      rate=rate,
      momentum=momentum,
      decay=decay,
      trained=trained,
    )
    wanted += more
  np.testing.assert_allclose(losses, wanted, rtol=1e-9)
  replays.close(found, {"params": state[0], "batch_stats": state[1]})


def entropy(logits, y, extra):
  del extra
  return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y])


def test_only_the_head_is_reset(start):
  known = contract.step({}, replays.view(["retain"], Many()))
  prepare = jax.jit(lambda key: rni.prepare(start, known._replace(key=key))[0])
  drawn = [prepare(key) for key in jax.random.split(KEY, 30)]
  for leaf in ("kernel", "bias"):
    after = np.stack([variables["params"]["head"][leaf] for variables in drawn]) * np.sqrt(5)
    assert 0.9 < np.abs(after).max() <= 1
  unreset = {**drawn[0], "params": {**drawn[0]["params"], "head": start["params"]["head"]}}
  assert problems.equal(unreset, start)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("layers", np.zeros((3, 8), int), r"^rni: layers must have shape \(epochs, 9\), got \(3, 8\)"),
    ("noisy", np.zeros(9), r"^rni: noisy must have shape \(epochs, 9\), got \(9,\)"),
    ("noise", {"head": np.zeros(3)}, "^rni: noise must be a tree like params, with leaves of the "),
    ("fresh", {"head": np.zeros(3)}, "^rni: fresh must be a tree like params, with leaves of the "),
  ],
)
def test_draws_of_another_form_are_refused(start, name, value, message):
  with pytest.raises(MethodError, match=message):
    run(start, {**injected(start), name: value})
