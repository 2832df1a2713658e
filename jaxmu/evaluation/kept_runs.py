"""What methods left is kept in a folder, and found again where all that decides it is equal."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxmu
from jaxmu.errors import StoreError
from jaxmu.evaluation.hashes import digest
from jaxmu.evaluation.method_runs import Asked, Ran
from jaxmu.evaluation.of_model import HOW
from jaxmu.store import files
from jaxmu.store.groups import Cost

FORMAT = 1
_PLAIN = (bool, int, float, str, type(None))


class Folder:
  """Keeps the runs of a comparison; without a path it keeps nothing.

  A run is known by its method and hyper-parameters, by seeds, samples, versions and device, and by
  the network's attributes and the logits of the originals, which tell weights and preprocessing.
  What none of these shows is code that acts in train mode alone.
  """

  def __init__(self, path: str | Path | None, asked: Asked, original: np.ndarray):
    """Begin.

    Args:
      original: logits of the originals.
    """
    self._path, self._asked = None if path is None else Path(path), asked
    self._common: dict[str, Any] = {}
    if path is None:
      return
    images = asked.images
    self._common = {
      "format": FORMAT,
      "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")},
      "jaxmu": jaxmu.__version__,
      "device": jax.devices()[0].device_kind,
      "network": re.sub(r" at 0x[0-9a-f]+", "", f"{type(asked.model).__name__} {asked.model!r}"),
      "images": {name: digest(x) for name, (x, _) in images.pairs.items()},
      "labels": {name: digest(y) for name, (_, y) in images.pairs.items()},
      "original": digest(original),
      "seeds": list(asked.seeds),
    }

  def find(self, name: str, given: Mapping[str, Any], make: Callable[[], Ran]) -> Ran:
    """Return what is kept of a method, else run it and keep what it leaves; errors are not kept.

    Args:
      given: its complete hyper-parameters.

    Raises:
      StoreError: the folder cannot be written.
    """
    own = self._identity(name, given)
    if self._path is None or own is None:
      return make()
    place = self._path / f"{name}-{own[:12]}.json"
    try:
      return _read(place)
    except StoreError:
      found = make()
    if not found.error:
      _write(place, found)
    return found

  def _identity(self, name: str, given: Mapping[str, Any]) -> str | None:
    """Return a hash of all that decides a run; None where something has no plain value."""
    options = {k: v for k, v in self._asked.options.items() if k not in HOW}
    if not _plain({**given, **options}):
      return None
    whole = {**self._common, "method": name, "hyperparameters": given, "options": options}
    text = json.dumps(whole, sort_keys=True, default=files.plain_value)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> bool:
  if isinstance(value, Mapping):
    return all(isinstance(key, str) and _plain(each) for key, each in value.items())
  if isinstance(value, list | tuple):
    return all(map(_plain, value))
  return isinstance(value, (*_PLAIN, np.generic))


def _write(place: Path, found: Ran) -> None:
  """Write arrays, then what seals them."""
  place.parent.mkdir(parents=True, exist_ok=True)
  arrays = {name: getattr(found, name) for name in ("logits", "moved")}
  arrays = {name: array for name, array in arrays.items() if array is not None}
  beside = place.with_suffix(".npz")
  files.replace(beside, lambda file: np.savez(file, **arrays))
  rest = {name: value for name, value in found._asdict().items() if name not in arrays}
  files.write_sealed(place, files.plain({**rest, "sha256 of arrays": files.sha256(beside)}))


def _read(place: Path) -> Ran:
  """Read a kept run; StoreError where it is absent or damaged."""
  stored, beside = files.read_sealed(place), place.with_suffix(".npz")
  with files.reading(beside):
    if files.sha256(beside) != stored.pop("sha256 of arrays"):
      raise files.damaged(beside, "it is not what was written")
    with np.load(beside, allow_pickle=False) as arrays:
      stored |= dict(arrays)
  for name in ("failures", "curves", "notes"):
    stored[name] = tuple(stored[name])
  stored["hyperparameters"] = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in stored["hyperparameters"].items()
  }
  cost = stored["cost"]
  return Ran(**stored | {"cost": None if cost is None else Cost(**cost)})
