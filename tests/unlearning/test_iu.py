"""IU: its direction, the recursion in scalar and vector form, conjugate gradients (methods.md 4.2).

All in float64. N is 2 instead of 1000 in most tests: the corrections are then as large as the
direction itself, and an error in them shows.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from support import contract, problems

from jaxmu import models
from jaxmu.training import Task, View
from jaxmu.training.losses import cross_entropy
from jaxmu.training.task import Arrays
from jaxmu.unlearning import iu

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

RETAIN, FORGET, BATCH = 22, 10, 8
INDEX = {"retain": np.arange(FORGET, FORGET + RETAIN), "forget": np.arange(FORGET)}
KEY = jax.random.key(0)


class Attention(nn.Module):
  """Pool by a softmax over positions; no statistics, no layer of this package."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.relu(nn.Conv(3, (3, 3), strides=(2, 2), param_dtype=x.dtype)(x))
    x = x.reshape(x.shape[0], -1, 3)
    start = nn.initializers.normal(1.0, x.dtype)
    bias = self.param("attention_biases", start, (1, x.shape[1]))
    x = jnp.sum(x * jax.nn.softmax(bias, axis=1)[..., None], axis=1)
    return nn.Dense(problems.CLASSES, param_dtype=x.dtype)(x)


@pytest.fixture(autouse=True)
def small_n(monkeypatch):
  monkeypatch.setattr(iu, "N", 2.0)


@pytest.fixture(scope="module")
def data():
  x, y = problems.samples()
  return 3 * x.astype(float), y


@pytest.fixture(scope="module")
def start():
  variables = jax.tree.map(lambda leaf: leaf[0], problems.weights([1]))
  stats = {"norm": {"mean": np.full(4, 0.2), "var": np.full(4, 1.5)}}
  params = jax.tree.map(lambda leaf: np.asarray(leaf, float), variables["params"])
  return {"params": params, "batch_stats": stats}


def view_of(data, module=None):
  task = Task(module or problems.TinyNet(), problems.CLASSES)
  return View(task, Arrays(*map(jnp.asarray, data)), jax.tree.map(jnp.asarray, INDEX), {})


def prepare_with(data, fidelity="reference", batch_size=BATCH, module=None):
  """Compile `iu.prepare`: (variables, alpha) -> variables."""
  known = contract.step({"batch_size": batch_size, "fidelity": fidelity}, view_of(data, module))
  return jax.jit(lambda v, alpha: iu.prepare(v, known._replace(key=KEY, hp={"alpha": alpha}))[0])


def per_sample(variables, data, module=None):
  """Return the gradient of every sample's loss, [N, P]."""
  flat, tree = ravel_pytree(variables["params"])

  def loss(flat, x, y):
    logits, _ = models.forward(
      module or problems.TinyNet(), tree(flat), variables["batch_stats"], x[None], train=False
    )
    return cross_entropy(logits, y[None])[0]

  one = jax.grad(loss)
  return np.asarray(jax.jit(lambda x, y: jax.lax.map(lambda s: one(flat, *s), (x, y)))(*data))


@pytest.fixture(scope="module")
def gradients(start, data):
  return per_sample(start, data)


def direction(gradients):
  forget, retain = (gradients[INDEX[name]].mean(0) for name in ("forget", "retain"))
  return FORGET / (FORGET + RETAIN) * (forget - retain)


def vector_recursion(v, g, n):
  """Return w of WoodFisher's recursion over the rows of g, as written in methods.md 4.2."""
  o, w = g[0], v
  for g_k in g[1:]:
    t = o @ g_k
    w = w - (w @ g_k) / (n + t) * o
    o = o - t / (n + t) * o
  return w


def dense_solution(v, g, n):
  return np.linalg.solve(np.eye(len(v)) + g.T @ g / n, v)


def displacement(found, start):
  flat = lambda variables: ravel_pytree(variables["params"])[0]
  return np.asarray(flat(found) - flat(start))


# Reference


@pytest.mark.parametrize("batch_size", [BATCH, 256])
def test_scalar_form_equals_the_vector_recursion(start, data, gradients, batch_size):
  """Batches chunk the work only; alpha scales the displacement; statistics stay."""
  run, v = prepare_with(data, batch_size=batch_size), direction(gradients)
  wanted = vector_recursion(v, gradients[INDEX["retain"]], 2)
  assert np.linalg.norm(wanted - v) > 0.05 * np.linalg.norm(v)
  for alpha in (0.2, 1.0, 7.0):
    found = run(start, alpha)
    np.testing.assert_allclose(displacement(found, start), alpha * wanted, rtol=0, atol=1e-13)
    assert problems.equal(found["batch_stats"], start["batch_stats"])
  assert problems.equal(run(start, 0.0), start)


def test_displacement_lies_in_the_span_of_two_gradients(start, data, gradients):
  w = displacement(prepare_with(data)(start, 1.0), start)
  span = np.stack([direction(gradients), gradients[INDEX["retain"][0]]], axis=1)
  (along_v, along_first), *_ = np.linalg.lstsq(span, w, rcond=None)
  np.testing.assert_allclose(span @ [along_v, along_first], w, rtol=0, atol=1e-13)
  assert along_v == pytest.approx(1, abs=1e-9)
  assert abs(along_first) > 1e-3


def test_curvature_comes_from_the_first_samples_in_stored_order(
  start, data, gradients, monkeypatch
):
  monkeypatch.setattr(iu, "CURVATURE_SAMPLES", 9)
  v, g = direction(gradients), gradients[INDEX["retain"]]
  w = displacement(prepare_with(data)(start, 1.0), start)
  np.testing.assert_allclose(w, vector_recursion(v, g[:9], 2), rtol=0, atol=1e-12)
  assert np.linalg.norm(w - vector_recursion(v, g, 2)) > 1e-3 * np.linalg.norm(w)


