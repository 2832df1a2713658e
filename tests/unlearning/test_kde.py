"""KDE: resets, teacher, both phases, and what must not matter (methods.md 6.6)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, replays

from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training.losses import cross_entropy, divergence, mean
from jaxmu.training.task import Batch
from jaxmu.unlearning import get, kde

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

KEY = jax.random.key(5)
SETS = ("retain", "val")


class Embedded(problems.TinyNet):
  """The tiny network with a stem that is part of a patch embedding, and stays as it is."""

  stem_is_a_layer: ClassVar[bool] = False


@pytest.fixture(scope="module")
def start():
  return replays.alone(replays.start())


def prepare(start, key=KEY, module=None, **draws):
  view = replays.view(SETS, module, **draws)
  hp = {**kde.METHOD.defaults, "batch_size": 8}
  return kde.prepare(start, contract.step(hp, view, key=key))


# Resets and teacher


@pytest.mark.parametrize(
  ("module", "ends"), [(problems.TinyNet(), {"stem", "head"}), (Embedded(), {"head"})]
)
def test_only_the_ends_are_reset_within_the_bounds_of_their_layers(start, module, ends):
  drawn = jax.jit(lambda key: prepare(start, key, module)[0])
  for name, layer in start["params"].items():
    for leaf, before in layer.items():
      after = np.stack([drawn(key)["params"][name][leaf] for key in jax.random.split(KEY, 30)])
      if name not in ends:
        np.testing.assert_array_equal(after, np.broadcast_to(before, after.shape))
        continue
      bound = 1 / np.sqrt(9 if name == "stem" else 6)  # the bias takes its kernel's
      assert 0.95 * bound < np.abs(after).max() <= bound
      assert np.unique(after).size == after.size
  assert problems.equal(drawn(KEY)["batch_stats"], start["batch_stats"])


def test_resets_of_another_form_are_refused(start):
  """That injected values are taken shows in the whole run below."""
  fresh = {"kernel": np.zeros((6, 4)), "bias": np.zeros(4)}
  with pytest.raises(MethodError, match=r"^kde: fresh must be a tree like params, with leaves of"):
    jax.eval_shape(lambda: prepare(start, fresh=fresh))


def test_the_teacher_is_the_original_in_eval_mode_on_both_sets(start):
  _, teacher = prepare(start)
  teacher = np.asarray(teacher)
  for name in SETS:
    wanted = replays.eval_logits(start, replays.data(name)[0])
    np.testing.assert_allclose(teacher[problems.index()[name][0]], wanted, rtol=1e-9)
  assert np.isnan(teacher[problems.index()["forget"][0]]).all()


# Losses


@jax.jit
def losses_at(logits, teacher, y, weight=None, t=5.0):
  """Return ((value, report), gradient by the logits) of the two phases' losses."""
  batch = Batch(None, y, weight, None, jnp.arange(len(y)))
  known = contract.step(
    {"temperature": t}, aux=teacher, forward=lambda z, stats, x, weight: (z, stats)
  )

  def both(loss):
    at = lambda z: loss(z, {}, batch, known)
    return jax.value_and_grad(at, has_aux=True)(logits)

  return both(kde.warm_up), both(kde.fine_tune)


@pytest.fixture(scope="module")
def example():
  rng = np.random.default_rng(0)
  logits, teacher = (jnp.asarray(3 * rng.normal(size=(6, 4))) for _ in range(2))
  return logits, teacher, jnp.asarray(rng.integers(0, 4, 6))


@pytest.mark.parametrize("t", [0.5, 1.0, 5.0])
def test_three_terms_have_the_gradient_of_cross_entropy_and_twice_the_divergence(example, t):
  logits, teacher, y = example
  _, ((value, _), found) = losses_at(logits, teacher, y, t=t)
  two = lambda z: mean(cross_entropy(z, y)) + 2 * mean(divergence(teacher, z, t))
  other, wanted = jax.value_and_grad(two)(logits)
  np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-14)
  assert abs(value - other) > 0.1  # the values differ by the teacher's entropy


def test_values_equal_written_out_sums(example):
  logits, teacher, y = map(np.asarray, example)
  (((kl, _), _), ((three, report), _)) = losses_at(*map(jnp.asarray, (logits, teacher, y)))
  soft = lambda z: np.exp(z / 5) / np.exp(z / 5).sum(1, keepdims=True)
  p, q = soft(logits), soft(teacher)
  hard = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  wanted = np.mean(np.sum(q * np.log(q / p), axis=1))
  assert float(kl) == pytest.approx(wanted)
  terms = [-np.log(hard[i, y[i]]) - np.sum(q[i] * np.log(p[i])) for i in range(6)]
  assert float(three) == pytest.approx(np.mean(terms) + wanted)
  assert float(report.accuracy) == np.mean(logits.argmax(1) == y)


