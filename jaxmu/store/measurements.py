"""What was measured on a device and is worth remembering: one small file for each key.

Processes that measure different things at once lose nothing; those that measure the same agree on
what the first one wrote. What cannot be used is measured again; what cannot be written is done
without.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jaxmu.errors import StoreError
from jaxmu.store import files

T = TypeVar("T")


class Measurements:
  """What a folder knows."""

  def __init__(self, folder: Path):
    self.folder = folder

  def find(self, key: str, valid: Callable[[Any], bool]) -> Any:
    """Return what was remembered under `key`; None where nothing valid was."""
    try:
      stored = files.read_sealed(self._path(key))
    except StoreError:
      return None
    value = stored.get("value") if stored.get("key") == key else None
    return value if value is not None and valid(value) else None

  def remember(self, key: str, value: T, valid: Callable[[Any], bool]) -> T:
    """Write `value` (as JSON has it) under `key`; return it, or what another just wrote."""
    path, content = self._path(key), files.sealed({"key": key, "value": value})
    with suppress(StoreError):
      if not files.write_new(path, lambda file: file.write(content)):
        found = self.find(key, valid)
        if found is not None:
          return found
        files.replace(path, lambda file: file.write(content))
    return value

  def _path(self, key: str) -> Path:
    return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