def test_constants_are_those_of_the_reference(monkeypatch):
  monkeypatch.undo()
  assert (iu.CURVATURE_SAMPLES, iu.N) == (1002, 1000)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_two_scalars_follow_the_recursion(scale):
  rng = np.random.default_rng(0)
  g, v = scale * rng.normal(size=(300, 20)), rng.normal(size=20)
  c = iu.taken_off(jnp.asarray(g @ g[0]), jnp.asarray(g @ v))
  wanted = vector_recursion(v, g, 2)
  np.testing.assert_allclose(v - c * g[0], wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


def test_denominators_stay_away_from_zero(monkeypatch):
  """With g_1.g_2 = -N the recursion divides by zero; the guard alone keeps it finite."""
  slopes = lambda a: (jnp.array([1.0, a, 0.5]), jnp.array([0.3, 0.2, 0.1]))
  assert np.isfinite(iu.taken_off(*slopes(-2.0)))
  for a in (-2.0 + 2e-3, -2.0 - 2e-3):  # twice the guard: not touched
    c, sigma = 0.2 / (2 + a), 2 / (2 + a)
    c += (0.1 - 0.5 * c) * sigma / (2 + 0.5 * sigma)
    assert iu.taken_off(*slopes(a)) == pytest.approx(c, rel=1e-9)
  monkeypatch.setattr(iu, "SMALLEST", 0.0)
  assert not np.isfinite(iu.taken_off(*slopes(-2.0)))


# Fixed


def test_conjugate_gradients_equal_a_dense_solve(start, data, gradients):
  w = displacement(prepare_with(data, "fixed")(start, 1.0), start)
  v = direction(gradients)
  wanted = dense_solution(v, gradients[INDEX["retain"]], 2)
  np.testing.assert_allclose(w, wanted, rtol=0, atol=1e-10)
  reference = vector_recursion(v, gradients[INDEX["retain"]], 2)
  assert np.linalg.norm(wanted - reference) > 0.05 * np.linalg.norm(v)


def test_conjugate_gradients_stop_at_a_small_residual_or_the_limit(monkeypatch):
  rng = np.random.default_rng(0)
  g, target = rng.normal(size=(30, 50)), rng.normal(size=30)
  matrix, products = 2 * np.eye(30) + g @ g.T, []

  def product(u):
    jax.debug.callback(lambda: products.append(1))
    return matrix @ u

  solve = lambda b: np.asarray(jax.block_until_ready(iu.conjugate_gradients(product, b)))
  found = solve(jnp.asarray(target))
  np.testing.assert_allclose(found, np.linalg.solve(matrix, target), rtol=0, atol=1e-9)
  jax.effects_barrier()
  assert 15 < len(products) < iu.ITERATIONS
  assert not solve(jnp.zeros(30)).any()
  monkeypatch.setattr(iu, "ITERATIONS", 3)
  products.clear()
  solve(jnp.asarray(target))
  jax.effects_barrier()
  assert len(products) == 3


# Networks, populations, costs


@pytest.mark.parametrize("fidelity", ["reference", "fixed"])
def test_a_users_network_is_served_attention_biases_included(data, fidelity):
  module = Attention()
  params = jax.jit(module.init)(KEY, data[0][:1])["params"]
  start = {"params": params, "batch_stats": {}}
  g = per_sample(start, data, module)
  found = prepare_with(data, fidelity, module=module)(start, 1.0)
  rule = vector_recursion if fidelity == "reference" else dense_solution
  wanted = rule(direction(g), g[INDEX["retain"]], 2)
  np.testing.assert_allclose(displacement(found, start), wanted, rtol=0, atol=1e-10)
  assert (found["params"]["attention_biases"] != params["attention_biases"]).all()


def test_members_may_share_a_chunk_in_fixed_fidelity(monkeypatch):
  """Conjugate gradients take as many iterations as each member needs."""
  monkeypatch.undo()
  x, y = problems.samples()
  start = problems.weights([1, 2])
  for leaf in jax.tree.leaves(start["params"]):
    leaf[1] *= 3
  wide = jax.tree.map(lambda leaf: leaf.astype(float), start)
  problem = problems.problem(2, chunk=2, x=10 * x.astype(float), y=y)
  result, _, outcome = problems.run("iu", problem, wide, [1, 2], {"alpha": 1.0}, fidelity="fixed")
  for k in range(2):
    one = jax.tree.map(lambda leaf, k=k: leaf[k], wide)
    sets = {name: positions[0] for name, positions in problems.index().items()}
    g = per_sample(one, (10 * x.astype(float), y))
    forget, retain = g[sets["forget"]].mean(0), g[sets["retain"]].mean(0)
    v = FORGET / (FORGET + RETAIN) * (forget - retain)
    moved = displacement(jax.tree.map(lambda leaf, k=k: leaf[k], result), one)
    np.testing.assert_allclose(moved, dense_solution(v, g[sets["retain"]], 1000), atol=1e-11)
  assert outcome.passes == (3 * (FORGET + RETAIN) + 6 * RETAIN * (1 + iu.ITERATIONS),) * 2


def test_costs_count_gradients_and_directional_derivatives():
  cost = iu.METHOD.prepare_samples
  sizes, level = {"retain": 5000, "forget": 500}, {"fidelity": "reference"}
  assert cost({}, sizes, level) == 3 * 5500 + 3 + 5 * 1002
  assert cost({}, {"retain": 90, "forget": 10}, level) == 3 * 100 + 3 + 5 * 90


def test_the_number_of_epochs_is_accepted_and_dead():
  assert iu.METHOD.hyperparameters({"num_epochs": 7}) == iu.METHOD.defaults
