"""Random draws that several methods share, and their replacement by values that a caller gives."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmu.errors import MethodError
from jaxmu.models import structure
from jaxmu.models.initialisers import default_reset, fans, unit_normal
from jaxmu.training import View


def given(view: View, method: str, name: str, like: Any) -> Any | None:
  """Return the caller's replacement of a draw in the dtypes of `like`, or None if there is none.

  Args:
    like: the array, or tree of arrays, that has the draw's form.

  Raises:
    MethodError: for another form.
  """
  values = view.draws.get(name)
  if values is None:
    return None
  shapes = jax.tree.map(jnp.shape, values)
  if shapes != jax.tree.map(jnp.shape, like):
    if hasattr(like, "shape"):
      raise MethodError(f"{method}: {name} must have shape {like.shape}, got {shapes}")
    raise MethodError(
      f"{method}: {name} must be a tree like params, with leaves of the same shapes"
    )
  return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), values, like)


def renew(key: jax.Array, view: View, method: str, params: Any, chosen: Any) -> Any:
  """Reset the chosen leaves of params to the draw "fresh": the caller's, or `default_resets`."""
  fresh = given(view, method, "fresh", params)
  if fresh is None:
    return default_resets(key, params, chosen)
  return jax.tree.map(lambda new, old, reset: new if reset else old, fresh, params, chosen)


def default_resets(key: jax.Array, params: Any, chosen: Any) -> Any:
  """Return params with the chosen leaves drawn anew from U[+-1/sqrt(fan_in)] (methods.md 0.7).

  Args:
    chosen: tree like params of Python bools, True only for convolutions and linear layers. A bias
      takes the bound of its layer's kernel.
  """
  described = structure.describe(params)
  kernels = {
    leaf.path[:-1]: p.shape
    for leaf, p in zip(jax.tree.leaves(described), jax.tree.leaves(params))
    if leaf.path[-1] == "kernel"
  }

  def draw(leaf: structure.Leaf, old: jax.Array, key: jax.Array, reset: bool) -> jax.Array:
    if not reset:
      return old
    return default_reset(key, old.shape, old.dtype, fans(kernels[leaf.path[:-1]])[0])

  return jax.tree.map(draw, described, params, _keys(key, params), chosen)


def unit_normals(key: jax.Array, params: Any, chosen: Any) -> Any:
  """Draw N(0, 1) for every entry of the chosen leaves; 0 for the others."""
  draw = lambda old, key, noisy: (
    unit_normal(key, old.shape, old.dtype) if noisy else jnp.zeros((), old.dtype)
  )
  return jax.tree.map(draw, params, _keys(key, params), chosen)


def _keys(key: jax.Array, tree: Any) -> Any:
  leaves, form = jax.tree.flatten(tree)
  return jax.tree.unflatten(form, list(jax.random.split(key, len(leaves))))
