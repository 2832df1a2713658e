"""What a metric is: a number of a model, how it is measured, and what it is worth in words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxmu.audit.intervals import EXACT, Fitting

# What a metric is computed from; see `Metric.of`.
LOGITS, ROWS, PARAMETERS, COST = "logits", "rows", "parameters", "cost"
# Tables: of a report the main one, further metrics, distances and members; what `audit` prints.
MAIN, DETAIL, DISTANCES, MEMBERS, AUDIT = "main", "detail", "distances", "members", "audit"
EVERY, RETRAINED = "every", "retrained"
AS_RETRAINED = "as retrained"


@dataclass(frozen=True, eq=False)
class Number:
  """A number of a report in words.

  Attributes:
    name: its column, or its key in a table of statistics.
    label: its name for readers.
    ideal: the value that perfect unlearning has.
    explanation: what it is, beneath a table.
    limits: what it cannot tell.
  """

  name: str
  label: str = ""
  ideal: str = ""
  explanation: str = ""
  limits: str = ""


@dataclass(frozen=True, eq=False)
class Metric(Number):
  """A column of rows.parquet: how it is measured, compared and shown.

  Attributes:
    title: its meaning in one line of Markdown, for the table in docs/runs.md.
    reads: what `of` is given. LOGITS: the `evidence.Evidence` of one finite member. COST: the same,
      of failed members, too. ROWS: two mappings of columns, of a model and of the retrained model
      of the same seed, as numbers or as arrays of them; columns that stand earlier in the registry
      are in the first. PARAMETERS: the `distances.Parameters` of all members of a stage.
    of: returns the value of the one model, or [K] values of the stage; NaN where it has none.
    needs: what must be there, else there is no value. LOGITS: sets that may not be empty; ROWS:
      columns that are read; PARAMETERS: other populations ("original", "retrained").
    influence: how much each sample moves the value, [N] summing to zero, or None; without it there
      is no interval over samples. Of LOGITS: given the evidence. Of ROWS: given influences and row
      of the model, then those of the retrained model; the former are empty where it failed.
    word: the value is a word, which is shown beside numbers and never averaged.
    tables: the tables in which it stands, each with its place there; equal places are taken in the
      order of the registry.
    better: "low" or "high" where methods can be ranked by it, else "".
    paired: whose differences get an interval: EVERY two methods, each and the RETRAINED models, "".
    most: the largest value that it can have.
    chance: the value of an attack that guesses.
    fitting: what fitting by cross-validation adds to its variance.
    of_means: reports show the variant that averages accuracies first, too.
  """

  title: str = field(kw_only=True)
  reads: str = field(kw_only=True)
  of: Callable[..., Any] = field(kw_only=True, repr=False)
  needs: tuple[str, ...] = field(default=(), kw_only=True)
  influence: Callable[..., Any] | None = field(default=None, kw_only=True, repr=False)
  word: bool = field(default=False, kw_only=True)
  tables: Mapping[str, int] = field(default_factory=dict, kw_only=True)
  better: str = field(default="", kw_only=True)
  paired: str = field(default="", kw_only=True)
  most: float = field(default=math.inf, kw_only=True)
  chance: float = field(default=math.nan, kw_only=True)
  fitting: Fitting = field(default=EXACT, kw_only=True)
  of_means: bool = field(default=False, kw_only=True)

  @property
  def none(self) -> float | str:
    """The value of a model that has none."""
    return "" if self.word else math.nan
