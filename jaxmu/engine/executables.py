"""Compiled programs in memory, and the operating system's limit to them.

Every executable of XLA's CPU backend takes memory maps: hundreds for ResNet-18, over a thousand for
TinyViT, where a method's programs are half a gigabyte besides. Linux allows a process 65,530 maps,
and XLA crashes where one more is refused, so a sweep through many methods must let go of programs
that it has left behind. What is asked for again comes from the persistent compilation cache.
"""

import itertools
import weakref
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, ClassVar

LIMIT = Path("/proc/sys/vm/max_map_count")
MAPS = Path("/proc/self/maps")
SHARE = 0.25  # of the limit that may be in use when another program is compiled


class Executables:
  """The executables of one program by signature; among all, those unused for longest give way."""

  every: ClassVar[weakref.WeakSet["Executables"]] = weakref.WeakSet()
  clock: ClassVar[Iterator[int]] = itertools.count()

  def __init__(self) -> None:
    self._kept: dict[Hashable, Any] = {}
    self.used: dict[Hashable, int] = {}  # signature -> when last asked for
    self.every.add(self)

  def __len__(self) -> int:
    return len(self._kept)

  def __iter__(self) -> Iterator[Any]:
    return iter(self._kept.values())

  def find(self, signature: Hashable, make: Callable[[], Any]) -> Any:
    """Return the executable of a signature, which `make` compiles where none is kept."""
    if signature not in self._kept:
      make_room()
      self._kept[signature] = make()
    self.used[signature] = next(self.clock)
    return self._kept[signature]

  def drop(self, signature: Hashable) -> None:
    """Let go of an executable; a run that holds it still may finish with it."""
    del self._kept[signature], self.used[signature]


def make_room() -> None:
  """While memory maps are scarce, drop the half of all executables that is unused for longest."""
  while crowded():
    kept = [(used, each, of) for each in Executables.every for of, used in each.used.items()]
    if not kept:
      return
    kept.sort(key=lambda entry: entry[0])
    for _, each, signature in kept[: (len(kept) + 1) // 2]:
      each.drop(signature)


def crowded() -> bool:
  """Tell whether this process uses more than its share of memory maps; False where none count."""
  try:
    allowed = int(LIMIT.read_text())
    with MAPS.open("rb") as maps:
      return sum(1 for _ in maps) > SHARE * allowed
  except (OSError, ValueError):  # not Linux
    return False
