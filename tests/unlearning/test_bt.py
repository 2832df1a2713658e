"""BT: its teachers, its loss, and the whole method against a loop (methods.md 5.1), in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems
from support.relabelling import INDEX, ORDER, alone, close, cut, data, execute, start

from jaxmu import models
from jaxmu.errors import MethodError
from jaxmu.training import Task, View, losses
from jaxmu.training.task import Arrays, Batch
from jaxmu.unlearning import bt, get

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

KEY = jax.random.key(4)
HP = {
  "kl_temperature": 2.5,
  "learning_rate": 0.01,
  "weight_decay": 0.05,
  "batch_size": 6,  # five batches of 6 and one of 2
  "num_epochs": 2,
}
C = problems.CLASSES


def bad_teacher():
  """Return weights of another seed, statistics unlike those of the original."""
  stats = {"norm": {"mean": np.full(4, -0.1), "var": np.full(4, 0.7)}}
  return {"params": alone(problems.weights([9])["params"]), "batch_stats": stats}


def view_of(module, **draws):
  return View(Task(module, C, shuffle=False), Arrays(*map(jnp.asarray, data())), INDEX, draws)


def eval_logits(module, variables, x):
  return models.forward(module, variables["params"], variables["batch_stats"], x, train=False)[0]


@jax.jit
def gradient(params, stats, x, target, temperature):
  """Return (mean over entries of q (log q - log p), moved statistics) and gradient."""

  def loss(params):
    logits, moved = models.forward(problems.TinyNet(), params, stats, x, train=True)
    log_p = logits / temperature
    log_p = log_p - jax.nn.logsumexp(log_p, axis=1, keepdims=True)
    return jnp.mean(target * (jnp.log(target) - log_p)), moved

  return jax.value_and_grad(loss, has_aux=True)(params)


def loop(order):
  """Two epochs of textbook Adam with decay in the gradient, batch by batch."""
  x, _ = data()
  good, temperature = alone(start()), HP["kl_temperature"]
  target = np.zeros((len(x), C))
  for name, teacher in (("retain", good), ("forget", bad_teacher())):
    logits = eval_logits(problems.TinyNet(), teacher, x[INDEX[name]])
    target[INDEX[name]] = np.exp(logits / temperature)
  target /= np.maximum(target.sum(1, keepdims=True), 1e-300)
  visits = np.concatenate([INDEX["retain"], INDEX["forget"]])[order]
  params, stats = good["params"], good["batch_stats"]
  first = second = jax.tree.map(np.zeros_like, params)
  reported = []
  for t, b in enumerate(cut(visits, 6) * 2, 1):
    (value, stats), g = gradient(params, stats, x[b], target[b], temperature)
    reported.append(value)
    g = jax.tree.map(lambda g, p: g + HP["weight_decay"] * p, g, params)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, g)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, g)
    params = jax.tree.map(
      lambda p, m, v, t=t: (
        p - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
      ),
      params, first, second,
    )  # fmt: skip
  return {"params": params, "batch_stats": stats}, np.array(reported)


@pytest.mark.parametrize("given", [{}, {"union_order": ORDER}])
def test_the_whole_method_equals_a_loop(given):
  """Without shuffling and without a given order, retain samples come first."""
  found, values, _, rates = execute("bt", HP, bad_teacher=bad_teacher(), **given)
  wanted, reported = loop(given.get("union_order", np.arange(32)))
  close(found, wanted)
  close(values.reshape(-1), reported)
  np.testing.assert_array_equal(rates, np.full((2, 6), 0.01))


# The loss


def value_of(teachers, logits, temperature=1.0, weight=None, index=None):
  index = jnp.arange(len(logits)) if index is None else index
  batch = Batch(None, jnp.zeros(len(logits), int), weight, None, index)
  known = contract.step(
    {"kl_temperature": temperature}, aux=teachers, forward=lambda *given: (logits, "moved")
  )
  return bt.loss(None, None, batch, known)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_loss_is_the_batch_mean_of_kl_over_c_on_real_samples(temperature):
  teachers, logits = jax.random.normal(KEY, (2, 9, C))
  index, weight = jnp.array([4, 1, 7, 2, 4, 4]), jnp.array([1.0, 1, 1, 1, 0, 0])
  value, report = value_of(teachers, logits[:6], temperature, weight, index)
  q = jax.nn.softmax(teachers[index[:4]] / temperature)
  p = jax.nn.softmax(logits[:4] / temperature)
  batch_mean = jnp.mean(jnp.sum(q * jnp.log(q / p), axis=1))
  assert float(value) == pytest.approx(float(batch_mean) / C, rel=1e-12)
  assert float(report.accuracy) == np.mean(np.argmax(logits[:4], 1) == 0)
  assert report.batch_stats == "moved"


def test_a_student_like_its_teacher_has_loss_and_gradient_zero():
  """Retain samples only, the student in eval mode at the original's weights."""
  variables, (x, _) = alone(start()), data()
  teachers = eval_logits(problems.TinyNet(), variables, x)
  batch = Batch(jnp.asarray(x[:8]), jnp.zeros(8, int), None, None, jnp.arange(8))

  forward = lambda params, stats, x, weight: models.forward(
    problems.TinyNet(), params, stats, x, train=False
  )
  known = contract.step({"kl_temperature": 2.0}, aux=teachers, forward=forward)
  loss = lambda params: bt.loss(params, variables["batch_stats"], batch, known)[0]

  value, slope = jax.value_and_grad(loss)(variables["params"])
  assert abs(value) < 1e-15
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slope)) < 1e-15


# The teachers


def prepared(module, variables, key=KEY, choice="auto", **draws):
  known = contract.step({"batch_size": 6, "bad_teacher": choice}, view_of(module, **draws))
  prepare = lambda variables, key: bt.prepare(variables, known._replace(key=key))
  return jax.jit(prepare)(variables, key)


