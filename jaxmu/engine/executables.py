"""Compiled programs in memory, and the operating system's limit to them.

Every executable of XLA's CPU backend takes memory maps: hundreds for ResNet-18, over a thousand for
TinyViT, where a method's programs are half a gigabyte besides. Linux allows a process 65,530 maps,
and XLA crashes where one more is refused, so a sweep through many methods must let go of programs
that it has left behind. What is asked for again comes from the persistent compilation cache.

Several threads may ask for executables: those of coming stages are compiled ahead.
"""

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, ClassVar

LIMIT = Path("/proc/sys/vm/max_map_count")
MAPS = Path("/proc/self/maps")
SHARE = 0.25  # of the limit that may be in use when another program is compiled
_guard = threading.RLock()  # held while tables change, never while something is compiled


class Waited(threading.local):
  """Seconds that a thread has spent on executables until it had them."""

  seconds = 0.0


class Executables:
  """The executables of one program by signature; among all, those unused for longest give way."""

  every: ClassVar[weakref.WeakSet["Executables"]] = weakref.WeakSet()
  clock: ClassVar[Iterator[int]] = itertools.count()

  def __init__(self) -> None:
    self._kept: dict[Hashable, Any] = {}
    self._turns: dict[Hashable, threading.Lock] = {}
    self.used: dict[Hashable, int] = {}  # signature -> when last asked for
    self.waited = Waited()
    with _guard:
      self.every.add(self)

  def __len__(self) -> int:
    return len(self._kept)

  def __contains__(self, signature: Hashable) -> bool:
    with _guard:
      return signature in self._kept

  def __iter__(self) -> Iterator[Any]:
    return iter(self._kept.values())

  def find(self, signature: Hashable, make: Callable[[], Any]) -> Any:
    """Return the executable of a signature, which `make` compiles where none is kept.

    A thread that asks for what another is making waits for it. Where that fails, each raises what
    its own `make` does.
    """
    found = self._get(signature)
    if found is None:
      start = time.perf_counter()
      with self._turns.setdefault(signature, threading.Lock()):
        found = self._get(signature)
        if found is None:
          found = self._make(signature, make)
      self.waited.seconds += time.perf_counter() - start
    return found

  def _get(self, signature: Hashable) -> Any:
    with _guard:
      if signature in self._kept:
        self.used[signature] = next(self.clock)
      return self._kept.get(signature)

  def _make(self, signature: Hashable, make: Callable[[], Any]) -> Any:
    make_room()
    made = make()
    with _guard:
      self._kept[signature] = made
      self.used[signature] = next(self.clock)
    return made

  def drop(self, signature: Hashable) -> None:
    """Let go of an executable; a run that holds it still may finish with it."""
    with _guard:
      del self._kept[signature], self.used[signature]


def make_room() -> None:
  """While memory maps are scarce, drop the half of all executables that is unused for longest."""
  while crowded():
    with _guard:
      kept = [(used, each, of) for each in Executables.every for of, used in each.used.items()]
      kept.sort(key=lambda entry: entry[0])
      for _, each, signature in kept[: (len(kept) + 1) // 2]:
        each.drop(signature)
    if not kept:
      return


def crowded() -> bool:
  """Tell whether this process uses more than its share of memory maps; False where none count."""
  try:
    allowed = int(LIMIT.read_text())
    with MAPS.open("rb") as maps:
      return sum(1 for _ in maps) > SHARE * allowed
  except (OSError, ValueError):  # not Linux
    return False
