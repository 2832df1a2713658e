"""Orders in which one epoch visits the data (methods.md 0.8, 9.2), computed on the device.

A stream is laid out as `Order(full, rest)`: the equal batches of a pass, stacked to be scanned,
and the last, shorter batch with a shape of its own (or None). Nothing is dropped. Where a caller
asks for padding, and always in `zip_cycle`, a short batch is filled up with samples of weight 0
instead: losses and BatchNorm leave them out exactly, and there is one step to compile, not two.

Members whose sets differ in size share programs, too: their positions are padded to the size of the
largest, and `counts` says how many are real. Every order then has the shapes of the largest
member's, real samples first; batches beyond a member's own steps hold none.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.errors import MethodError, closest

RETAIN, FORGET = 0, 1
STREAMS: dict[str, frozenset[str]] = {  # name -> the sets that it reads
  "retain": frozenset({"retain"}),
  "forget": frozenset({"forget"}),
  "val": frozenset({"val"}),
  "union": frozenset({"retain", "forget"}),
  "union_forget_first": frozenset({"retain", "forget"}),
  "zip_short": frozenset({"retain", "forget"}),
  "zip_cycle": frozenset({"retain", "forget"}),
}
UNIONS = ("union", "union_forget_first")  # differ where nothing is shuffled


class Samples(NamedTuple):
  """Positions of a batch in the data set, before images are gathered.

  Attributes:
    index: int32 [B].
    weight: float [B], 0 for padding; None where every sample counts.
    origin: int32 [B], RETAIN or FORGET; None outside the unions.
  """

  index: jax.Array
  weight: jax.Array | None = None
  origin: jax.Array | None = None


class Pair(NamedTuple):
  """A retain and a forget part that one step reads together."""

  retain: Any
  forget: Any


class Order(NamedTuple):
  """One pass: `full` has leaves [T, B], `rest` is one shorter batch or None."""

  full: Any
  rest: Any


def steps(stream: str, sizes: Mapping[str, Any], batch_size: int) -> Any:
  """Number of batches in one pass of `stream`: int, or traced where the sizes are."""
  check(stream)
  batches = {name: -(-size // batch_size) for name, size in sizes.items()}
  if stream in UNIONS:
    return -(-(sizes["retain"] + sizes["forget"]) // batch_size)
  if stream == "zip_short":
    both = batches["retain"], batches["forget"]
    return jnp.minimum(*both) if any(isinstance(n, jax.Array) for n in both) else min(both)
  return batches["retain"] if stream == "zip_cycle" else batches[stream]


def uneven(stream: str, sizes: Mapping[str, int], batch_size: int) -> bool:
  """Tell whether one pass of `stream` has full batches and a shorter one besides."""
  check(stream)
  reads = [sizes[name] for name in STREAMS[stream]]
  n = sum(reads) if stream in UNIONS else min(reads)
  return n > batch_size and n % batch_size > 0


def visits(stream: str, sizes: Mapping[str, int], batch_size: int) -> int:
  """Number of samples that one pass reads, replayed ones counted each time."""
  check(stream)
  n_retain, n_forget = sizes.get("retain", 0), sizes.get("forget", 0)
  if stream in UNIONS:
    return n_retain + n_forget
  if stream == "zip_short":
    reach = steps(stream, sizes, batch_size) * batch_size
    return min(reach, n_retain) + min(reach, n_forget)
  if stream == "zip_cycle":
    rounds, extra = divmod(steps(stream, sizes, batch_size), -(-n_forget // batch_size))
    return n_retain + rounds * n_forget + min(extra * batch_size, n_forget)
  return sizes[stream]


def check(stream: str) -> None:
  """Raise MethodError for an unknown stream."""
  if stream not in STREAMS:
    raise MethodError(f"unknown stream '{stream}'; {closest(stream, STREAMS)}")


def order(
  stream: str,
  key: jax.Array,
  index: Mapping[str, jax.Array],
  batch_size: int,
  *,
  shuffle: bool = True,
  union_order: jax.Array | None = None,
  pad: bool = False,
  counts: Mapping[str, Any] | None = None,
) -> Order:
  """Lay out one pass over the sets in `index`.

  Args:
    stream: a name of STREAMS.
    key: draws the permutations; retain and forget are shuffled independently, val never.
    index: set name -> int32 [n] positions in the data set.
    batch_size: B, static.
    shuffle: False visits the samples in stored order (union: retain first, then forget;
      union_forget_first: the other way round).
    union_order: a fixed visiting order of either union, int [n_r + n_f], in place of a drawn one;
      numbers below n_r are retain samples.
    pad: fill the last batch up with samples of weight 0.
    counts: set name -> how many of its positions are real, the first ones, traced; None: all.
      Orders are then always padded.

  Returns:
    Order of Samples, or of Pair(Samples, Samples) for the zip streams.
  """
  check(stream)
  real = counts or {}

  def shuffled(name):
    positions = index[name]
    if not shuffle or name == "val":
      return positions
    purpose = Purpose.FORGET_ORDER if name == "forget" else Purpose.RETAIN_ORDER
    own = keys.of(key, purpose)
    if name not in real:
      return jax.random.permutation(own, positions)
    drawn = jax.random.permutation(own, len(positions))
    return positions[first(drawn, drawn < real[name])]

  if stream in UNIONS:
    union = _union(stream, key, index, shuffle, union_order, real)
    count = real["retain"] + real["forget"] if real else None
    return _batches(union, batch_size, pad, count)
  side = lambda name: (shuffled(name), real.get(name))
  if stream == "zip_short":
    return _zip_short(side("retain"), side("forget"), batch_size, pad)
  if stream == "zip_cycle":
    return _zip_cycle(side("retain"), side("forget"), batch_size)
  positions, count = side(stream)
  return _batches(Samples(positions), batch_size, pad, count)


def first(visit, chosen):
  """Move the chosen entries of an order to its front; who is chosen keeps its place in the row."""
  return visit[jnp.argsort(~chosen, stable=True)]


def _union(stream, key, index, shuffle, union_order, real):
  positions = jnp.concatenate([index["retain"], index["forget"]])
  n_retain, n = index["retain"].shape[0], positions.shape[0]
  visit = jnp.arange(n)
  if stream == "union_forget_first":
    visit = jnp.roll(visit, n - n_retain)
  if union_order is not None:
    visit = jnp.asarray(union_order)
    if visit.shape != (n,):
      raise MethodError(f"union_order must hold all {n} positions, got shape {visit.shape}")
    if not jnp.issubdtype(visit.dtype, jnp.integer):
      raise MethodError(f"union_order must hold whole numbers, got {visit.dtype}")
  elif shuffle:
    visit = jax.random.permutation(key, n)
  if real:
    of_forget = visit - n_retain < real["forget"]
    visit = first(visit, jnp.where(visit < n_retain, visit < real["retain"], of_forget))
  origin = jnp.where(visit < n_retain, RETAIN, FORGET)
  return Samples(positions[visit], origin=origin)


def _batches(samples, batch_size, pad=False, count=None):
  n = samples.index.shape[0]
  if count is not None and not pad:
    batch_size = min(batch_size, n)
  if pad or count is not None:
    whole = -(-n // batch_size) * batch_size
    filled = jax.tree.map(lambda a: jnp.resize(a, (whole,)), samples)
    known = n if count is None else count
    filled = filled._replace(weight=(jnp.arange(whole) < known).astype(float))
    return Order(jax.tree.map(lambda a: a.reshape(-1, batch_size), filled), None)
  whole = n - n % batch_size
  full = jax.tree.map(lambda a: a[:whole].reshape(-1, batch_size), samples)
  rest = jax.tree.map(lambda a: a[whole:], samples) if whole < n else None
  return Order(full, rest)


def _zip_short(retain, forget, batch_size, pad):
  """Pair batches until the shorter set ends; its last batch meets a full one of the other."""
  counts = retain[1], forget[1]
  retain, forget = retain[0], forget[0]
  shorter = min(retain.shape[0], forget.shape[0])
  if pad or counts != (None, None):
    reach = -(-shorter // batch_size) * batch_size
    sides = (
      _batches(Samples(a[:reach]), batch_size, pad, count)
      for a, count in zip((retain, forget), counts)
    )
    return Order(Pair(*(side.full for side in sides)), None)
  whole = shorter - shorter % batch_size
  full = Pair(*(Samples(a[:whole].reshape(-1, batch_size)) for a in (retain, forget)))
  if whole == shorter:
    return Order(full, None)
  return Order(full, Pair(*(Samples(a[whole : whole + batch_size]) for a in (retain, forget))))


def _zip_cycle(retain, forget, batch_size):
  """Pair every retain batch with the forget batches of this epoch, replayed in the same order."""
  count, sides = forget[1], (retain, forget)
  retain, forget = (_batches(Samples(a), batch_size, True, real).full for a, real in sides)
  own = forget.index.shape[0] if count is None else -(-count // batch_size)
  turn = jnp.arange(retain.index.shape[0]) % own
  return Order(Pair(retain, jax.tree.map(lambda a: a[turn], forget)), None)
