"""Steps and epochs of one model against loops written out by hand, in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import contract

from jaxmu.data import augment, streams
from jaxmu.errors import MethodError
from jaxmu.models.layers import Linear
from jaxmu.models.norm import BatchNorm
from jaxmu.training import Pass, Phase, Task, View, losses, run_epoch, schedules, sgd, start_phase
from jaxmu.training.epoch import NEVER, optimizer
from jaxmu.training.objectives import ascent, classification
from jaxmu.training.task import Arrays

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

CLASSES, BATCH = 3, 8
INDEX = {"retain": np.arange(22), "forget": np.arange(22, 32)}
HP = {
  "learning_rate": 0.3,
  "momentum": 0.9,
  "weight_decay": 0.05,
  "batch_size": BATCH,
  "num_epochs": 3,
}
KEYS = jax.random.key(1), jax.random.key(2)


class Normed(nn.Module):
  """Batch normalisation and a linear head."""

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    x = BatchNorm(name="norm")(x, train=train, mask=mask)
    return Linear(CLASSES, name="head")(jnp.mean(x, (1, 2)))


def one_pass(stream="retain", loss=classification, **options):
  settings = {
    "stream": stream,
    "batch_size": BATCH,
    "loss": loss,
    "transform": lambda step: sgd(step.hp["momentum"], step.hp["weight_decay"]),
    "schedule": lambda hp, n: schedules.cosine(hp["learning_rate"], hp["num_epochs"], n),
  }
  return Pass(**{**settings, **options})


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(3)
  y = rng.integers(0, CLASSES, 32).astype(np.int32)
  return rng.normal(size=(CLASSES, 3, 3, 2))[y] + rng.normal(size=(32, 3, 3, 2)), y


@pytest.fixture(scope="module")
def start():
  variables = Normed().init(jax.random.key(5), jnp.zeros((1, 3, 3, 2)))
  return jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))


def epochs_of(phase, data, shuffle=False, hp=HP):
  """Compile one epoch of `phase` on the data: (state, number of the epoch) -> (state, metrics)."""
  view = View(Task(Normed(), CLASSES, shuffle=shuffle), Arrays(*map(jnp.asarray, data)), INDEX, {})
  key, order_key = KEYS
  known = contract.step(hp, view, key=key)
  return jax.jit(
    lambda state, number: run_epoch(phase, state, known._replace(epoch=number), order_key)
  )


def begin(phase, start, failed_at=NEVER):
  params, batch_stats = jax.tree.map(jnp.asarray, start)
  return start_phase(phase, params, batch_stats, jnp.int32(failed_at), contract.step(HP))


# The same network, loss and update without this package, flax or optax.


def naive_loss(params, stats, x, y):
  """Cross-entropy, logits, and running statistics of train-mode batch normalisation."""
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  n = x.shape[0] * x.shape[1] * x.shape[2]
  moved = {
    "mean": 0.9 * stats["norm"]["mean"] + 0.1 * mean,
    "var": 0.9 * stats["norm"]["var"] + 0.1 * var * n / (n - 1),
  }
  norm, head = params["norm"], params["head"]
  over = lambda channels: channels[None, None, None]
  x = (x - over(mean)) / over(jnp.sqrt(var + 1e-5)) * over(norm["scale"]) + over(norm["bias"])
  logits = x.mean((1, 2)) @ head["kernel"] + head["bias"][None]
  chosen = logits[jnp.arange(len(y)), y]
  return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen), (logits, {"norm": moved})


naive_gradient = jax.jit(jax.value_and_grad(naive_loss, has_aux=True))


def naive_step(params, stats, buffer, x, y, rate, sign=1):
  """One step of heavy-ball SGD with coupled decay; returns the new state and (loss, accuracy)."""
  (loss, (logits, stats)), grads = naive_gradient(params, stats, x, y)
  force = jax.tree.map(lambda g, p: sign * g + HP["weight_decay"] * p, grads, params)
  buffer = jax.tree.map(lambda b, f: HP["momentum"] * b + f, buffer, force)
  params = jax.tree.map(lambda p, b: p - rate * b, params, buffer)
  accuracy = np.mean(np.argmax(np.asarray(logits), 1) == y)
  return params, stats, buffer, (sign * float(loss), accuracy)


def close(found, wanted):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, wanted)


def test_sgd_is_heavy_ball_with_coupled_decay_and_the_rate_last():
  """The rate changes at every step: a rate inside the buffer would give other numbers."""
  rng = np.random.default_rng(0)
  theta, buffer = rng.normal(size=5), np.zeros(5)
  rates = [0.3, 0.01, 0.2, 0.05]
  rated = one_pass(schedule=lambda hp, n: lambda c: jnp.asarray(rates)[c])
  rule = optimizer(rated, contract.step(HP), 1)
  params = {"w": jnp.asarray(theta)}
  state = rule.init(params)
  for rate in rates:
    g = rng.normal(size=5)
    buffer = 0.9 * buffer + (g + 0.05 * theta)
    theta = theta - rate * buffer
    updates, state = rule.update({"w": jnp.asarray(g)}, state, params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["w"], theta, rtol=1e-14)


def test_cross_entropy_and_its_gradient_equal_the_formula():
  rng = np.random.default_rng(0)
  z, y = rng.normal(size=(6, 4)) * 3, rng.integers(0, 4, 6)
  p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
  np.testing.assert_allclose(losses.cross_entropy(z, y), [-np.log(p[i, y[i]]) for i in range(6)])
  found = jax.grad(lambda z: losses.cross_entropy(z, y).sum())(jnp.asarray(z))
  np.testing.assert_allclose(found, p - np.eye(4)[y], atol=1e-14)
  assert losses.cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1]))[0] == 1e4  # no overflow


def test_mean_leaves_weightless_samples_out():
  values = jnp.array([1.0, 2.0, 6.0, 100.0])
  assert losses.mean(values) == 27.25
  assert losses.mean(values, jnp.array([1, 1, 1, 0])) == 3.0
  assert losses.mean(values, jnp.array([2.0, 0, 1, 0])) == 8 / 3


def test_correct_compares_the_largest_logit():
  logits = jnp.array([[0.0, 2, 1], [3, 2, 1], [0, 0, 5]])
  np.testing.assert_array_equal(losses.correct(logits, jnp.array([1, 1, 2])), [1, 0, 1])


def test_epochs_equal_a_loop_of_single_steps(data, start):
  """Two full batches and a rest of 6, three epochs: weights, statistics and metrics."""
  phase = Phase("train", (one_pass(),))
  epoch, state = epochs_of(phase, data), begin(phase, start)
  params, stats = start
  buffer = jax.tree.map(np.zeros_like, params)
  for number in range(3):
    rate = 0.3 * (1 + np.cos(np.pi * number / 3)) / 2
    wanted = []
    for places in (slice(0, 8), slice(8, 16), slice(16, 22)):
      batch = data[0][places], data[1][places]
      params, stats, buffer, reported = naive_step(params, stats, buffer, *batch, rate)
      wanted.append((*reported, rate))
    state, metrics = epoch(state, number)
    close(state.params, params)
    close(state.batch_stats, stats)
    close(np.stack(metrics, 1), np.array(wanted))
  assert state.failed_at == NEVER
  assert np.array(wanted)[:, 1].min() > 0  # the accuracy that was compared is not trivial


def test_passes_run_in_turn_and_slots_keep_their_own_momentum(data, start):
  """Forget ascends, then retain descends, each with its own optimizer state, for two epochs."""
  forget = one_pass("forget", ascent, slot="forget")
  phase = Phase("two passes", (forget, one_pass()))
  epoch, state = epochs_of(phase, data), begin(phase, start)
  assert set(state.optimizers) == {"forget", "sgd"}
  params, stats = start
  buffers = {sign: jax.tree.map(np.zeros_like, params) for sign in (-1, 1)}
  for number in range(2):
    rate, wanted = 0.3 * (1 + np.cos(np.pi * number / 3)) / 2, []
    for sign, first, last in ((-1, 22, 30), (-1, 30, 32), (1, 0, 8), (1, 8, 16), (1, 16, 22)):
      params, stats, buffers[sign], reported = naive_step(
        params, stats, buffers[sign], data[0][first:last], data[1][first:last], rate, sign
      )
      wanted.append((*reported, rate))
    state, metrics = epoch(state, number)
    close(np.stack(metrics, 1), np.array(wanted))
  close(state.params, params)


def test_frozen_batch_norm_uses_and_keeps_the_statistics(data, start):
  phase = Phase("eval", (one_pass(batch_norm="eval"),))
  params, stats = start
  stats = {"norm": {"mean": np.array([0.5, -0.5]), "var": np.array([2.0, 0.5])}}
  state, metrics = epochs_of(phase, data)(begin(phase, (params, stats)), 0)
  close(state.batch_stats, stats)
  logits = Normed().apply({"params": params, "batch_stats": stats}, data[0][:8], train=False)
  np.testing.assert_allclose(metrics.loss[0], losses.cross_entropy(logits, data[1][:8]).mean())


def test_every_epoch_draws_another_order(data, start):
  """At rate 0 only the order moves the losses of an epoch's batches, never their total."""
  phase = Phase("still", (one_pass(batch_norm="eval"),))
  run = epochs_of(phase, data, shuffle=True, hp={**HP, "learning_rate": 0.0})
  found = [np.asarray(run(begin(phase, start), number)[1].loss) for number in (0, 1, 1)]
  np.testing.assert_array_equal(found[1], found[2])
  assert not np.allclose(found[0], found[1])
  totals = [loss @ [8, 8, 6] for loss in found]
  np.testing.assert_allclose(totals, totals[0])


