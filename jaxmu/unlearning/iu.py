"""IU, influence unlearning: one Newton-like step that takes the forget set's influence back.

Influence functions (Koh & Liang 2017; Izzo et al. 2021) with the inverse Hessian of WoodFisher
(Singh & Alistarh 2020), as ported by the sparse-unlearning code base (methods.md 4.2).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu import models
from jaxmu.data.streams import Samples
from jaxmu.training import Step, View, hyper
from jaxmu.training.hyper import Distribution
from jaxmu.training.losses import cross_entropy
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.unlearning.parts.gradient_sums import signed_gradients

CURVATURE_SAMPLES = 1002  # K, or the whole retain set where that is smaller
N = 1000  # weight of the identity in N I + sum_k g_k g_k^T
SMALLEST = 1e-6 * N  # guard of the recursion's denominators
ITERATIONS = 50  # of conjugate gradients, at most


def prepare(variables: Variables, step: Step) -> tuple[Variables, tuple]:
  """theta <- theta + alpha w, with w = H^-1 v; BatchNorm statistics stay."""
  params, batch_stats = variables["params"], variables["batch_stats"]
  inverse = solved if step.options["fidelity"] == FIXED else woodfisher
  v = uphill(params, batch_stats, step.view, step.options["batch_size"])
  w = inverse(v, Curvature(params, batch_stats, step.view, step.options["batch_size"]))
  move = lambda p, w: p + (step.hp["alpha"] * w).astype(p.dtype)
  return {**variables, "params": jax.tree.map(move, params, w)}, ()


def uphill(params: Tree, batch_stats: Tree, view: View, batch_size: int) -> Tree:
  """Return v = (n_f/n) (gbar_f - gbar_r), gbar the gradient of a set's mean cross-entropy."""
  batch_size = min(batch_size, max(view.size("forget"), view.size("retain")))
  forget, retain = (
    view.positions(view.index[name], batch_size, pad=True, count=view.count(name))
    for name in ("forget", "retain")
  )
  # A batch's mean gradient counts by its real samples, which gives exact means over the sets.
  number = lambda order: jnp.sum(order.full.weight, axis=1)
  if view.ragged:  # products, for quotients see `losses.divergence`
    n_forget, n_retain = (view.count(name).astype(float) for name in ("forget", "retain"))
    share = 1 / (n_forget + n_retain)
    of_forget, of_retain = number(forget) * share, number(retain) * (-n_forget / n_retain * share)
  else:
    n_forget, n_retain = view.size("forget"), view.size("retain")
    n = n_forget + n_retain
    of_forget, of_retain = number(forget) / n, -n_forget / n_retain / n * number(retain)
  orders = [(of_forget, forget), (of_retain, retain)]
  return signed_gradients(view, params, batch_stats, orders, train=False)[0]


class Curvature:
  """The gradients g_k [K, P] of the first K retain samples' losses, as products with vectors.

  Those of padding, where a member has fewer samples than K, are 0.
  """

  def __init__(self, params: Tree, batch_stats: Tree, view: View, batch_size: int):
    self.params, self.batch_stats, self.view = params, batch_stats, view
    self.index = view.index["retain"][:CURVATURE_SAMPLES]
    self.size = self.index.shape[0]
    batch_size = min(batch_size, self.size)
    self.real = view.real("retain")[: self.size] if view.ragged else None
    count = None if self.real is None else jnp.sum(self.real)
    self.samples = view.positions(self.index, batch_size, pad=True, count=count).full

  def first(self) -> Tree:
    """Return g_1, a tree like params."""
    samples = self.view.positions(self.index[:1], 1).full
    first = jax.tree.map(lambda leaf: leaf[0], samples)
    return jax.grad(lambda params: self._losses(params, first)[0])(self.params)

  def slopes(self, *directions: Tree) -> list[Array]:
    """Return the derivatives g_k . u along trees u like params, one [K] per direction."""

    def step(_: None, samples: Samples) -> tuple[None, list[Array]]:
      with models.forward_mode():
        _, push = jax.linearize(lambda params: self._losses(params, samples), self.params)
      return None, [push(u) for u in directions]

    slopes = lax.scan(step, None, self.samples)[1]
    slopes = [slope.reshape(-1)[: self.size] for slope in slopes]
    return slopes if self.real is None else [jnp.where(self.real, s, 0) for s in slopes]

  def combine(self, weights: Array) -> Tree:
    """Return sum_k weights_k g_k, a tree like params."""
    padded = jnp.zeros(self.samples.index.size, weights.dtype).at[: self.size].set(weights)

    def step(total: Tree, batch: tuple[Samples, Array]) -> tuple[Tree, None]:
      samples, weights = batch
      value = lambda params: jnp.vdot(self._losses(params, samples), weights)
      return jax.tree.map(jnp.add, total, jax.grad(value)(self.params)), None

    batches = (self.samples, padded.reshape(self.samples.index.shape))
    return lax.scan(step, jax.tree.map(jnp.zeros_like, self.params), batches)[0]

  def _losses(self, params: Tree, samples: Samples) -> Array:
    """Return every sample's cross-entropy in eval mode, [B]."""
    batch = self.view.fetch(samples)
    logits = self.view.task.forward(params, self.batch_stats, batch.x, train=False)[0]
    return cross_entropy(logits, batch.y)


