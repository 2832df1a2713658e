"""FF: Fisher diagonal, noise variance and noise (methods.md 4.1), in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems

from jaxmu import models
from jaxmu.errors import MethodError
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ff

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

N, BATCH = 22, 8  # batches of 8, 8 and 6
CLASSES = problems.CLASSES
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def start():
  """Return float64 variables of one tiny network with statistics that are not the initial ones."""
  variables = jax.tree.map(lambda leaf: leaf[0], problems.weights([1]))
  stats = {"norm": {"mean": np.full(4, 0.2), "var": np.full(4, 1.5)}}
  params = jax.tree.map(lambda leaf: np.asarray(leaf, float), variables["params"])
  return {"params": params, "batch_stats": stats}


@pytest.fixture(scope="module")
def data():
  x, y = problems.samples()
  return x.astype(float), y


@pytest.fixture(scope="module")
def noise(start):
  rng = np.random.default_rng(3)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), start["params"])


def view_of(data, **draws):
  task = Task(problems.TinyNet(), CLASSES)
  return View(task, Arrays(*map(jnp.asarray, data)), {"retain": jnp.arange(N)}, draws)


def prepare_with(data, fidelity="reference", batch_size=BATCH, **draws):
  """Compile `ff.prepare`: (key, variables, alpha) -> variables."""
  known = contract.step({"batch_size": batch_size, "fidelity": fidelity}, view_of(data, **draws))
  step = lambda key, alpha: known._replace(key=key, hp={"alpha": alpha})
  return jax.jit(lambda key, v, alpha: ff.prepare(v, step(key, alpha))[0])


@pytest.fixture(scope="module")
def prepare(data):
  return prepare_with(data)


@pytest.fixture(scope="module")
def per_sample(start, data):
  """Return the probabilities [N, C] and the gradient for every sample and every possible label."""
  x = jnp.asarray(data[0][:N])

  def logits(params, x):
    return models.forward(problems.TinyNet(), params, start["batch_stats"], x[None], train=False)[0]

  log_p = lambda params, x: jax.nn.log_softmax(logits(params, x)[0])
  p = jax.jit(jax.vmap(lambda x: jnp.exp(log_p(start["params"], x))))(x)
  gradients = jax.jit(lambda x: jax.lax.map(lambda x: jax.jacrev(log_p)(start["params"], x), x))(x)
  return np.asarray(p), jax.tree.map(lambda g: -np.asarray(g), gradients)


def naive_fisher(per_sample, batch_size):
  """Add up batch by batch and class by class."""
  p, gradients = per_sample
  firsts = range(0, N, batch_size)
  total = jax.tree.map(lambda g: np.zeros(g.shape[2:]), gradients)
  for first in firsts:
    rows = slice(first, min(first + batch_size, N))
    for label in range(CLASSES):
      q = p[rows, label].mean()
      square = lambda g, rows=rows, label=label: np.square(g[rows, label].mean(0))
      total = jax.tree.map(lambda t, g, q=q, f=square: t + q * f(g), total, gradients)
  return jax.tree.map(lambda t: t / len(firsts), total)


def naive_variance(phi, alpha):
  """Write the rules 2 to 5 out, leaf by leaf of TinyNet."""
  v = jax.tree.map(lambda phi: np.minimum(1 / (phi + 1e-8), 1e3), phi)
  v["head"] = {name: np.minimum(leaf, 1e2) for name, leaf in v["head"].items()}
  v = jax.tree.map(lambda leaf: alpha * leaf, v)
  for layer, axis in (("stem", 2), ("stage1", 2), ("head", 0)):
    mean = v[layer]["kernel"].mean(axis, keepdims=True)
    v[layer]["kernel"] = np.broadcast_to(mean, v[layer]["kernel"].shape)
  for layer in ("norm", "head"):
    v[layer] = {name: 10 * leaf for name, leaf in v[layer].items()}
  return v


def close(found, wanted, rtol=1e-9, atol=1e-15):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
  jax.tree.map(compare, found, wanted)


@pytest.mark.parametrize(
  ("fidelity", "batch_size", "effective"),
  [("reference", BATCH, BATCH), ("reference", 64, N), ("fixed", 64, 1)],
)
def test_weights_equal_a_loop_over_batches_classes_and_leaves(
  start, data, noise, per_sample, fidelity, batch_size, effective
):
  """The short last batch counts as a batch, with its own size."""
  run = prepare_with(data, fidelity, batch_size, noise=noise)
  for alpha in (1e-4, 0.5):
    spread = naive_variance(naive_fisher(per_sample, effective), alpha)
    wanted = jax.tree.map(lambda p, v, xi: p + np.sqrt(v) * xi, start["params"], spread, noise)
    found = run(KEY, start, alpha)
    close(found["params"], wanted)
    close(found["batch_stats"], start["batch_stats"], rtol=0)


def test_batch_size_and_fidelity_matter(per_sample):
  norms = [np.linalg.norm(naive_fisher(per_sample, b)["stem"]["kernel"]) for b in (1, BATCH, N)]
  assert norms[0] > 1.01 * norms[1] > 1.01 * 1.01 * norms[2]


# Variance


@pytest.fixture(scope="module")
def spread():
  """Return Phi and v / alpha of a tree with every kind of leaf, where some Phi are 0 or huge."""
  shapes = {
    "conv": {"kernel": (3, 3, 5, 6), "bias": (6,)},
    "depthwise": {"kernel": (3, 3, 1, 6)},
    "line": {"kernel": (3, 5, 6)},
    "norm": {"scale": (6,), "bias": (6,)},
    "qkv": {"kernel": (6, 9), "bias": (9,)},
    "attention": {"attention_biases": (2, 7)},
    "embedding": {"positions": (4, 6)},
    "temperature": {"value": ()},
    "head": {"kernel": (9, CLASSES), "bias": (CLASSES,)},
  }
  rng = np.random.default_rng(0)
  draw = lambda shape: np.asarray(10 ** rng.uniform(-9, 9, shape) * rng.integers(0, 2, shape))
  phi = jax.tree.map(draw, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
  return phi, ff.variance(phi, 1.0, CLASSES)


def test_variance_is_constant_along_the_averaged_axis_alone(spread):
  phi, v = spread
  axes = [("conv", "kernel", 2), ("depthwise", "kernel", 2), ("line", "kernel", 1)]
  axes += [("qkv", "kernel", 0), ("head", "kernel", 0)]
  axes += [("attention", "attention_biases", 1), ("embedding", "positions", 1)]
  for layer, name, axis in axes:
    leaf = np.asarray(v[layer][name])
    assert np.ptp(leaf, axis=axis).max() == 0
    assert all(np.ptp(leaf, axis=other).max() > 0 for other in range(leaf.ndim) if other != axis)
    cap, boost = (1e2, 10) if layer == "head" else (1e3, 1)
    wanted = boost * np.minimum(1 / (phi[layer][name] + 1e-8), cap).mean(axis)
    np.testing.assert_allclose(leaf.mean(axis), wanted, rtol=1e-12)


def test_variance_is_bounded_by_the_caps(spread):
  phi, v = spread
  capped = lambda layer, name: np.asarray(v[layer][name])[phi[layer][name] == 0]
  for layer, name, bound in [
    ("norm", "scale", 1e4),
    ("norm", "bias", 1e4),
    ("conv", "bias", 1e4),
    ("qkv", "bias", 1e4),
    ("head", "bias", 1e3),
    ("depthwise", "kernel", 1e3),
    ("temperature", "value", 1e3),
  ]:
    assert (np.asarray(v[layer][name]) <= bound).all()
    assert (capped(layer, name) == bound).all()
  for layer in ("conv", "qkv", "head"):
    assert np.max(v[layer]["kernel"]) <= 1e3
  for a, b in zip(jax.tree.leaves(ff.variance(phi, 1e-3, CLASSES)), jax.tree.leaves(v)):
    np.testing.assert_allclose(a, 1e-3 * b, rtol=1e-12)


# Noise


def test_alpha_zero_leaves_the_model_alone(prepare, start):
  assert problems.equal(prepare(KEY, start, 0.0), start)


def test_noise_has_the_standard_deviation_that_the_variance_says(prepare, start, per_sample):
  spread = naive_variance(naive_fisher(per_sample, BATCH), 1e-3)
  found = [prepare(key, start, 1e-3)["params"] for key in jax.random.split(KEY, 40)]
  drawn = lambda p: jax.tree.map(lambda a, b, v: (a - b) / np.sqrt(v), p, start["params"], spread)
  draws = [drawn(params) for params in found]
  for layer, leaves in draws[0].items():
    for name in leaves:
      xi = np.stack([draw[layer][name] for draw in draws])
      assert abs(xi.mean()) < 4 / np.sqrt(xi.size), (layer, name)
      assert abs(np.square(xi).mean() - 1) < 4 * np.sqrt(2 / xi.size), (layer, name)
      assert len(np.unique(xi)) == xi.size  # no number twice, in any draw or place


def test_noise_of_another_form_is_refused(start, data):
  message = "^ff: noise must be a tree like params, with leaves of the same shapes"
  wrong = {**start["params"], "head": {"bias": np.zeros(CLASSES), "kernel": np.zeros((6, 1))}}
  with pytest.raises(MethodError, match=message):
    prepare_with(data, noise=wrong)(KEY, start, 0.1)


def test_negative_alpha_is_refused_and_large_alpha_is_not():
  with pytest.raises(MethodError, match=r"ff: alpha must be a number at least 0, got -0\.1$"):
    ff.METHOD.hyperparameters({"alpha": -0.1})
  assert ff.METHOD.hyperparameters({"alpha": 3.0})["alpha"] == 3.0


def test_a_pass_costs_one_forward_and_a_backward_per_class():
  with jax.enable_x64(False):
    _, _, outcome = problems.run("ff", problems.problem(1), problems.weights([1]), [1])
  assert outcome.passes == ((1 + 2 * CLASSES) * N,)
