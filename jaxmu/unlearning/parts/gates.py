"""Which weights a method moves: gradient transformations that mask or gate (methods.md 0.3)."""

import jax
import jax.numpy as jnp
import optax

from jaxmu.models import structure
from jaxmu.training.method import FIXED


def scale_by_mask(multiplier) -> optax.GradientTransformation:
  """Multiply gradients leaf by leaf: g <- S * g.

  Stateless, and S is closed over, so under a population S is simply one more array of the member.
  Put it first in a chain to mask the raw gradient (weight decay and momentum still act), last to
  block every movement.

  Args:
    multiplier: tree like the gradients, of arrays or scalars.
  """

  def update(updates, state, params=None):
    del params
    return jax.tree.map(lambda g, s: g * jnp.asarray(s, g.dtype), updates, multiplier), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def gate_updates(gates) -> optax.GradientTransformation:
  """Let only the open entries of an update through; put it LAST, after decay and momentum.

  Args:
    gates: tree like the updates, of bool arrays or scalars; what is closed does not move at all.
  """

  def update(updates, state, params=None):
    del params
    return jax.tree.map(
      lambda u, gate: jnp.where(gate, u, jnp.zeros((), u.dtype)), updates, gates
    ), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def moves(leaf: structure.Leaf, hp, batch_norm: str) -> bool:
  """Tell whether a leaf gets a gradient; attention biases get none in the reference's eval mode.

  Its TinyViT then reads a cached copy of them; weight decay does not reach them either
  (methods.md 2.4). Fixed fidelity trains them.
  """
  return leaf.kind != "attn_bias" or hp["fidelity"] == FIXED or batch_norm == "train"


def stem_is_a_layer(module) -> bool:
  """Tell whether the stem is a layer of the network itself, as CFW and KDE require to touch it.

  TinyViT's is a part of its patch embedding, where the reference does not look (methods.md 6.3,
  6.6).
  """
  return type(module).__name__ != "TinyViT"
