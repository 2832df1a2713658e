"""Samples that stay on the host while a compiled program runs: it calls back for each batch.

Nothing else of a program differs from one whose samples lie on the device, so that the numbers are
the same bit for bit, whatever a method does with its batches. What is called is found by a number
that is an argument of the program: data of the same form share compiled programs.
"""

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmu.data.read_ahead import Reader
from jaxmu.data.rows import Rows
from jaxmu.data.streams import Order, Samples

# Positions in one call. jax copies longer arguments (from 100 KiB) by the threads that compute, and
# where all of them wait in calls, forever.
PIECE = 2**13
HEAD = 4  # numbers before the positions in an announcement

_readers: weakref.WeakValueDictionary[int, Reader] = weakref.WeakValueDictionary()
_numbers = itertools.count()


@jax.tree_util.register_pytree_node_class
class OnHost:
  """Stands for images [N, ...] in a program's arguments.

  Attributes:
    number: int32 [], by which a program names its reader.
    row, dtype: shape and type of one sample.
    reader: what reads them, kept alive by whoever holds this; None inside a program.
  """

  def __init__(
    self, number: Any, row: tuple[int, ...], dtype: Any, reader: Reader | None = None
  ) -> None:
    self.number, self.row, self.dtype, self.reader = number, row, dtype, reader

  def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, ...]]:
    return (self.number,), (self.row, self.dtype)

  @classmethod
  def tree_unflatten(cls, form: tuple[Any, ...], leaves: tuple[Any]) -> "OnHost":
    return cls(*leaves, *form)


def place(rows: Rows, put: Callable[[Any], Any]) -> OnHost:
  """Make rows the images of programs; they are read in the type that jax would store them in.

  Args:
    put: lays a number out over the devices (`Population.share`).
  """
  dtype = jax.dtypes.canonicalize_dtype(rows.dtype.newbyteorder("="))
  reader, number = Reader(rows.of_type(dtype)), next(_numbers) % 2**31
  _readers[number] = reader
  return OnHost(put(np.int32(number)), rows.shape[1:], dtype, reader)


def take(images: Any, index: jax.Array) -> jax.Array:
  """Return the images [..., *row] at positions [...], from the device or from the host."""
  if not isinstance(images, OnHost):
    return jnp.take(images, index, axis=0)

  def read(counted: tuple[jax.Array, jax.Array]) -> jax.Array:
    count, piece = counted
    found = jax.ShapeDtypeStruct((len(piece), *images.row), images.dtype)
    return _call(_read, found, jnp.stack([images.number, count]), piece)

  pieces = _pieces(index)
  counts = np.minimum(index.size - pieces.shape[1] * np.arange(len(pieces)), pieces.shape[1])
  every = jnp.asarray(counts, jnp.int32), pieces
  found = read((every[0][0], pieces[0]))[None] if len(pieces) == 1 else lax.map(read, every)
  return found.reshape(-1, *images.row)[: index.size].reshape(*index.shape, *images.row)


def expect(images: Any, order: Order) -> Order:
  """Return an order as it is, which the host has then seen and reads ahead.

  The positions themselves go through the host, so it knows them before a program can use them.
  """
  if not isinstance(images, OnHost):
    return order
  through = lambda index: _announced(images, index)
  of_samples = lambda part: part._replace(index=through(part.index))
  return jax.tree.map(of_samples, order, is_leaf=lambda part: isinstance(part, Samples))


def _announced(images: OnHost, index: jax.Array) -> jax.Array:
  if not index.size:
    return index
  pieces = _pieces(index)
  count, length = pieces.shape
  odd = 2 * jnp.arange(pieces.size, dtype=jnp.int32) + 1
  name = jnp.sum(pieces.ravel() * odd, dtype=jnp.int32)  # one for each order, nearly always

  def tell(numbered: tuple[jax.Array, jax.Array]) -> jax.Array:
    first, piece = numbered
    head = jnp.stack([images.number, name, first, jnp.int32(index.size)])
    return _call(_expect, jax.ShapeDtypeStruct((length,), jnp.int32), head, piece)

  known = lax.map(tell, (length * jnp.arange(count, dtype=jnp.int32), pieces))
  return known.ravel()[: index.size].reshape(index.shape).astype(index.dtype)


def _pieces(index: jax.Array) -> jax.Array:
  """Cut positions into pieces, int32 [P, n]; the last one is filled up."""
  length = min(index.size, PIECE)
  count = -(-index.size // length)
  flat = jnp.pad(index.ravel().astype(jnp.int32), (0, count * length - index.size))
  return flat.reshape(count, length)


def _call(function: Callable[..., Any], found: Any, head: jax.Array, piece: jax.Array) -> jax.Array:
  """Call back with one short array; of the members of a vmap one after another."""
  return jax.pure_callback(
    function, found, jnp.concatenate([head, piece]), vmap_method="sequential"
  )


def _read(given: Any) -> np.ndarray:
  """Return the rows at the first `count` positions, and zeros for those that fill a piece up."""
  given = np.asarray(given)
  number, count = given[:2].tolist()
  found = _readers[number].read(given[2 : 2 + count])
  rest = len(given) - 2 - count
  return np.concatenate([found, np.zeros((rest, *found.shape[1:]), found.dtype)]) if rest else found


def _expect(given: Any) -> np.ndarray:
  given = np.asarray(given)
  number, name, first, size = given[:HEAD].tolist()
  _readers[number].expect(name, size, first, given[HEAD : HEAD + size - first].copy())
  return given[HEAD:]
