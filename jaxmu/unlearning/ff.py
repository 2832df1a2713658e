"""FF, Fisher forgetting: noise on every weight, the more the less the retain set depends on it.

Golatkar et al. 2020, as ported by the sparse-unlearning code base (methods.md 4.1).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.data.streams import Samples
from jaxmu.models import structure
from jaxmu.training import Step, View, hyper
from jaxmu.training.hyper import Distribution
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.unlearning.parts import draws

EPSILON = 1e-8  # keeps 1 / Phi finite
CAP, HEAD_CAP = 1e3, 1e2  # largest variance before alpha and the boost
BOOST = 10.0  # of the head's and of one-dimensional leaves' variance


def prepare(variables: Variables, step: Step) -> tuple[Variables, tuple]:
  """theta <- theta + sqrt(v) xi, xi ~ N(0, I); BatchNorm statistics stay."""
  params, options, view = variables["params"], step.options, step.view
  fixed = options["fidelity"] == FIXED
  batch_size = 1 if fixed else min(options["batch_size"], view.size("retain"))
  phi = fisher(params, variables["batch_stats"], view, batch_size)
  spread = variance(phi, step.hp["alpha"], options["num_classes"])
  noise = draws.given(view, "ff", "noise", params)
  if noise is None:
    noise = draws.unit_normals(step.key, params, jax.tree.map(lambda _: True, params))
  add = lambda p, v, xi: p + (jnp.sqrt(v) * xi).astype(p.dtype)
  return {**variables, "params": jax.tree.map(add, params, spread, noise)}, ()


def fisher(params: Tree, batch_stats: Tree, view: View, batch_size: int) -> Tree:
  """Return the Fisher diagonal Phi of the retain set, a tree like params.

  Phi = mean over batches of sum_y q_y g_y^2, with q_y the mean probability of class y in the batch
  and g_y the gradient of the batch's mean cross-entropy if every label were y. Batches of one
  sample give the Fisher information of the model's own distribution.
  """

  def take(total: Tree, samples: Samples) -> tuple[Tree, None]:
    batch = view.fetch(samples)
    network = lambda params: view.task.forward(params, batch_stats, batch.x, train=False)[0]
    logits, pull = jax.vjp(network, params)
    p = jax.nn.softmax(logits)
    share = (batch.weight / jnp.sum(batch.weight)).astype(p.dtype)  # 1/|b|, padding 0

    def add_class(total: Tree, class_: tuple[Array, Array]) -> tuple[Tree, None]:
      q, onehot = class_
      (g,) = pull((p - onehot[None]) * share[:, None])
      return jax.tree.map(lambda t, g: t + q * jnp.square(g), total, g), None

    # One pullback after the other: C gradients at once would be C times the weights in memory.
    classes = (share @ p, jnp.eye(p.shape[1], dtype=p.dtype))
    return lax.scan(add_class, total, classes)[0], None

  def add_batch(total: Tree, samples: Samples) -> tuple[Tree, None]:
    if not view.ragged:
      return take(total, samples)
    any_real = jnp.any(jnp.asarray(samples.weight) > 0)
    return lax.cond(any_real, take, lambda total, _: (total, None), total, samples)

  count = view.count("retain")
  order = view.positions(view.index["retain"], batch_size, pad=True, count=count).full
  total, _ = lax.scan(add_batch, jax.tree.map(jnp.zeros_like, params), order)
  if not view.ragged:
    return jax.tree.map(lambda t: t / order.index.shape[0], total)
  share = 1 / view.steps("retain", batch_size)  # no quotient of arrays, see `losses.divergence`
  return jax.tree.map(lambda t: t * share.astype(t.dtype), total)


def variance(phi: Tree, alpha: Array | float, num_classes: int) -> Tree:
  """Return the noise's variance v per weight: alpha / Phi, capped, and averaged along one axis."""

  def of_leaf(leaf: structure.Leaf, phi: Array) -> Array:
    v = alpha * jnp.minimum(1 / (phi + EPSILON), HEAD_CAP if leaf.head else CAP)
    if v.ndim >= 2:
      mean = jnp.mean(v, axis=_averaged_axis(leaf, v.ndim), keepdims=True)
      v = jnp.broadcast_to(mean, v.shape)
    return BOOST * v if leaf.head or v.ndim == 1 else v

  return structure.map_leaves(of_leaf, phi, num_classes=num_classes)


def _averaged_axis(leaf: structure.Leaf, ndim: int) -> int:
  """Return the counterpart of PyTorch's axis 1: a kernel's inputs, the offsets of a bias table.

  A `kernel` of any number of axes ends in (inputs, outputs); other arrays keep PyTorch's order.
  """
  return ndim - 2 if leaf.path[-1] == "kernel" else 1


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count a forward pass and C backward passes of the retain set."""
  return (1 + 2 * options["num_classes"]) * sizes["retain"]


METHOD = Method(
  name="ff",
  label="FF",
  title="Fisher forgetting",
  summary="Add noise to every weight, with a variance inversely proportional to the retain set's "
  "Fisher information.",
  paper="Golatkar et al., Eternal Sunshine of the Spotless Net, CVPR 2020",
  needs=frozenset({"retain"}),
  hyper={
    "alpha": hyper.strength(1e-6, amended=Distribution("log_uniform", 1e-10, 1e-2)),
    "batch_size": hyper.batch(64),
  },
  prepare=prepare,
  phases=lambda options: (),
  prepare_samples=work,
  fidelities=(REFERENCE, FIXED),
  oddities="Squares the gradient of the batch mean, so the noise grows with the batch size "
  "(reference, our default); 'fixed' squares each sample's gradient, at many times the run time. "
  "The reference's default alpha, 0.2, and its range, up to 1, add so much noise that nothing is "
  "left of the model; values in use lie between 1e-7 and 3e-6, and the amended range ends at 0.01.",
  draws={"noise": "tree like params of unit normal values"},
)