def test_each_set_has_its_own_teacher_in_eval_mode():
  original, bad = alone(start()), bad_teacher()
  unchanged, table = prepared(problems.TinyNet(), original, bad_teacher=bad)
  assert problems.equal(unchanged, original)
  x, _ = data()
  for name, teacher in (("retain", original), ("forget", bad)):
    close(table[INDEX[name]], eval_logits(problems.TinyNet(), teacher, x[INDEX[name]]))
  seen = np.concatenate([INDEX["retain"], INDEX["forget"]])
  assert np.isnan(np.delete(table, seen, axis=0)).all()


def test_a_fresh_teacher_has_untouched_statistics_and_follows_the_key():
  view = view_of(problems.TinyNet())
  a, again, b = (bt.bad_variables(jax.random.key(s), problems.TinyNet(), view) for s in (1, 1, 2))
  assert problems.equal(a, again)
  assert not problems.equal(a["params"], b["params"])
  assert problems.equal(a["batch_stats"], {"norm": {"mean": np.zeros(4), "var": np.ones(4)}})
  assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(a))


class Own(nn.Module):
  """A user's network with dropout and an inverted mode flag."""

  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.Dropout(0.5)(x.reshape(len(x), -1), deterministic=deterministic)
    norm = nn.BatchNorm(use_running_average=deterministic, param_dtype=x.dtype)
    return nn.Dense(C, param_dtype=x.dtype)(norm(x))


class Flagless(nn.Module):
  """A user's network without modes or statistics."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(C, param_dtype=x.dtype)(x.reshape(len(x), -1))


@pytest.fixture
def promotion_of_flax():
  """Flax's batch normalisation mixes its float32 statistics with float64 images."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.mark.usefixtures("promotion_of_flax")
@pytest.mark.parametrize("module", [Own(), Flagless()])
def test_a_users_network_is_its_own_bad_teacher(module):
  view, (x, _) = view_of(module), data()
  fresh = bt.bad_variables(KEY, bt.bad_module(module, C, "auto"), view)
  assert set(fresh) == {"params", "batch_stats"}
  _, table = prepared(module, bt.bad_variables(jax.random.key(1), module, view))
  close(table[INDEX["forget"]], eval_logits(module, fresh, x[INDEX["forget"]]), rtol=1e-5)


def test_the_references_networks_get_a_resnet18_and_others_their_own(monkeypatch):
  resnet, vit, tiny = *(models.make(n, C) for n in ("resnet18", "tinyvit")), problems.TinyNet()
  assert bt.bad_module(resnet, C, "auto") == bt.bad_module(resnet, C, "same") == resnet
  assert bt.bad_module(vit, C, "auto") == bt.bad_module(vit, C, "resnet18") == resnet
  assert bt.bad_module(vit, C, "same") == vit
  assert bt.bad_module(tiny, C, "auto") == bt.bad_module(tiny, C, "same") == tiny
  assert bt.bad_module(tiny, C, "resnet18") == resnet
  monkeypatch.setattr(problems.TinyNet, "in_the_reference", True, raising=False)
  assert bt.bad_module(tiny, C, "auto") == resnet
  assert bt.bad_module(tiny, C, "same") == tiny


class Wide(nn.Module):
  """Stands for a bad teacher of another architecture."""

  @nn.compact
  def __call__(self, x, train=False):
    hidden = nn.Dense(7, param_dtype=x.dtype)(x.reshape(len(x), -1))
    return nn.Dense(C, param_dtype=x.dtype)(nn.tanh(hidden))


def test_the_bad_teacher_may_have_another_architecture(monkeypatch):
  monkeypatch.setattr(models, "make", lambda name, classes: Wide())
  bad = bt.bad_variables(KEY, Wide(), view_of(Wide()))
  _, table = prepared(problems.TinyNet(), alone(start()), choice="resnet18", bad_teacher=bad)
  x, _ = data()
  close(table[INDEX["forget"]], eval_logits(Wide(), bad, x[INDEX["forget"]]), rtol=1e-5)


# The table's row


def test_a_bad_teacher_of_the_wrong_form_is_refused():
  message = "^bt: bad_teacher must be .* of a TinyNet, with leaves of the same shapes$"
  short = bad_teacher()
  short["params"]["head"]["bias"] = np.zeros(C + 1)
  for wrong in (short, {"params": bad_teacher()["params"]}, np.zeros(3)):
    with pytest.raises(MethodError, match=message):
      bt.bad_variables(KEY, problems.TinyNet(), view_of(problems.TinyNet(), bad_teacher=wrong))


def test_hyper_parameters_are_checked():
  method = get("bt")
  assert method.hyperparameters({"optimizer": {"momentum": 0.9}}) == method.hyperparameters({})
  with pytest.raises(
    MethodError, match=r"bt: kl_temperature must be a number at least 1e-06, got 0\.0"
  ):
    method.hyperparameters({"kl_temperature": 0.0})
  with pytest.raises(MethodError, match="bad_teacher must be one of auto, resnet18, same, got"):
    method.hyperparameters({"bad_teacher": "vit"})
  assert method.prepare_samples({}, {"retain": 90, "forget": 10}, {}) == 100
  assert method.hyper["kl_temperature"].amended.low == 0.1


def test_the_smallest_temperature_stays_finite():
  teachers, logits = jax.random.normal(KEY, (2, 5, C), jnp.float32)
  slope = jax.grad(lambda logits: value_of(teachers, logits, 1e-6)[0])(logits)
  assert np.isfinite(slope).all()
  assert losses.divergence(teachers, teachers, 1e-6).max() == 0
