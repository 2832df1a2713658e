"""Which weights a method moves: gradient transformations that mask or gate (methods.md 0.3)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxmu.models import structure
from jaxmu.training.method import FIXED
from jaxmu.training.phase import Options, Tree


def scale_by_mask(multiplier: Tree) -> optax.GradientTransformation:
  """Multiply gradients leaf by leaf: g <- S * g.

  Stateless, and S is closed over, so under a population S is simply one more array of the member.
  Put it first in a chain to mask the raw gradient (weight decay and momentum still act), last to
  block every movement.

  Args:
    multiplier: tree like the gradients, of arrays or scalars.
  """

  def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
    del params  # optax hands them over
    return jax.tree.map(lambda g, s: g * jnp.asarray(s, g.dtype), updates, multiplier), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def gate_updates(gates: Tree) -> optax.GradientTransformation:
  """Let only the open entries of an update through; put it LAST, after decay and momentum.

  Args:
    gates: tree like the updates, of bool arrays or scalars; what is closed does not move at all.
  """
  let_through = lambda u, gate: jnp.where(gate, u, jnp.zeros((), u.dtype))

  def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
    del params  # optax hands them over
    return jax.tree.map(let_through, updates, gates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def only(moves: Callable[[structure.Leaf], bool]) -> optax.GradientTransformation:
  """Let only the updates of leaves through that `moves` says; put it LAST, as `gate_updates`."""

  def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
    del params  # optax hands them over
    choose = lambda u, chosen: u if chosen else jnp.zeros_like(u)
    return jax.tree.map(choose, updates, structure.mask(updates, moves)), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def has_gradient(leaf: structure.Leaf, options: Options, batch_norm: str) -> bool:
  """Tell whether a leaf gets a gradient from the network.

  Attention biases get none in the reference's eval mode: its TinyViT then reads a cached copy of
  them (methods.md 2.4). Fixed fidelity trains them.
  """
  return leaf.kind != "attn_bias" or options["fidelity"] == FIXED or batch_norm == "train"
