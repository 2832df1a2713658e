"""What a caller gives, brought to one form and checked: logits, labels, positions of the sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit.attacks.scores import refuse_probabilities, usable
from jaxmu.audit.text import plural
from jaxmu.data.overlap import Shared
from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, closest, shown

MODELS = ("original", "unlearned", "retrained")
SETS = ("retain", "forget", "unseen", "validation")


class Given(NamedTuple):
  """Models on the same N samples, of K seeds.

  Attributes:
    logits: by model, [K, N, C], or [1, N, C] where one serves all seeds.
    labels: int [N].
    sets: positions by set, [n], or [K, n] where every seed has sets of its own.
    images: hash, shape and type of each set's images by set; empty where logits were given.
    shared: samples that two sets share, as the images tell; None where only logits can tell.
  """

  logits: Mapping[str, np.ndarray]
  labels: np.ndarray
  sets: Mapping[str, np.ndarray]
  images: Mapping[str, Mapping[str, Any]] = {}
  shared: tuple[Shared, ...] | None = None

  @property
  def seeds(self) -> int:
    return len(self.logits["unlearned"])

  @property
  def classes(self) -> int:
    return int(self.logits["unlearned"].shape[-1])

  @property
  def sizes(self) -> dict[str, int]:
    """Samples by set, of the first seed."""
    return {name: positions.shape[-1] for name, positions in self.sets.items()}

  def of_seed(self, k: int) -> dict[str, np.ndarray]:
    """Return the positions of the k-th seed's sets."""
    return {name: each[k] if each.ndim == 2 else each for name, each in self.sets.items()}


def by_set(models: Mapping[str, Any], labels: Mapping[str, Any]) -> Given:
  """Join logits that are given set by set: model -> {set: [n, C] or [K, n, C]}.

  Args:
    labels: int [n] by set.

  Raises:
    DataError: a set is missing or unknown, or arrays do not belong together.
  """
  labels = {name: _labels(f"{name}", given) for name, given in labels.items()}
  joined = {}
  for model, parts in models.items():
    if not isinstance(parts, Mapping):
      raise DataError(
        f"{model} must map {', '.join(labels)} to logits, got {shown(parts)}; give labels= with "
        "logits of all samples, or model= with variables"
      )
    _check_names(model, parts, labels)
    arrays = [_logits(f"{model} logits of {name}", parts[name]) for name in labels]
    for name, array in zip(labels, arrays):
      _check_samples(f"{model} logits of {name}", array, f"{name} labels", len(labels[name]))
      _same(f"{model} logits of {name}", array, f"of {next(iter(labels))}", arrays[0])
    joined[model] = np.concatenate(arrays, 1)
  ends = np.cumsum([len(each) for each in labels.values()])
  sets = {name: np.arange(end - len(labels[name]), end) for name, end in zip(labels, ends.tolist())}
  return checked(Given(joined, np.concatenate(list(labels.values())), sets))


def whole(models: Mapping[str, Any], labels: Any, sets: Mapping[str, Any]) -> Given:
  """Check logits of all samples, [N, C] or [K, N, C], with positions or masks of the sets.

  Raises:
    DataError: arrays do not belong together.
  """
  labels = _labels("labels", labels)
  arrays = {}
  for model, given in models.items():
    if isinstance(given, Mapping):
      raise DataError(
        f"{model} maps {', '.join(map(str, given))} to something; with labels= expected logits of "
        "all samples, [N, C] or [K, N, C]"
      )
    arrays[model] = _logits(f"{model} logits", given)
    _check_samples(f"{model} logits", arrays[model], "labels", len(labels))
  positions = {name: _positions(name, given, len(labels)) for name, given in sets.items()}
  return checked(Given(arrays, labels, positions))


def checked(given: Given) -> Given:
  """Return what was given, refused where models and labels do not belong together.

  Raises:
    DataError: seeds or classes differ between models, a label is no class, or logits mean nothing.
  """
  own = given.logits["unlearned"]
  for model, array in given.logits.items():
    if array.shape[-1] != own.shape[-1]:
      raise DataError(
        f"{model} logits have {array.shape[-1]} classes, those of the unlearned model "
        f"{own.shape[-1]}; expected the same classes"
      )
    if len(array) not in (1, len(own)):
      raise DataError(
        f"{model} logits are of {plural(len(array), 'seed')}, those of the unlearned model of "
        f"{len(own)}; expected as many, or one for all"
      )
  for name, index in given.sets.items():
    if index.ndim == 2 and len(index) != given.seeds:
      raise DataError(
        f"{name} has shape {index.shape}; expected one row for each of "
        f"{plural(given.seeds, 'seed')}, or one for all"
      )
  _check_classes(given)
  for model, array in given.logits.items():
    _check_usable(given, model, array)
  return given


