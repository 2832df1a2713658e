"""From samples as a caller stores them to what the network takes."""

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.data.augment import Preprocess, preprocess
from jaxmu.errors import DataError, short, shown

SMALLEST = 1e-6  # of a standard deviation of pixels in [0, 1]


@dataclasses.dataclass(frozen=True)
class Preparation:
  """What is done to a batch of stored samples, inside the compiled step: they stay as they are.

  Attributes:
    function: of the caller's, from a batch [B, ...] to the network's input, a float [B, ...].
    mean, std: of uint8 images scaled to [0, 1], a number for each channel or one for all.

  Raises:
    DataError: both are given, a part is missing, or the function cannot be looked up by.
  """

  function: Any = None
  mean: Any = None
  std: Any = None

  def __post_init__(self) -> None:
    given = (self.mean is not None) + (self.std is not None)
    if given == 1:
      missing, present = ("mean", "std") if self.mean is None else ("std", "mean")
      raise DataError(f"{present}= was given without {missing}=; expected both, or none")
    if self.function is None:
      return
    if given:
      raise DataError("preprocess= was given with mean= and std=; expected one or the other")
    if not callable(self.function) or not isinstance(self.function, Hashable):
      raise DataError(
        f"preprocess must be a function of a batch that can be hashed, got {shown(self.function)}"
      )

  @property
  def stored(self) -> str:
    """How samples are stored, in the words of `samples.check_images`."""
    if self.mean is not None:
      return "uint8"
    return "normalised" if self.function is None else "anything"

  def rule(self, x: np.ndarray) -> Any:
    """Return what `Task.preprocess` is for samples like x; `DataError` for a mean that is none."""
    if self.mean is None:
      return self.function
    if x.ndim != 4:
      raise DataError(f"mean= and std= are of images [n, H, W, C], got shape {x.shape}")
    most = max(x.shape[3], np.size(self.mean), np.size(self.std))
    channels = most if x.shape[3] == 1 else x.shape[3]  # one stored channel is repeated
    mean, std = (_per_channel(name, getattr(self, name), channels) for name in ("mean", "std"))
    return Preprocess(mean, std, "none", channels)

  def network_input(self, x: np.ndarray) -> jax.ShapeDtypeStruct:
    """Describe what the network gets of samples like x; computes nothing.

    Raises:
      DataError: the caller's function does not take them, or gives no batch of floats.
    """
    rule, stored = self.rule(x), jax.ShapeDtypeStruct((2, *x.shape[1:]), _on_device(x.dtype))
    if rule is None:
      return stored
    if isinstance(rule, Preprocess):
      return jax.eval_shape(lambda batch: preprocess(rule, batch, None, False), stored)
    try:
      found = jax.eval_shape(rule, stored)
    except Exception as error:  # a user's function may raise anything
      raise DataError(
        f"preprocess cannot be applied to {stored.dtype} of shape {stored.shape}, traced by jax: "
        f"{type(error).__name__}: {short(str(error))}"
      ) from error
    floating = hasattr(found, "dtype") and jnp.issubdtype(found.dtype, jnp.floating)
    if not floating or found.shape[:1] != (2,):
      raise DataError(f"preprocess must give floats of shape (2, ...) here, got {shown(found)}")
    return jax.ShapeDtypeStruct(found.shape, jnp.result_type(float))


def _on_device(dtype: np.dtype) -> np.dtype:
  return jax.dtypes.canonicalize_dtype(dtype)


def _per_channel(name: str, given: Any, channels: int) -> tuple[float, ...]:
  """Return a finite number for each channel; a single one is repeated."""
  wanted = f"{name} must be a number or {channels} of them, one per channel, of pixels in [0, 1]"
  try:
    values = np.asarray(given, float)
  except (TypeError, ValueError):
    raise DataError(f"{wanted}; got {shown(given)}") from None
  low = SMALLEST if name == "std" else 0.0
  fits = values.shape in ((), (1,), (channels,))
  if not fits or not ((values >= low) & (values <= 1)).all():
    raise DataError(f"{wanted}; got {shown(given)}")
  return tuple(float(value) for value in np.broadcast_to(values, (channels,)))