@pytest.fixture(scope="module")
def poisoned(data):
  """Compile an epoch on data whose 10th sample, in the second of three batches, is NaN."""
  x = data[0].copy()
  x[9] = np.nan
  phase = Phase("train", (one_pass(batch_norm="eval"),))
  return phase, epochs_of(phase, (x, data[1]))


@pytest.mark.parametrize(("number", "step"), [(0, 1), (2, 7)])
def test_failed_at_is_the_first_step_with_a_non_finite_loss(poisoned, start, number, step):
  phase, epoch = poisoned
  state, metrics = epoch(begin(phase, start), number)
  assert state.failed_at == step
  np.testing.assert_array_equal(np.isfinite(metrics.loss), [True, False, False])


@pytest.mark.parametrize(("number", "failed_at"), [(1, 0), (3, NEVER)])
def test_failed_and_finished_models_rest(poisoned, start, number, failed_at):
  """A model that failed, and one whose three epochs are over, keeps its state bit for bit."""
  phase, epoch = poisoned
  state = begin(phase, start, failed_at)
  after, metrics = epoch(state, number)
  assert jax.tree.all(jax.tree.map(np.array_equal, after, state))
  assert all(np.isnan(leaf).all() for leaf in metrics)


def test_a_view_refuses_sets_that_the_method_did_not_declare(data):
  view = View(Task(Normed(), CLASSES), Arrays(*data), {"retain": INDEX["retain"], "val": [0]}, {})
  assert view.size("retain") == 22
  message = r"^the forget set is not among the method's needs \(retain, val\)$"
  for refused in (
    lambda: view.size("forget"),
    lambda: view.order("union", KEYS[0], BATCH),
    lambda: view.order("zip_cycle", KEYS[0], BATCH),
  ):
    with pytest.raises(MethodError, match=message):
      refused()
  with pytest.raises(MethodError, match="unknown stream 'unoin'; did you mean 'union'"):
    view.order("unoin", KEYS[0], BATCH)