def _check_names(model: str, parts: Mapping[str, Any], labels: Mapping[str, Any]) -> None:
  for name in parts:
    if name not in labels:
      hint = "; variables need model=" if name == "params" else ""
      raise DataError(f"{model} has logits of '{name}'; {closest(name, labels)}{hint}")
  for name in labels:
    if name not in parts:
      raise DataError(f"{model} has no logits of {name}; expected {', '.join(labels)}")


def _logits(name: str, given: Any) -> np.ndarray:
  array = as_array(name, given)
  if array.ndim == 2:
    array = array[None]
  if array.ndim != 3 or not len(array) or array.dtype.kind != "f":
    raise DataError(
      f"{name} must be floats of shape [n, C] or [K, n, C], got {array.dtype} {array.shape}"
    )
  if array.shape[-1] < 2:
    raise DataError(f"{name} have one class; expected at least 2: a single score is no logit")
  refuse_probabilities(name, array)
  return array


def _labels(name: str, given: Any) -> np.ndarray:
  if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) > 1:
    raise DataError(f"{name} is a pair; images need model=, with logits expected labels alone")
  array = as_array(name, given)
  if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
    raise DataError(f"{name} labels must be integers [n], got {array.dtype} {array.shape}")
  return array.astype(np.int64)


def _check_samples(name: str, array: np.ndarray, what: str, count: int) -> None:
  if array.shape[1] != count:
    raise DataError(f"{name} have shape {array.shape}; expected {count} samples, as {what}")


def _same(name: str, array: np.ndarray, other: str, first: np.ndarray) -> None:
  if (len(array), array.shape[-1]) != (len(first), first.shape[-1]):
    raise DataError(
      f"{name} have shape {array.shape}, those {other} {first.shape}; expected the same seeds and "
      "classes"
    )


def _positions(name: str, given: Any, size: int) -> np.ndarray:
  """Return positions [n] or [K, n]; masks become positions."""
  array = as_array(name, given)
  if array.dtype == bool:
    if array.shape[-1:] != (size,) or array.ndim > 2:
      raise DataError(f"the {name} mask has shape {array.shape}; expected ({size},), as the labels")
    rows = [np.flatnonzero(row) for row in np.atleast_2d(array)]
    if len({len(row) for row in rows}) > 1:
      raise DataError(f"{name}: the seeds' masks choose different numbers of samples")
    return np.stack(rows) if array.ndim == 2 else rows[0]
  if array.ndim not in (1, 2) or array.dtype.kind not in "iu" or not array.size:
    raise DataError(
      f"{name} must be positions [n] or [K, n], or a mask, got {array.dtype} {array.shape}"
    )
  if array.min() < 0 or array.max() >= size:
    raise DataError(
      f"{name} holds positions {array.min()}..{array.max()}; expected 0..{size - 1}, as {size} "
      "samples have labels"
    )
  return array.astype(np.int64)


def _check_classes(given: Given) -> None:
  for name, index in given.sets.items():
    labels = given.labels[index]
    if labels.min() < 0 or labels.max() >= given.classes:
      raise DataError(
        f"{name} labels must lie in 0..{given.classes - 1} for logits of {given.classes} classes, "
        f"got {labels.min()}..{labels.max()}"
      )
  if given.labels.min() < 0 or given.labels.max() >= given.classes:  # of samples in no set
    raise DataError(
      f"labels must lie in 0..{given.classes - 1} for logits of {given.classes} classes, got "
      f"{given.labels.min()}..{given.labels.max()}"
    )


def _check_usable(given: Given, model: str, array: np.ndarray) -> None:
  for k, logits in enumerate(array):
    of_label = np.take_along_axis(logits, given.labels[:, None], 1)[:, 0]
    bad = np.flatnonzero(~(usable(logits) & (of_label > -np.inf)))
    if len(bad):
      raise DataError(
        f"{model} logits of seed {k}: those of {plural(len(bad), 'sample')} are NaN or infinite, "
        f"the first {_place(given.of_seed(k), int(bad[0]))}; expected finite ones (minus infinity "
        "only for wrong classes)"
      )


def _place(sets: Mapping[str, np.ndarray], position: int) -> str:
  """Name a sample by its set and its place in it."""
  for name, index in sets.items():
    where: Sequence[int] = np.flatnonzero(index == position)
    if len(where):
      return f"{name} {where[0]}"
  return f"sample {position}"
