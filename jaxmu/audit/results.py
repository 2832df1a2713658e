"""What judgements read: the tables of a benchmark and of a study, wherever they come from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

REFERENCES = ("retrained", "original")
LEVEL = 0.95
INTERVAL_COLUMNS = ("method", "metric", "value", "low", "high")
DIFFERENCE_COLUMNS = ("metric", "method", "other", "value", "low", "high")
SAMPLE_NUMBERS = (
  *("sample", "label", "accuracy", "n_forgotten", "n_never", "score_forgotten", "score_never"),
  *("confirmed", "exposed"),
)
FORGOTTEN, RETAINED, TRAINED, MODEL = "forgotten", "retained", "trained", "model"
UPDATE, VULNERABLE, PROTECTED = "update", "vulnerable", "protected"
QUESTIONS = (FORGOTTEN, RETAINED, TRAINED, UPDATE, VULNERABLE, PROTECTED, MODEL)


class Cell(NamedTuple):
  """One metric of one method over seeds.

  `low` and `high` bound the interval over seeds and samples, where the metric is a mean over
  samples; `seeds_low` and `seeds_high` that over seeds alone, the spread over initialisations.
  """

  n: int = 0
  mean: float = math.nan
  sd: float = math.nan
  median: float = math.nan
  q25: float = math.nan
  q75: float = math.nan
  low: float = math.nan
  high: float = math.nan
  seeds_low: float = math.nan
  seeds_high: float = math.nan

  @property
  def has_interval(self) -> bool:
    return self.n > 0 and math.isfinite(self.low) and math.isfinite(self.high)

  @property
  def bounds(self) -> tuple[float, float]:
    """The interval, or the mean twice where there is none."""
    return (self.low, self.high) if self.has_interval else (self.mean, self.mean)

  def above(self, bar: float) -> bool:
    """Tell whether the whole interval lies above `bar`."""
    return self.has_interval and self.low > bar

  def below(self, bar: float) -> bool:
    """Tell whether the whole interval lies below `bar`."""
    return self.has_interval and self.high < bar

  def off(self, bar: float) -> bool:
    """Tell whether there is an interval and `bar` is not in it."""
    return self.above(bar) or self.below(bar)


def cells(statistics: Mapping[tuple, tuple[float, float, float]], n: int) -> dict[tuple, Cell]:
  """Return (value, low, high) by key as cells; values that are not finite are as good as absent."""
  return {
    key: Cell(n, value, low=low, high=high) if math.isfinite(value) else Cell()
    for key, (value, low, high) in statistics.items()
  }


def empty(columns: Sequence[str]) -> pd.DataFrame:
  """Return a table of these columns without rows."""
  return pd.DataFrame({name: [] for name in columns})


class Described:
  """What is known about a run beside its numbers; nothing, unless a subclass knows."""

  @property
  def chance(self) -> float:
    """Accuracy of guessing; NaN where unknown."""
    return math.nan

  @property
  def random_labels(self) -> float:
    """Share of all samples that were given a random label, in [0, 1]."""
    return 0.0

  def label(self, method: str) -> str:
    """Return a method's name for readers."""
    return method

  def clock(self, method: str) -> str:
    """Say how long the models of a method took, where that is known: " (3.2 s)"."""
    return ""

  def needs(self, method: str) -> tuple[str, ...]:
    """Name the sets that a method may touch."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Results(Described):
  """A benchmark: rows of `metrics.derive`, tables of `comparison.tables`.

  Where there is no interval over samples, that over seeds stands in its place.

  Attributes:
    rows: one for each method and seed.
    members: one for each model, where seeds have several forget sets; None: the same.
  """

  rows: pd.DataFrame
  members: pd.DataFrame | None = None
  intervals: pd.DataFrame = field(default_factory=lambda: empty(INTERVAL_COLUMNS))
  differences: pd.DataFrame = field(default_factory=lambda: empty(DIFFERENCE_COLUMNS))

  @property
  def every(self) -> pd.DataFrame:
    """A row for each model."""
    return self.rows if self.members is None else self.members

  @property
  def bootstrap(self) -> int:
    """How often seeds are resampled."""
    return 2000

  @property
  def test_metric(self) -> str:
    """The column shown as test accuracy.

    Of the classes that stay, where some are forgotten entirely; of clean labels, where some labels
    are random.
    """
    if self._has("TA_kept"):
      return "TA_kept"
    return "TA_clean" if self.random_labels > 0 and "TA_clean" in self.rows else "TA"

  @property
  def deviation(self) -> str:
    """The column that says how far a method is from retraining.

    Ratios of accuracies, unless classes are forgotten entirely, of which retrained models know
    nothing, or no ratio exists: then differences.
    """
    ratios = self._has("RetDev") and not self._has("TA_kept")
    return "RetDev" if ratios or not self._has("gap") else "gap"

  def _has(self, column: str) -> bool:
    return column in self.rows and bool(self.rows[column].notna().any())

  @property
  def unseen(self) -> int:
    """How many samples attacks compare with the forget set; 0 where that is not known."""
    sizes = self.split_sizes
    return int(sizes.get("control", sizes.get("test", 0)))

  @property
  def draws(self) -> int:
    """How many forget sets each seed has."""
    return int(self.every["draw"].nunique()) if "draw" in self.every else 1

  @property
  def last_round(self) -> int:
    """After which round of a request these results are; 0 where it comes at once."""
    return int(self.every["round"].max()) if "round" in self.every else 0

  @property
  def seeds(self) -> list[int]:
    return sorted(int(seed) for seed in self.rows["seed"].unique())

  @property
  def split_per_seed(self) -> bool:
    """Whether every seed has a split of its own."""
    return False

  @property
  def split_sizes(self) -> Mapping[str, int]:
    """Samples by set; empty where unknown."""
    return {}


@dataclass(frozen=True, kw_only=True)
class StudyResults(Described):
  """A study of shadow models: statistics by (method, question, statistic), samples by method."""

  cells: Mapping[tuple[str, str, str], Cell]
  samples: Mapping[str, pd.DataFrame]
  study: Mapping[str, Any]

  def cell(self, method: str, statistic: str, question: str = FORGOTTEN) -> Cell:
    """Return a statistic; an empty cell where there is none."""
    return self.cells.get((method, question, statistic), Cell())

  @property
  def order(self) -> tuple[str, ...]:
    """The methods as the tables have them: retrained, original, then the least exposed first."""
    present = list(dict.fromkeys(method for method, _, _ in self.cells))

    def key(name: str) -> tuple[bool, float, str]:
      value = self.cell(name, "accuracy").mean
      return (math.isnan(value), 0.0 if math.isnan(value) else value, name)

    methods = sorted((name for name in present if name not in REFERENCES), key=key)
    return (*(name for name in REFERENCES if name in present), *methods)

  @property
  def unlearners(self) -> tuple[str, ...]:
    """The unlearning methods: the order without retrained and original."""
    return tuple(name for name in self.order if name not in REFERENCES)

  def attacked(self, method: str) -> pd.DataFrame:
    """Return the samples of a method that were attacked; empty where there is none."""
    table = self.samples.get(method)
    if table is None:
      return pd.DataFrame({name: [] for name in SAMPLE_NUMBERS}, dtype=float)
    return table[np.isfinite(table["accuracy"])]

  def models(self, method: str) -> int:
    """Return how many models of a method there are, failed ones included."""
    return int(self.study.get("originals", 0) if method == "original" else self.study["models"])

  def failed(self, method: str) -> int:
    """Return how many models of a method diverged and were left out."""
    return int((self.study.get("failed") or {}).get(method, 0))
