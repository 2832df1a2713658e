"""The one place that knows how a network is called."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxmu.errors import ModelError, short
from jaxmu.models import structure
from jaxmu.models.norm import BatchNorm
from jaxmu.models.structure import PyTree
from jaxmu.models.traits import has_linen_layers

TRAIN_FLAGS = ("train", "training", "is_training")
EVAL_FLAGS = ("deterministic", "use_running_average", "eval_mode")
LayerFlag = Callable[[tuple[str, ...]], Array]


def forward(
  module: nn.Module,
  params: PyTree,
  batch_stats: PyTree,
  x: Array,
  *,
  train: bool | LayerFlag,
  mask: Array | None = None,
  key: Array | None = None,
) -> tuple[Array, dict]:
  """Apply `module` to x [B, H, W, C] and return (logits [B, classes], batch_stats).

  Works for this package's networks and for any linen module whose mode flag is called `train`,
  `training`, `is_training` or, inverted, `deterministic`, `use_running_average`, `eval_mode`, with
  or without batch statistics. `mask` [B] is 1 for the real samples of a padded batch; `key` feeds
  dropout. Batch statistics come back unchanged when `train` is false. Raises ModelError when
  images, variables or logits do not fit.

  `train` may be a function of a module path that says, as a traced bool, which BatchNorm layers run
  in train mode; all else (dropout) then runs in eval mode.
  """
  if callable(train):
    if not has_linen_layers(module):
      raise ModelError(
        f"{type(module).__name__} is an nnx module, whose layers all run in one mode; expected a "
        "linen network here, or fidelity='reference'"
      )
    with nn.intercept_methods(_layer_by_layer(train, mask)):
      return _apply(module, params, batch_stats, x, False, mask, key, bool(batch_stats))
  return _apply(module, params, batch_stats, x, train, mask, key, train and bool(batch_stats))


def _apply(module, params, batch_stats, x, train, mask, key, moves):
  """Call the module; `moves` says whether statistics may change."""
  name = type(module).__name__
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ModelError(f"{name} needs float, normalised images; got dtype {x.dtype}")
  options = _options(module, train, mask, bool(batch_stats))
  variables = {"params": params, **({"batch_stats": batch_stats} if batch_stats else {})}
  mutable = ["batch_stats"] if moves else False
  rngs = None if key is None else {"dropout": key}
  try:
    out = module.apply(variables, x, mutable=mutable, rngs=rngs, **options)
  except flax.errors.InvalidRngError as error:
    raise ModelError(f"{name} {_missing_stream(error, train)}") from error
  except (flax.errors.FlaxError, TypeError) as error:
    reason = _misfit(params, x) or _misfit_of_leaves(str(error)) or short(str(error))
    raise ModelError(f"{name} does not accept images of shape {x.shape}: {reason}") from error
  logits, updates = out if mutable else (out, {})
  if getattr(logits, "shape", None) in ((x.shape[0],), (x.shape[0], 1)):
    raise ModelError(
      f"{name} has a binary head, one logit per sample; expected a logit for each of at least 2 "
      "classes: the two logits [0, z] in place of z mean the same"
    )
  if not isinstance(logits, jax.Array) or logits.ndim != 2 or logits.shape[0] != x.shape[0]:
    got = getattr(logits, "shape", type(logits).__name__)
    raise ModelError(f"{name} must return logits of shape ({x.shape[0]}, classes), got {got}")
  if not jnp.issubdtype(logits.dtype, jnp.floating):
    raise ModelError(f"{name} must return logits that are float, got {logits.dtype}")
  return logits, updates.get("batch_stats", batch_stats)


def _layer_by_layer(train, mask):
  """Intercept BatchNorm layers: compute both modes, take the one that `train(path)` asks for.

  Both are applied to a clone of the layer: a clone has the layer's own numerics, and forgets a mode
  that was given to its constructor (flax refuses to be told twice).
  """

  def intercept(call, args, kwargs, context):
    layer = context.module
    ours = isinstance(layer, BatchNorm)
    is_call = context.method_name == "__call__" and isinstance(layer, (nn.BatchNorm, BatchNorm))
    if not is_call or not layer.path:  # only the clone has the path of a root
      return call(*args, **kwargs)
    given = inspect.signature(type(layer).__call__).bind(layer, *args, **kwargs).arguments
    x, own_mask, variables = given["x"], given.get("mask"), layer.variables
    if mask is not None and not ours:
      own_mask = mask.astype(bool).reshape(-1, *[1] * (x.ndim - 1))
    clone = layer.clone(parent=None, **({} if ours else {"use_running_average": None}))
    mode = lambda on: {"train": on} if ours else {"use_running_average": not on}
    frozen = clone.apply(variables, x, mask=own_mask, **mode(False))
    out, moved = clone.apply(variables, x, mask=own_mask, **mode(True), mutable=["batch_stats"])
    flag = train(layer.path)
    for name, before in variables["batch_stats"].items():
      layer.put_variable("batch_stats", name, jnp.where(flag, moved["batch_stats"][name], before))
    return jnp.where(flag, out, frozen)

  return intercept


def takes_mask(module: nn.Module) -> bool:
  """Tell whether padded batches are exact in train mode: the call has an argument `mask`."""
  return "mask" in inspect.signature(type(module).__call__).parameters


def mode_flags(module: nn.Module, train: bool) -> dict[str, Any]:
  """Translate `train` into the keyword arguments that the module's call takes."""
  if "__call__" not in dir(type(module)):  # the class itself can be called, and hides that
    raise ModelError(f"{type(module).__name__} cannot be called: it has no method __call__")
  known = inspect.signature(type(module).__call__).parameters
  flags = {flag: train for flag in TRAIN_FLAGS if flag in known}
  return flags | {flag: not train for flag in EVAL_FLAGS if flag in known}