def test_a_view_fetches_what_the_samples_say(data):
  view = View(Task(Normed(), CLASSES, shuffle=False), Arrays(*map(jnp.asarray, data)), INDEX, {})
  order = view.order("zip_cycle", KEYS[0], BATCH)
  pair = view.fetch(jax.tree.map(lambda leaf: leaf[1], order.full))
  np.testing.assert_array_equal(pair.retain.x, data[0][8:16])
  np.testing.assert_array_equal(pair.forget.y[:2], data[1][30:32])
  np.testing.assert_array_equal(pair.forget.weight, [1, 1, 0, 0, 0, 0, 0, 0])
  places = view.positions(jnp.array([5, 3, 30]), 2)
  np.testing.assert_array_equal(view.fetch(places.rest).x, data[0][[30]])
  np.testing.assert_array_equal(places.full.index, [[5, 3]])


def test_a_view_follows_an_injected_union_order(data):
  visit = np.random.default_rng(0).permutation(32)
  view = View(Task(Normed(), CLASSES), Arrays(*data), INDEX, {"union_order": visit})
  found = view.order("union", KEYS[0], BATCH)
  np.testing.assert_array_equal(found.full.index.reshape(-1), visit)


def test_a_view_turns_stored_images_into_network_inputs():
  """uint8 images become normalised floats of the default float type, augmented only on request."""
  images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 1), np.uint8)
  spec = augment.Preprocess(mean=(0.5,), std=(0.25,), augmentation="flip", channels=1)
  view = View(Task(Normed(), CLASSES, spec), Arrays(images, jnp.arange(4)), INDEX, {})
  wanted = (images / 255 - 0.5) / 0.25
  batch = view.fetch(streams.Samples(jnp.array([2, 0])), KEYS[0])
  assert batch.x.dtype == np.float64
  np.testing.assert_allclose(batch.x, wanted[[2, 0]], rtol=1e-12)
  many = streams.Samples(jnp.zeros(32, int))
  flipped = np.asarray(view.fetch(many, KEYS[0], augmented=True).x)
  same = np.isclose(flipped, wanted[0]).all((1, 2, 3))
  mirrored = np.isclose(flipped, wanted[0, :, ::-1]).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 0 < same.sum() < 32
