"""What the report of a search is made of, read once from its run directory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.audit.results import Cell
from jaxmu.audit.summary import over_seeds
from jaxmu.report.marks import Mark, assign
from jaxmu.report.source import RunData, reported_config, timings
from jaxmu.settings import SearchSettings
from jaxmu.settings.choices import GIVEN, REFERENCE, ROBUST
from jaxmu.store import Run, typed_json
from jaxmu.store.records import TunedRecord
from jaxmu.store.run import CONFIG


@dataclass(frozen=True)
class _Config:
  """What the report says of the search itself."""

  methods: tuple[str, ...]
  search: SearchSettings


@dataclass(frozen=True, kw_only=True)
class SearchData(RunData):
  """Everything the report shows.

  Attributes:
    trials: a row per method, seed and trial, with S and its parts.
    checks: a row per method, configuration and seed that was not searched; may be empty.
    importance: share of each hyper-parameter in the spread of S, by method; may be empty.
    tuned: what was chosen, by method.
  """

  methods: tuple[str, ...]
  search: SearchSettings
  trials: pd.DataFrame
  checks: pd.DataFrame
  importance: pd.DataFrame
  tuned: Mapping[str, TunedRecord]

  @property
  def marks(self) -> Mapping[str, Mark]:
    """Label, colour and marker of every method."""
    return assign({name: self.manifest.methods[f"{name}.1"] for name in self.methods})

  @property
  def place(self) -> str:
    """What has a search of its own: the column "seed", or "split" for shadow models."""
    return "split" if self.search.splits else "seed"

  @property
  def places(self) -> tuple[int, ...]:
    """The numbers of the seeds or splits that were searched."""
    return tuple(range(self.search.splits)) if self.search.splits else self.manifest.seeds

  @property
  def best(self) -> str:
    """The rule whose choices are recommended: by the mean over seeds, where there is one."""
    return (
      ROBUST if any(ROBUST in one.hyperparameters for one in self.tuned.values()) else REFERENCE
    )

  def score(self, method: str, choice: str) -> Cell:
    """Return mean S over seeds that were not searched, with its interval."""
    return over_seeds(self._scores(method, choice))

  def gain(self, method: str, choice: str) -> Cell:
    """Return how much lower S is than with the given configuration, paired by seed."""
    return over_seeds(self._scores(method, GIVEN) - self._scores(method, choice))

  def curse(self, method: str) -> float:
    """Return S on fresh seeds of the reference's choice, over the S for which it was chosen."""
    searched = self.tuned[method].searched
    return self.score(method, REFERENCE).mean / searched if searched > 0 else np.nan

  def failed(self, method: str) -> int:
    """Count the trials whose model turned non-finite."""
    own = self.trials[self.trials["method"] == method]
    return int((~np.isfinite(own["S"])).sum())

  def broken(self, method: str, choice: str) -> tuple[int, int]:
    """Count the checked models of a configuration that turned non-finite, and all of them."""
    scores = self._scores(method, choice)
    return int((~np.isfinite(scores)).sum()), len(scores)

  def running(self, method: str) -> np.ndarray:
    """Return the least S so far of every place's search, [places, trials]; inf before the first."""
    own = self.trials[self.trials["method"] == method].sort_values([self.place, "trial"])
    ended = own["S"].where(own["stopped"] == 0, np.inf)  # what others achieved is not theirs yet
    parts = ended.groupby(own[self.place])
    return np.stack([np.minimum.accumulate(part) for _, part in parts])

  def hyperparameters(self, method: str, choice: str) -> Mapping[str, Any] | None:
    """Return a configuration; None where a rule found none, or nothing was compared."""
    if choice != GIVEN:
      return self.tuned[method].hyperparameters.get(choice)
    own = self._of(method, GIVEN)
    return json.loads(own["hyperparameters"].iloc[0]) if len(own) else None

  def _of(self, method: str, choice: str) -> pd.DataFrame:
    table = self.checks
    if not len(table):
      return table
    return table[(table["method"] == method) & (table["choice"] == choice)].sort_values("seed")

  def _scores(self, method: str, choice: str) -> np.ndarray:
    own = self._of(method, choice)
    return own["S"].to_numpy(float) if len(own) else np.empty(0)


def from_run(run: Run) -> SearchData:
  """Read a run; StoreError where something is missing or damaged."""
  config = typed_json.parse(_Config, run.config, run.path / CONFIG)
  table = lambda name: run.table(name) if run.has(f"{name}.parquet") else pd.DataFrame()
  return SearchData(
    config=reported_config(run),
    manifest=run.manifest,
    timings=timings(run),
    methods=config.methods,
    search=config.search,
    trials=_with_stops(run.table("trials")),
    checks=table("checks"),
    importance=table("importance"),
    tuned={name: run.record(TunedRecord, f"tuned-{name}.json") for name in config.methods},
  )


def _with_stops(trials: pd.DataFrame) -> pd.DataFrame:
  """Add what tables do not say that were written before trials could be stopped: none was."""
  return trials if "stopped" in trials else trials.assign(stopped=0)