def _options(module, train, mask, has_statistics):
  """Translate `train` and `mask` into the keyword arguments that the module's call takes."""
  name = type(module).__name__
  known = inspect.signature(type(module).__call__).parameters
  options = mode_flags(module, train)
  if has_statistics and not options:
    flags = ", ".join(TRAIN_FLAGS + EVAL_FLAGS)
    raise ModelError(f"{name} has batch statistics, so its __call__ needs a mode flag: {flags}")
  if mask is not None and "mask" in known:
    options["mask"] = mask
  elif mask is not None and train and has_statistics:
    raise ModelError(
      f"{name} has batch statistics but its __call__ takes no `mask` [B], "
      "so a padded batch cannot be exact; use batches of real samples only"
    )
  return options


def _missing_stream(error, train):
  """Say in plain words which random numbers a network asks for and does not get."""
  found = re.search(r'PRNG for "(\w+)"', str(error))
  stream = found[1] if found else "unknown"
  if stream != "dropout":
    return (
      f"draws from the random stream '{stream}', which nothing feeds; the one that is fed in train "
      "mode is 'dropout': use make_rng('dropout')"
    )
  if train:
    return "draws random numbers in train mode (dropout, drop path): give a key"
  return (
    "draws random numbers (stream 'dropout') in eval mode, where predictions must be repeatable"
  )


def _misfit_of_leaves(told):
  """Say in plain words which leaf flax misses, or finds in another shape."""
  found = re.search(r'parameter "(.+?)" in "/(.*?)".* shape (\(.*?\)).* has shape (\(.*?\))', told)
  if found:
    name, place, wanted, given = found.groups()
    return f"params/{place}/{name} has shape {given}, expected {wanted}"
  found = re.search(r'access "(.+?)" from collection "batch_stats" in "/(.*?)" but', told)
  return f"the variables lack batch_stats/{found[2]}/{found[1]}" if found else ""


def _misfit(params, x):
  """Say in plain words why images do not fit, if the number of axes or channels is the reason."""
  stem = structure.stem_kernel(params)
  if stem is None:
    return ""
  if x.ndim != 4:
    return f"images must be [batch, height, width, {stem.shape[2]}]"
  if x.shape[1] == stem.shape[2] != x.shape[3]:
    return f"channels come last here, as in [batch, height, width, {stem.shape[2]}]"
  if x.shape[3] != stem.shape[2]:
    return f"its first convolution reads {stem.shape[2]} channels, the images have {x.shape[3]}"
  return ""