def test_padding_changes_nothing(example):
  logits, teacher, y = example
  plain = losses_at(logits[:4], teacher[:4], y[:4])
  padded = losses_at(logits, teacher, y, jnp.array([1.0, 1, 1, 1, 0, 0]))
  for (value, grad), (wanted, reference) in zip(padded, plain):
    replays.close(value, wanted)
    np.testing.assert_allclose(grad, jnp.pad(reference, ((0, 2), (0, 0))), atol=1e-15)


def test_a_student_equal_to_its_teacher_has_no_divergence(example):
  logits, *_ = example
  ((value, report), grad), _ = losses_at(logits, logits, example[2])
  assert float(value) == pytest.approx(0, abs=1e-15)
  np.testing.assert_allclose(grad, 0, atol=1e-15)
  assert float(report.accuracy) == 1  # agreement


def test_temperatures_below_a_tenth_are_raised_to_it(example):
  cold, tenth, warm = (losses_at(*example, t=t) for t in (0.0, 0.1, 0.2))
  assert problems.equal(cold, tenth)
  assert not problems.equal(cold, warm)


# Runs

HP = {
  "batch_size": 8,
  "num_epochs": 2,
  "learning_rate": 0.05,
  "momentum": 0.8,
  "weight_decay": 1e-3,
  "retain_num_epochs": 3,
  "retain_optimizer_learning_rate": 0.04,
  "retain_optimizer_momentum": 0.9,
  "retain_optimizer_weight_decay": 5e-4,
  "temperature": 2.0,
}


def run(y=None):
  """Run with injected resets; returns (variables, losses of every step)."""
  variables, legs = replays.start(), []
  fresh = jax.tree.map(lambda p: np.random.default_rng(p.size).normal(size=p.shape), variables)
  outcome = runner.run(
    get("kde"),
    replays.problem(y),
    variables,
    hp=[get("kde").hyperparameters(HP)],
    keys=problems.member_keys([1]),
    draws={"fresh": fresh["params"]},
    on_leg=legs.append,
  )
  losses = np.concatenate([leg.metrics.loss[0] for leg in legs])
  return replays.alone(outcome.variables), losses, replays.alone(fresh["params"])


def test_labels_of_validation_samples_do_not_matter():
  _, y = problems.samples()
  y[problems.index()["val"][0]] = 0
  changed, plain = run(y.copy()), run()
  assert problems.equal(changed, plain)
  y[problems.index()["retain"][0]] = 0
  assert not problems.equal(run(y), plain)  # the control


def test_whole_run_equals_a_loop_with_empty_momentum_in_the_second_phase():
  found, losses, fresh = run()
  variables = replays.alone(replays.start())
  params = {**variables["params"], "head": fresh["head"], "stem": fresh["stem"]}
  state, wanted = (params, variables["batch_stats"], replays.zeros(params)), []
  x, y = replays.data("val")
  teacher = replays.eval_logits(variables, x)
  for _ in range(2):
    state, more = replays.epoch(
      state, (x, y), imitate, rate=0.05, momentum=0.8, decay=1e-3, extra=teacher
    )
    wanted += more
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state[2])) > 0.01
  state = (*state[:2], replays.zeros(params))
  x, y = replays.data()
  teacher = replays.eval_logits(variables, x)
  for epoch in range(3):
    rate = 0.04 * (1 + np.cos(np.pi * epoch / 3)) / 2
    state, more = replays.epoch(
      state, (x, y), distil, rate=rate, momentum=0.9, decay=5e-4, extra=teacher
    )
    wanted += more
  np.testing.assert_allclose(losses, wanted, rtol=1e-9)
  replays.close(found, {"params": state[0], "batch_stats": state[1]})


def imitate(logits, y, teacher):
  del y
  log_p, log_q = jax.nn.log_softmax(logits / 2), jax.nn.log_softmax(teacher / 2)
  return jnp.mean(jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1))


def distil(logits, y, teacher):
  values = jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y]
  q, log_p = jax.nn.softmax(teacher / 2), jax.nn.log_softmax(logits / 2)
  return jnp.mean(values - jnp.sum(q * log_p, axis=1)) + imitate(logits, y, teacher)