def woodfisher(v: Tree, curvature: Curvature) -> Tree:
  """Return w of the reference's recursion; it starts at g_1, so all that it takes off lies there.

  For k = 2 ... K:  w <- w - (w.g_k / (N + o.g_k)) o,  o <- o - (o.g_k / (N + o.g_k)) o. As o only
  shrinks, o = sigma g_1 and w = v - c g_1 throughout, and two scalars are all there is to follow.
  """
  first = curvature.first()
  along_first, along_v = curvature.slopes(first, v)
  c = taken_off(along_first, along_v)
  return jax.tree.map(lambda v, g: v - c * g, v, first)


def taken_off(along_first: Array, along_v: Array) -> Array:
  """Return c from g_1.g_k and v.g_k, both [K]."""

  def step(carry: Any, slopes: Any) -> Any:
    (c, sigma), (a, b) = carry, slopes
    total = _away_from_zero(N + sigma * a)
    return (c + (b - c * a) * sigma / total, sigma * N / total), None

  start = jnp.zeros((), along_v.dtype), jnp.ones((), along_v.dtype)
  return lax.scan(step, start, (along_first[1:], along_v[1:]))[0][0]


def _away_from_zero(x: Array) -> Array:
  return jnp.where(jnp.abs(x) < SMALLEST, jnp.copysign(SMALLEST, x), x)


def solved(v: Tree, curvature: Curvature) -> Tree:
  """Return w that solves (I + G^T G / N) w = v, the equation behind the recursion; G is [K, P].

  By the Woodbury identity w = v - G^T (N I + G G^T)^-1 G v, a system of K unknowns.
  """
  dual = lambda u: N * u + curvature.slopes(curvature.combine(u))[0]
  correction = curvature.combine(conjugate_gradients(dual, curvature.slopes(v)[0]))
  return jax.tree.map(jnp.subtract, v, correction)


def conjugate_gradients(product: Callable[[Array], Array], target: Array) -> Array:
  """Solve A x = target [K] for a symmetric positive definite A given by its products with vectors.

  Stops where the residual is round-off of the target, or after ITERATIONS.
  """
  tolerance = jnp.finfo(target.dtype).eps ** 0.75
  enough = jnp.square(tolerance) * jnp.vdot(target, target)

  def unfinished(state: tuple[Any, ...]) -> Array:
    *_, squared, i = state
    return (squared > enough) & (i < ITERATIONS)

  def body(state: tuple[Any, ...]) -> tuple[Any, ...]:
    x, residual, direction, squared, i = state
    image = product(direction)
    length = squared / jnp.vdot(direction, image)
    x, residual = x + length * direction, residual - length * image
    new = jnp.vdot(residual, residual)
    return x, residual, residual + new / squared * direction, new, i + 1

  start = (jnp.zeros_like(target), target, target, jnp.vdot(target, target), 0)
  return lax.while_loop(unfinished, body, start)[0]


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count sample-passes; a derivative along a direction costs 2, as a backward pass does."""
  k = min(CURVATURE_SAMPLES, sizes["retain"])
  gradients = 3 * (sizes["forget"] + sizes["retain"])
  if options["fidelity"] == FIXED:  # at most: products with G and its transpose
    return gradients + 6 * k * (1 + ITERATIONS)
  return gradients + 3 + (1 + 2 * 2) * k


METHOD = Method(
  name="iu",
  label="IU",
  title="Influence unlearning",
  summary="One step along the difference of forget and retain gradients, times an estimate of the "
  "inverse Hessian.",
  paper="Koh and Liang, ICML 2017; Izzo et al., AISTATS 2021; Singh and Alistarh, NeurIPS 2020",
  needs=frozenset({"retain", "forget"}),
  hyper={
    "alpha": hyper.strength(0.2, amended=Distribution("log_uniform", 1e-2, 1e2)),
    "batch_size": hyper.batch(256, search=None),
    "num_epochs": hyper.DEAD,
  },
  prepare=prepare,
  phases=lambda options: (),
  prepare_samples=work,
  fidelities=(REFERENCE, FIXED),
  oddities="The reference's recursion for the inverse Hessian collapses to a correction along one "
  "retain sample's gradient (our default, in its exact scalar form); 'fixed' solves the equation "
  "meant by conjugate gradients. The batch size has no influence on the result.",
)
