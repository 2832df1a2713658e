"""EU-k, exact unlearning of the last k blocks: re-initialise them and the head, then retrain them.

As CF-k (methods.md 3.2), but the trainable part forgets everything first, sees augmented images,
and is anchored to its new random weights.
"""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxmu.models import structure
from jaxmu.models.initialisers import glorot_uniform, he_uniform_out
from jaxmu.training import Phase, Step
from jaxmu.training.method import FIXED, REFERENCE, Method
from jaxmu.training.phase import Array, Options, Tree, Variables
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.last_blocks import (
  HYPER,
  Anchored,
  anchored,
  anchored_fine_tuning,
  first_block,
  inert,
  last_blocks,
)

INITIALISERS = {"conv": he_uniform_out, "linear_w": glorot_uniform}


def prepare(variables: Variables, step: Step) -> tuple[Variables, Anchored]:
  """Re-initialise the last k blocks and the head, and anchor the result; statistics stay."""
  params, classes = variables["params"], step.options["num_classes"]
  fresh = draws.given(step.view, "euk", "fresh", params)
  if fresh is None:
    fresh = _fresh(step.key, params)
  batch_norms = {path[:-1] for path in flax.traverse_util.flatten_dict(variables["batch_stats"])}
  renew = lambda leaf, old, new, gate: jnp.where(gate, _reset(leaf, old, new, batch_norms), old)
  inside = last_blocks(params, step.hp, classes)
  params = structure.map_leaves(renew, params, fresh, inside, num_classes=classes)
  return {**variables, "params": params}, anchored(params, step, "eval")


def _fresh(key: Array, params: Tree) -> Tree:
  """Draw new values for the kernels of all convolutions and linear layers."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.tree.unflatten(tree, list(jax.random.split(key, len(leaves))))

  def draw(leaf: structure.Leaf, old: Array, key: Array) -> Array:
    initialise = INITIALISERS.get(leaf.kind)
    return initialise(key, old.shape, old.dtype) if initialise else old

  return structure.map_leaves(draw, params, keys)


def _reset(leaf: structure.Leaf, old: Array, new: Array, batch_norms: set) -> Array:
  """Return a leaf's `euk_reset` value (methods.md 0.7).

  LayerNorms and attention biases stay; biases of linear layers, and of convolutions, become 0.
  """
  if leaf.kind in INITIALISERS:
    return new.astype(old.dtype)
  if leaf.path[:-1] in batch_norms:
    return jnp.ones_like(old) if leaf.path[-1] == "scale" else jnp.zeros_like(old)
  return jnp.zeros_like(old) if leaf.path[-1] == "bias" and leaf.kind != "norm" else old


def train_mode_inside(params: Tree, step: Step) -> Callable[[tuple[str, ...]], Any]:
  """Fixed fidelity: BatchNorm of re-initialised blocks in train mode, all others in eval mode.

  Statistics of the old weights would normalise the new ones wrongly for the whole run.
  """
  first = first_block(params, step.hp)
  return lambda path: (structure.block_id(path) or 0) >= first


def phases(options: Options) -> tuple[Phase, ...]:
  """Fine-tune as CF-k does, on augmented images."""
  batch_norm = "eval" if options["fidelity"] == REFERENCE else train_mode_inside
  return anchored_fine_tuning(options, batch_norm, augment=True)


METHOD = Method(
  name="euk",
  label="EU-k",
  title="Exact unlearning of the last k blocks",
  summary="Re-initialise the last k blocks and the head, and train only them on augmented retain.",
  paper="Goel et al. 2022, arXiv 2201.06640",
  needs=frozenset({"retain"}),
  hyper=HYPER,
  prepare=prepare,
  phases=phases,
  fidelity=FIXED,
  inert=inert,
  fidelities=(REFERENCE, FIXED),
  oddities="The reference keeps eval-mode BatchNorm, so re-initialised blocks are normalised with "
  "the old weights' statistics; our default runs BatchNorm inside them in train mode, and trains "
  "attention biases. The anchor is the random initialisation. A network without block names "
  "retrains its head alone.",
  draws={
    "fresh": "tree like params; its convolution and linear kernels replace the drawn ones of the "
    "re-initialised part",
  },
)
