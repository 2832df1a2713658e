"""Batches of rows in the order that was announced, read by a thread before they are asked for."""

import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from jaxmu.data.rows import Rows

SEGMENTS = 2**25  # bytes that are read ahead at once, for all orders under way together
ORDERS = 64  # announced ones that are remembered


class Reader:
  """Reads rows; those of announced orders segment by segment, the next one in a thread.

  An announcement changes nothing but the time: what nobody announced is read when it is asked for.

  Attributes:
    ahead: batches so far that were in a segment.
    error: what the last failed reading raised; None: there was none.
  """

  def __init__(self, rows: Rows, segments: int = SEGMENTS) -> None:
    self.rows, self.segments, self.ahead = rows, segments, 0
    self.error: Exception | None = None
    self._orders: dict[int, _Order] = {}
    self._guard = threading.Lock()
    self._thread = ThreadPoolExecutor(1, thread_name_prefix="jaxmu-rows")
    weakref.finalize(self, self._thread.shutdown, wait=False, cancel_futures=True)

  def expect(self, name: int, size: int, first: int, positions: np.ndarray) -> None:
    """Announce positions [n] of an order, piece by piece.

    Args:
      name: tells orders apart; one that is announced anew replaces the old one.
      size: number of positions of the whole order.
      first: number of the order's positions before these.
    """
    with self._guard:
      if first == 0:
        others = {key: each for key, each in self._orders.items() if key != name and not each.done}
        last = list(others.items())[1 - ORDERS :]
        self._orders = {**dict(last), name: _Order(self.rows, size, self._thread)}
      if name in self._orders:
        self._orders[name].add(first, positions)

  def read(self, index: np.ndarray) -> np.ndarray:
    """Return the rows at positions [B] as an array [B, ...]."""
    try:
      with self._guard:
        for order in self._orders.values():
          if order.is_next(index):
            self.ahead += 1
            return order.take(len(index), self._batches(len(index)))
      return self.rows[index]
    except Exception as error:  # of whichever library reads the file
      self.error = error
      raise

  def _batches(self, size: int) -> int:
    """Return how many batches a segment has."""
    under_way = sum(order.under_way for order in self._orders.values())
    row = max(self.rows.nbytes // len(self.rows), 1)
    return max(1, self.segments // (row * size * max(under_way, 1)))


class _Order:
  """Announced positions, and how far they have come."""

  def __init__(self, rows: Rows, size: int, thread: ThreadPoolExecutor) -> None:
    self._rows, self._thread = rows, thread
    self._positions, self._known = np.empty(size, np.int32), 0  # how many of them are known
    self._next = 0  # the position that comes next
    self._first, self._now = 0, np.empty(0)  # a segment, and where it begins
    self._coming: Future[np.ndarray] | None = None

  @property
  def done(self) -> bool:
    return self._next == len(self._positions)

  @property
  def under_way(self) -> bool:
    return self._next > 0 and not self.done

  def add(self, first: int, positions: np.ndarray) -> None:
    end = first + len(positions)
    if first == self._known and end <= len(self._positions):
      self._positions[first:end], self._known = positions, end

  def is_next(self, index: np.ndarray) -> bool:
    own = self._positions[self._next : min(self._next + len(index), self._known)]
    return len(own) > 0 and own[0] == index[0] and np.array_equal(own, index)

  def take(self, size: int, batches: int) -> np.ndarray:
    """Return the next rows, and see to it that those behind them are read."""
    if self._next >= self._first + len(self._now):
      follows = self._coming is not None and self._next == self._first + len(self._now)
      self._now = self._coming.result() if follows else self._segment(self._next, size * batches)
      self._first = self._next
      behind = self._first + len(self._now)
      later = partial(self._thread.submit, self._segment, behind, size * batches)
      self._coming = later() if behind < self._known else None
    start = self._next - self._first
    self._next += size
    found = self._now[start : start + size]
    return found if len(found) == size else self._segment(self._next - size, size)

  def _segment(self, first: int, size: int) -> np.ndarray:
    """Read rows together, so that a file is read forwards."""
    found = self._rows[self._positions[first : min(first + size, self._known)]]
    return found if found.base is None else found.copy()  # a copy reads what is mapped to memory
