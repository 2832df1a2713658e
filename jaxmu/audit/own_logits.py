"""Audit anybody's logits: the benchmark's tables and cautions for models made elsewhere."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.audit import comparison, evaluation, metrics
from jaxmu.audit.attack_words import attack_used
from jaxmu.audit.attacks.scores import check_labels, refuse_probabilities
from jaxmu.audit.cautions import find, found_by
from jaxmu.audit.metric import AUDIT
from jaxmu.audit.results import INTERVAL_COLUMNS, Results
from jaxmu.audit.rules import Caution
from jaxmu.audit.summary import Summary, summarise
from jaxmu.audit.text import listing, number, plural, value
from jaxmu.data.samples import as_array
from jaxmu.errors import DataError

UNLEARNED = "unlearned"
LABELS = {UNLEARNED: "The unlearned model", "retrained": "Retrained", "original": "Original"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Given(Results):
  """Results of arrays that the caller gave."""

  sizes: Mapping[str, int]
  classes: int
  own_sets: bool  # whether every model has sets of its own
  labels: Mapping[str, str]

  @property
  def split_sizes(self) -> Mapping[str, int]:
    return self.sizes

  @property
  def split_per_seed(self) -> bool:
    return self.own_sets

  @property
  def chance(self) -> float:
    return 1 / self.classes

  def label(self, method: str) -> str:
    return self.labels.get(method, method)


@dataclasses.dataclass(frozen=True)
class Audit:
  """What `audit` found.

  Attributes:
    rows: one row of metrics per model, columns as in a run's rows.parquet; method is "unlearned",
      "retrained" or "original".
    intervals: method, metric, value, low, high: 95 % intervals over samples and models (SVC_MIA
      and mean losses have none).
    differences: metric, method, other, value, low, high: paired differences.
    cautions: what would mislead a reader, the gravest first.
    recognised: whether an attack finds the forget set, above one half and, where there are
      retrained models, above them.
    results, summary: the same as judgements read it (`audit.results`, `audit.summary`).
  """

  rows: pd.DataFrame
  intervals: pd.DataFrame
  differences: pd.DataFrame
  cautions: tuple[Caution, ...]
  recognised: bool
  summary: Summary = dataclasses.field(repr=False)
  results: Results = dataclasses.field(repr=False)

  @property
  def table(self) -> pd.DataFrame:
    """Return methods by metrics, as text: mean and 95 % interval."""
    known = [m.name for m in metrics.shown(AUDIT) if self.summary.has(m.name)]
    wide = set(zip(self.intervals["method"], self.intervals["metric"]))

    def shown(method: str, metric: str) -> str:
      cell = self.summary.cell(method, metric)
      return value(cell) if (method, metric) in wide else number(cell.mean)

    cells = {metric: [shown(method, metric) for method in self.summary.order] for metric in known}
    return pd.DataFrame(cells, index=list(self.summary.order))

  def __str__(self) -> str:
    lines = [self.table.to_string(), "", self._sentence()]
    lines += [f"{c.level}: {c.title}. {c.text}" for c in self.cautions]
    return "\n".join(lines)

  def _sentence(self) -> str:
    cell = self.summary.cell(UNLEARNED, "T_strongest")
    if not cell.n:
      return "No model is left to attack."
    found = "recognised" if self.recognised else "not recognised"
    beside = " beyond what retraining leaves" if self.summary.cell("retrained", "FA").n else ""
    return (
      f"Forgotten samples are {found}{beside}: accuracy {value(cell)} of the strongest attack "
      f"({attack_used(self.rows, UNLEARNED)}), T-MIA "
      f"{value(self.summary.cell(UNLEARNED, 'T_MIA'))}; chance 0.5."
    )


def audit(
  *,
  logits: Any,
  labels: Any,
  forget: Any,
  unseen: Any,
  retrained: Any = None,
  original: Any = None,
  retain: Any = None,
  validation: Any = None,
) -> Audit:
  """Attack models through their logits, from any framework, and say what the numbers are worth.

  >>> found = audit(logits=logits, labels=labels, forget=range(0, 500), unseen=range(5000, 6000),
  ...               retrained=logits_of_a_model_trained_without_them)
  >>> print(found)

  The same attacks, intervals and cautions as in the report of a run; all samples without
  augmentation and in eval mode.

  Args:
    logits: of the unlearned model, [N, C], or of K of them (seeds), [K, N, C].
    labels: int [N].
    forget, unseen: indices or masks of the samples that were unlearned, and of samples of the same
      kind that no model ever saw; [K, n] or [K, N] where each of the K models has sets of its own.
    retrained, original: logits of models trained without the forget set, and of those before
      unlearning, shaped like `logits`, or of one model; the k-th of each belong together.
    retain: the other training samples; RetDev and SVC_MIA need them.
    validation: further unseen samples, to choose the strongest attack with. Without them it is
      chosen on the part of `unseen` that does not measure it.

  Raises:
    DataError: arrays that do not belong together, labels outside the classes, sets that overlap,
      or that are too small to be attacked (6 samples).
  """
  given = {"retrained": retrained, "original": original}
  given = {UNLEARNED: logits} | {name: each for name, each in given.items() if each is not None}
  models = {name: _members(name, array) for name, array in given.items()}
  own = models[UNLEARNED]
  for name, array in models.items():
    if array.shape[1:] != own.shape[1:] or len(array) not in (1, len(own)):
      raise DataError(
        f"{name} logits have shape {array.shape}, those of the unlearned model {own.shape}; "
        "expected the same samples and classes, and one model or as many"
      )
  labels = check_labels(own, as_array("labels", labels))
  sets = {"forget": forget, "test": unseen, "retain": retain, "val": validation}
  splits = splits_of(sets, len(labels), len(own))
  measured = {
    name: measure_model(name, array, labels, splits, len(own)) for name, array in models.items()
  }
  return conclude(measured, splits, own.shape[-1])


def conclude(
  measured: Mapping[str, evaluation.Measured],
  splits: Sequence[Any],
  classes: int,
  labels: Mapping[str, str] = LABELS,
) -> Audit:
  """Put measured models beside each other: tables, summary, cautions.

  Args:
    measured: by method, of equal seeds; "retrained" and "original" may be among them.
    splits: of all models, or of each one.
    labels: names for readers, by method.
  """
  rows = {name: found.rows for name, found in measured.items()}
  if "retrained" in rows:
    rows = {name: metrics.derive(found, rows["retrained"]) for name, found in rows.items()}
  tables = comparison.tables(rows, {name: found.influences for name, found in measured.items()})
  frame = pd.DataFrame([row for found in rows.values() for row in found])
  results = _Given(
    rows=frame if frame["passes"].notna().any() else frame.drop(columns="passes"),
    intervals=pd.DataFrame(tables.intervals, columns=list(INTERVAL_COLUMNS)),
    differences=pd.DataFrame(tables.differences, columns=list(comparison.COLUMNS)),
    sizes={name: len(index) for name, index in vars(splits[0]).items()},
    classes=classes,
    own_sets=len(splits) > 1,
    labels=labels,
  )
  summary = summarise(results)
  recognised = bool(found_by(results, summary, UNLEARNED))
  cautions, frames = tuple(find(results, summary)), (results.intervals, results.differences)
  return Audit(results.rows, *frames, cautions, recognised, summary, results)


def _members(name: str, array: Any) -> np.ndarray:
  array = as_array(f"{name} logits", array)
  if array.ndim == 2:
    array = array[None]
  if array.ndim != 3 or not len(array) or not np.issubdtype(array.dtype, np.floating):
    raise DataError(
      f"{name} logits must be floats of shape [N, C] or [K, N, C], got {array.dtype} {array.shape}"
    )
  if array.shape[-1] < 2:
    raise DataError(
      f"{name} logits have one class; expected at least 2: a single score is no logit"
    )
  refuse_probabilities(f"{name} logits", array)
  return array


def measure_model(
  name: str,
  array: np.ndarray,
  labels: np.ndarray,
  splits: Sequence[Any],
  members: int,
  failures: Sequence[str] | None = None,
  passes: float = np.nan,
) -> evaluation.Measured:
  """Measure the models of one method, a row for each of `members` seeds.

  Args:
    array: logits, [members, N, C], or [1, N, C] of one model that serves all.
    splits: as for `conclude`.
    failures, passes: as for `evaluation.measure`.
  """
  failed = lambda seeds: None if failures is None else [failures[k] for k in seeds]
  given = labels, labels
  measured = lambda logits, split, seeds: evaluation.measure(
    logits, *given, split, method=name, seeds=seeds, failed_steps=failed(seeds), passes=passes
  )
  if len(splits) > 1:
    array = np.broadcast_to(array, (members, *array.shape[1:]))
    each = [measured(array[k][None], split, [k]) for k, split in enumerate(splits)]
    return evaluation.Measured(
      [row for one in each for row in one.rows], [i for one in each for i in one.influences]
    )
  found = measured(array, splits[0], range(len(array)))
  if len(array) == members:
    return found
  rows = [found.rows[0] | {"seed": seed} for seed in range(members)]
  return evaluation.Measured(rows, found.influences * members)


def splits_of(sets: Mapping[str, Any], size: int, members: int) -> list[SimpleNamespace]:
  """Return the sets of every model, or those of all of them where none has sets of its own."""
  arrays = {
    name: None if given is None else as_array(_NAMES.get(name, name), given)
    for name, given in sets.items()
  }
  own = {name: array for name, array in arrays.items() if array is not None and array.ndim == 2}
  for name, array in own.items():
    if len(array) != members:
      raise DataError(
        f"{_NAMES.get(name, name)} has shape {array.shape}; expected one row for each of "
        f"{plural(members, 'model')}, or one for all"
      )
  row = lambda name, k: own[name][k] if name in own else arrays[name]
  count = members if own else 1
  return [_split({name: row(name, k) for name in arrays}, size) for k in range(count)]


def _split(sets: Mapping[str, Any], size: int) -> SimpleNamespace:
  """Return index arrays of disjoint sets, empty ones for those that were not given."""
  split = SimpleNamespace(**{name: _index(name, given, size) for name, given in sets.items()})
  seen = np.zeros(size, int)
  for name, index in vars(split).items():
    if len(np.unique(index)) < len(index):
      raise DataError(f"{_NAMES.get(name, name)} names a sample twice; expected each sample once")
    seen[index] += 1
  if (seen > 1).any():
    both = [n for n, index in vars(split).items() if (seen[index] > 1).any()]
    raise DataError(
      f"{listing(_NAMES.get(n, n) for n in both)} share {plural(int((seen > 1).sum()), 'sample')} "
      f"(the first is {int((seen > 1).argmax())}); expected disjoint sets"
    )
  return split


_NAMES = {"test": "unseen", "val": "validation"}


def _index(name: str, given: Any, size: int) -> np.ndarray:
  name = _NAMES.get(name, name)
  if given is None:
    return np.array([], int)
  index = as_array(name, given)
  if index.dtype == bool:
    if index.shape != (size,):
      raise DataError(f"the {name} mask has shape {index.shape}; expected ({size},), as the labels")
    return np.flatnonzero(index)
  if index.ndim != 1 or not (np.issubdtype(index.dtype, np.integer) or not len(index)):
    raise DataError(f"{name} must be indices or a mask, got {index.dtype} {index.shape}")
  if len(index) and not (index.min() >= 0 and index.max() < size):
    raise DataError(
      f"{name} holds indices {index.min()}..{index.max()}; expected 0..{size - 1}, as {size} "
      "samples have logits"
    )
  return index.astype(int)
