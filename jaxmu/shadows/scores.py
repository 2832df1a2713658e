"""What is kept of shadow models: two numbers per model and sample, appended and never rewritten.

    scores/<stage>.json     models in the order of their rows, identity, what they cost
    scores/<stage>.phi      logit-scaled confidences, float32 [M, N], raw
    scores/<stage>.correct  whether the prediction is the label, uint8 [M, N], raw

Rows count once the JSON file names their models. It is replaced last, so a kill leaves at most rows
that the next writer overwrites.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmu.errors import StoreError
from jaxmu.store import files, typed_json
from jaxmu.store.records import ScoresRecord, ShadowCost

STATISTIC = "margin"  # what phi is: exact; with the floor of LiRA's public code it was another
Model = tuple[int, int]  # (split, forget set)
NO_COST = ShadowCost(models=0, wall_s=0.0, compile_s=0.0, predict_s=0.0, passes=0.0)
_TYPES = {"phi": np.dtype("<f4"), "correct": np.dtype("u1")}


class Scores:
  """The rows of one stage; N samples of the pool in its order."""

  def __init__(self, folder: Path, stage: str, samples: int, identity: str):
    """Open the rows of a stage, or begin with none.

    Args:
      identity: hash of everything that decides the numbers.

    Raises:
      StoreError: the rows were made from other data, splits or settings, or are damaged.
    """
    self.folder, self.stage, self.samples, self.identity = folder, stage, samples, identity
    self._index = ScoresRecord(identity, samples, STATISTIC, (), (), NO_COST)
    if self.path.is_file():
      self._index = typed_json.load(ScoresRecord, self.path)
      self._refuse_others()
    self._rows = {model: row for row, model in enumerate(self._index.models)}

  @property
  def path(self) -> Path:
    return self.folder / f"{self.stage}.json"

  @property
  def models(self) -> list[Model]:
    """Models in the order in which they came."""
    return list(self._rows)

  @property
  def cost(self) -> ShadowCost:
    """Sums over all groups of models of what `append` was given."""
    return self._index.cost

  def missing(self, models: Sequence[Model]) -> list[Model]:
    """Return those of `models` that have no row, in the given order."""
    return [model for model in models if model not in self._rows]

  def append(
    self,
    models: Sequence[Model],
    phi: np.ndarray,
    correct: np.ndarray,
    failures: Sequence[str],
    cost: ShadowCost,
  ) -> None:
    """Add the rows of some models.

    Args:
      phi, correct: [m, N].
      failures: per model "" or when it turned non-finite.
      cost: of these models alone.

    Raises:
      StoreError: a model has a row already, shapes do not fit, or the folder cannot be written.
    """
    rows = {"phi": phi, "correct": correct}
    again = [model for model in models if model in self._rows]
    shapes = {name: np.shape(array) for name, array in rows.items()}
    if again or set(shapes.values()) != {(len(models), self.samples)}:
      raise StoreError(
        f"{self.path}: cannot append {len(models)} models of {self.samples} samples, given {shapes}"
        + (f"; it has model {again[0]} already" if again else "")
      )
    for name, array in rows.items():
      self._write(name, np.asarray(array, _TYPES[name]))
    before = self._index
    self._index = dataclasses.replace(
      before,
      models=(*before.models, *models),
      failures=(*before.failures, *failures),
      cost=before.cost.plus(cost),
    )
    files.write_json(self.path, self._index)
    self._rows = {model: row for row, model in enumerate(self._index.models)}

  def phi(self, models: Sequence[Model]) -> np.ndarray:
    """Return the scores of models, float32 [m, N]; memory-mapped where they lie in this order."""
    return self._read("phi", models)

  def correct(self, models: Sequence[Model]) -> np.ndarray:
    """Return whether models are right, bool [m, N]; memory-mapped as `phi`."""
    return self._read("correct", models).view(bool)

  def failed(self, models: Sequence[Model]) -> np.ndarray:
    """Tell which models turned non-finite, bool [m]."""
    failures = self._index.failures
    return np.array([bool(failures[row]) for row in self._places(models)])

  def _places(self, models: Sequence[Model]) -> list[int]:
    try:
      return [self._rows[model] for model in models]
    except KeyError as error:
      raise StoreError(f"{self.path} has no model {error}; run the same command again") from None

  def _read(self, name: str, models: Sequence[Model]) -> np.ndarray:
    places = self._places(models)
    shape = (len(self._index.models), self.samples)
    mapped = np.memmap(self._file(name), _TYPES[name], "r", shape=shape)
    first, last = places[0], places[-1] + 1
    return mapped[first:last] if places == list(range(first, last)) else mapped[places]

  def _write(self, name: str, rows: np.ndarray) -> None:
    """Write rows behind those that count."""
    path = self._file(name)
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      path.touch()
      with path.open("r+b") as file:
        file.truncate(len(self._rows) * self.samples * rows.itemsize)
        file.seek(0, os.SEEK_END)
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
      raise StoreError(f"cannot write {path}: {error.strerror or error}") from None

  def _file(self, name: str) -> Path:
    return self.folder / f"{self.stage}.{name}"

  def _refuse_others(self) -> None:
    known, count = self._index, len(self._index.models)
    if len(known.failures) != count or len(set(known.models)) != count:
      raise files.damaged(
        self.path, f"{len(known.failures)} failures for {len(set(known.models))} of {count} models"
      )
    pairs = {
      "identity": (known.identity, self.identity),
      "samples": (known.samples, self.samples),
      "statistic": (known.statistic, STATISTIC),
    }
    for key, (before, mine) in pairs.items():
      if before != mine:
        raise StoreError(
          f"{self.path} holds scores of other data, splits, recipe or software ({key} "
          f"{before!s:.12}, now {mine!s:.12}), which must not be mixed; give another "
          "--config.output_dir, or delete the file"
        )
    for name, kind in _TYPES.items():
      path, least = self._file(name), count * self.samples * kind.itemsize
      if least and (not path.is_file() or path.stat().st_size < least):
        raise StoreError(
          f"{path} is shorter than {least} bytes, as {self.path.name} says; delete both and run "
          "the same command again"
        )
