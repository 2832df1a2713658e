"""CT, convolution transpose: turn every kernel on its side, then fine-tune on the retain set.

Solution 5 of the NeurIPS 2023 unlearning challenge (methods.md 6.5). Where a network treats height
and width alike, f_CT(x) = f(x transposed): the network must relearn the retain set in an
orientation that it has never seen.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmu.errors import MethodError
from jaxmu.models import structure
from jaxmu.training import Step, hyper
from jaxmu.training.method import Method
from jaxmu.training.phase import Options, Tree, Variables
from jaxmu.unlearning.parts.fine_tuning import fine_tune


def prepare(variables: Variables, step: Step) -> tuple[Variables, tuple]:
  """Swap the spatial axes of every convolution kernel; nothing else changes.

  Raises:
    MethodError: for a kernel that is not square.
  """
  turned = transpose_kernels(variables["params"])
  for old, new in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(turned)):
    if old.shape != new.shape:
      raise MethodError(f"ct needs square convolution kernels, got one of shape {old.shape}")
  return {**variables, "params": turned}, ()


def transpose_kernels(params: Tree) -> Tree:
  """Swap the two spatial axes of every convolution kernel [h, w, I, O]; an involution."""
  convolutional = structure.mask(params, lambda leaf: leaf.kind == "conv")
  swap = lambda leaf, conv: jnp.swapaxes(leaf, 0, 1) if conv else leaf
  return jax.tree.map(swap, params, convolutional)


def inert(module: Any, params: Tree, options: Options) -> str:
  """Look for kernels that change when they are transposed."""
  wide = lambda leaf, kernel: leaf.kind == "conv" and kernel.shape[:2] != (1, 1)
  some = any(jax.tree.leaves(structure.map_leaves(wide, params)))
  return "" if some else "convolution wider than a pixel to transpose, and only fine-tunes"


METHOD = Method(
  name="ct",
  label="CT",
  title="Convolution transpose",
  summary="Transpose every convolution kernel spatially, then fine-tune on the retain set.",
  paper="NeurIPS 2023 unlearning challenge, rank 5",
  needs=frozenset({"retain"}),
  hyper=hyper.training(learning_rate=1e-3, batch_size=64, num_epochs=3),
  prepare=prepare,
  phases=fine_tune,
  inert=inert,
)
