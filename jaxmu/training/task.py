"""What a step is closed over: the network, how images become its input, and what may be seen."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxmu import models
from jaxmu.data import augment, on_host, streams
from jaxmu.errors import MethodError
from jaxmu.settings.choices import COMPUTE

NOT_HERE: Any = None  # a function that reads what its kind is not given fails at once


class Arrays(NamedTuple):
  """The data set on the device: images uint8 (or float, normalised) [N, H, W, c], labels [N].

  The images of one that is too large stay on the host, and are an `on_host.OnHost`.
  """

  images: Any
  labels: jax.Array


class Batch(NamedTuple):
  """A batch as a loss sees it.

  Attributes:
    x: float [B, H, W, C]. y: int [B].
    weight: [B], 0 for padding, or None. origin: [B], RETAIN or FORGET, in `union` only.
    index: int32 [B], positions in the data set, to look values up in a `View.table`.
  """

  x: jax.Array
  y: jax.Array
  weight: jax.Array | None = None
  origin: jax.Array | None = None
  index: jax.Array | None = None  # type: ignore[assignment]  # tuples have such a method


@dataclasses.dataclass(frozen=True)
class Task:
  """Static description of a problem; hashable, closed over by every compiled program.

  Attributes:
    module: the Flax linen network.
    num_classes: C.
    preprocess: how stored images become network inputs, a value or a function of a batch; None for
      arrays that are inputs already.
    shuffle: False visits every set in stored order (for parity with other implementations).
    compute: "float32" as the arrays are, or "bfloat16": parameters and images are rounded for the
      network's forward and backward pass; parameters, statistics, logits and losses stay float32.
  """

  module: nn.Module
  num_classes: int
  preprocess: augment.Rule | None = None
  shuffle: bool = True
  compute: str = "float32"

  def __post_init__(self) -> None:
    if self.compute not in COMPUTE:
      raise MethodError(f"a task computes in {' or '.join(COMPUTE)}, not in '{self.compute}'")

  def pads(self, batch_norm: Any) -> bool:
    """Tell whether a short batch may be filled up: it is exact, and saves compiling a step."""
    return batch_norm == "eval" or models.takes_mask(self.module)

  def forward(
    self,
    params: Any,
    batch_stats: Any,
    x: jax.Array,
    *,
    train: Any,
    mask: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    """Return logits [B, C] and the new BatchNorm statistics (unchanged in eval mode)."""
    apply = partial(models.forward, self.module, train=train, mask=mask, key=key)
    if self.compute == "float32":
      logits, moved = apply(params, batch_stats, x)
      narrow = logits.dtype.itemsize < 4  # of a network that computes in bfloat16 by itself
      return logits.astype(jnp.float32) if narrow else logits, moved
    logits, moved = apply(jax.tree.map(_rounded, params), batch_stats, _rounded(x))
    like = lambda new, old: new.astype(old.dtype)
    return logits.astype(x.dtype), jax.tree.map(like, moved, batch_stats)


def _rounded(leaf: jax.Array) -> jax.Array:
  """Round floating-point numbers to bfloat16; their gradient comes back in their own type."""
  return leaf.astype(jnp.bfloat16) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


class View:
  """The data that one method may touch: only the sets in its `needs` exist here.

  Where members have sets of different sizes, all are padded to the largest: `size` is the number
  of places, `count` that of a member's samples, and `real` tells which places hold one.

  Attributes:
    index: set name -> int32 [n] positions of that set's samples, the member's own first.
  """

  def __init__(
    self,
    task: Task,
    arrays: Arrays,
    index: Mapping[str, jax.Array],
    draws: Mapping[str, Any],
    counts: Mapping[str, jax.Array] | None = None,
  ):
    self.task = task
    self.index = index
    self.draws = draws
    self._arrays = arrays
    self._counts = {name: jnp.asarray(n, int) for name, n in (counts or {}).items()}

  @property
  def ragged(self) -> bool:
    """Whether members may have sets of other sizes than this one."""
    return bool(self._counts)

  def size(self, name: str) -> int:
    """Number of places of a set; MethodError where the method did not declare it."""
    return self._set(name).shape[0]

  def count(self, name: str) -> Any:
    """Number of samples in a set: an int, or traced where members differ."""
    return self._counts.get(name, self.size(name))

  def real(self, name: str) -> jax.Array:
    """Tell which places of a set hold a sample and no padding, bool [n]."""
    return jnp.arange(self.size(name)) < self.count(name)

  def steps(self, stream: str, batch_size: int) -> Any:
    """Number of batches in one pass of `stream`: an int, or traced where members differ."""
    return streams.steps(stream, {name: self.count(name) for name in self.index}, batch_size)

  def class_counts(self, name: str, num_classes: int) -> jax.Array:
    """Count the samples of each class in a set: float [C]."""
    labels = self.labels(name)
    if self.ragged:
      labels = jnp.where(self.real(name), labels, num_classes)  # counted nowhere
    return jnp.bincount(labels, length=num_classes).astype(float)

  def _set(self, name: str) -> jax.Array:
    if name not in self.index:
      raise MethodError(f"the {name} set is not among the method's needs ({', '.join(self.index)})")
    return self.index[name]

  def labels(self, name: str) -> jax.Array:
    """Return the labels of a set, int [n], in stored order."""
    return jnp.take(self._arrays.labels, self._set(name), axis=0)

  def logits(
    self, variables: Mapping[str, Any], name: str, batch_size: int, task: Task | None = None
  ) -> jax.Array:
    """Return eval-mode logits [n, C] of a model on a set, in stored order.

    Args:
      task: another network than the view's own, for a teacher of another architecture.
    """
    task = task or self.task

    def step(_: None, samples: streams.Samples) -> tuple[None, jax.Array]:
      x = self.fetch(samples).x
      params, batch_stats = variables["params"], variables["batch_stats"]
      return None, task.forward(params, batch_stats, x, train=False)[0]

    positions = self._set(name)
    order = self.positions(positions, min(batch_size, len(positions)), pad=True)
    logits = lax.scan(step, None, order.full)[1]
    return logits.reshape(-1, logits.shape[-1])[: len(positions)]

  def table(self, values: Mapping[str, jax.Array]) -> jax.Array:
    """Spread per-sample values over the data set: set name -> [n, ...] gives [N, ...].

    A loss reads `table[batch.index]`; places outside the given sets hold NaN, or -1 for integers.
    Values of padding are dropped.
    """
    (first, *_) = values.values()
    nowhere = jnp.nan if jnp.issubdtype(first.dtype, jnp.inexact) else -1
    whole = jnp.full((self._arrays.labels.shape[0], *first.shape[1:]), nowhere, first.dtype)
    for name, value in values.items():
      places = self._set(name)
      if self.ragged:
        places = jnp.where(self.real(name), places, len(whole))
      whole = whole.at[places].set(value, mode="drop" if self.ragged else None)
    return whole

  def order(
    self, stream: str, key: jax.Array, batch_size: int, pad: bool = False, shuffle: bool = True
  ) -> streams.Order:
    """Lay out one pass of `stream` over the sets this view has."""
    streams.check(stream)
    for name in sorted(streams.STREAMS[stream]):
      self._set(name)
    given, shuffled = self.draws.get("union_order"), self.task.shuffle and shuffle
    options: dict[str, Any] = {"shuffle": shuffled, "pad": pad, "counts": self._counts}
    options |= {"union_order": given}
    return self._laid_out(streams.order(stream, key, self.index, batch_size, **options))

  def uneven(self, stream: str, batch_size: int) -> bool:
    """Tell whether a pass of `stream` has full batches and a shorter one besides."""
    sizes = {name: positions.shape[0] for name, positions in self.index.items()}
    return streams.uneven(stream, sizes, batch_size)

  def positions(
    self, index: jax.Array, batch_size: int, pad: bool = False, count: Any = None
  ) -> streams.Order:
    """Lay out one pass over given positions, in their order.

    Args:
      count: how many of them are real, the first ones, traced; None: all.
    """
    unused, real = jax.random.key(0), {} if count is None else {"retain": count}
    options: dict[str, Any] = {"shuffle": False, "pad": pad, "counts": real}
    return self._laid_out(streams.order("retain", unused, {"retain": index}, batch_size, **options))

  def _laid_out(self, order: streams.Order) -> streams.Order:
    return on_host.expect(self._arrays.images, order)

  def fetch(self, samples: Any, key: jax.Array = NOT_HERE, augmented: bool = False) -> Any:
    """Gather the images and labels of Samples (a Pair gives a Pair of Batches)."""
    if isinstance(samples, streams.Pair):
      return streams.Pair(*(self.fetch(part, key, augmented) for part in samples))
    index = samples.index
    images = on_host.take(self._arrays.images, index)
    labels = jnp.take(self._arrays.labels, index, axis=0)
    if self.ragged and samples.weight is not None:  # nothing of padding is read, NaN neither
      seen = samples.weight > 0
      images = jnp.where(seen.reshape(-1, *[1] * (images.ndim - 1)), images, 0)
      labels = jnp.where(seen, labels, 0)
      index = jnp.where(seen, index, index[0])  # tables hold NaN elsewhere; the first is real
    rule, dtype = self.task.preprocess, jnp.result_type(float)
    if isinstance(rule, augment.Augmented):
      images = augment.augmented(rule, images, key) if augmented else images
      rule = rule.rule
    if isinstance(rule, augment.Preprocess):
      images = augment.preprocess(rule, images, key, augmented, dtype=dtype)
    elif rule is not None:
      images = rule(images).astype(dtype)
    return Batch(images, labels, samples.weight, samples.origin, index)
