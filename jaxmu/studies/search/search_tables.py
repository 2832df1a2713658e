"""The tables of a search: every trial, what was chosen, and what that gives on fresh seeds."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxmu.audit.intervals import over_members
from jaxmu.search import choice
from jaxmu.search.choice import Trial
from jaxmu.search.space import Space
from jaxmu.settings.choices import GIVEN, REFERENCE, ROBUST, RULES
from jaxmu.store.records import CheckedScore, TunedRecord
from jaxmu.studies.search import importance
from jaxmu.studies.search.judged import judged
from jaxmu.studies.search.search_stages import AGAIN
from jaxmu.studies.study import Finished, Row, Stage

PARTS = ("RA", "FA", "VA", "V_MIA")
CHECKED = (GIVEN, *RULES)


def write(finished: Finished, say: Callable[[str], None]) -> None:
  """Write trials, again, checks and importance.parquet, and tuned-METHOD.json of each method."""
  del say
  read = _Reader(finished)
  tables: dict[str, list[Row]] = {"trials": [], "again": [], "checks": [], "importance": []}
  for method in finished.settings.methods:
    trials, again = read.trials(method), read.stage(f"{method}.{AGAIN}")
    tables["trials"] += [row | {"method": method} for _, row in trials]
    tables["again"] += [row | {"method": method} for _, row in again]
    checks: dict[str, list[Trial]] = {}
    for name in CHECKED:
      found = read.stage(f"{method}.{name}")
      tables["checks"] += [row | {"method": method, "choice": name} for _, row in found]
      checks[name] = [trial for trial, _ in found]
    tables["importance"] += [
      {"method": method, "hyperparameter": name, "importance": value}
      for name, value in importance.of(
        Space.of(finished.settings, method), [trial for trial, _ in trials]
      )
    ]
    record = _tuned(finished, method, [t for t, _ in trials], [t for t, _ in again], checks)
    finished.run.write_json(f"tuned-{method}.json", record)
  for name, rows in tables.items():
    if rows:
      finished.run.write_table(name, rows, ("method", "choice", "seed", "split", "trial"))
  costs = {stage.name: finished.record.cost(stage.name) for stage in finished.stages}
  finished.run.write_json("timings.json", costs)


class _Reader:
  """Reads what the members of stages achieved, beside their rows."""

  def __init__(self, finished: Finished):
    self.record = finished.record
    self.stages = {stage.name: stage for stage in finished.stages}
    self.retrained = self.record.rows("retrained")

  def trials(self, method: str) -> list[tuple[Trial, Row]]:
    """Return the trials of a method, batch after batch, each as it was last looked at."""
    return [pair for parts in self._batches(method) for pair in self._last(parts)]

  def stage(self, name: str) -> list[tuple[Trial, Row]]:
    """Return the members of a stage in the order of their coordinates; none where it is absent."""
    if name not in self.stages:
      return []
    stage, rows = self.stages[name], self.record.rows(name)
    found = {tuple(t.at.values()): t for t in judged(stage, rows, self.retrained)}
    order = {tuple(m.at.values()): row for m, row in zip(stage.members, rows, strict=True)}
    return [(trial, _row(trial, order[place])) for place, trial in found.items()]

  def _last(self, parts: Sequence[Stage]) -> list[tuple[Trial, Row]]:
    """Return the trials of a batch; the work of all its parts is theirs."""
    found: dict[tuple[int, ...], tuple[Trial, Row]] = {}
    for part in parts:
      for trial, row in self.stage(part.name):
        place = tuple(trial.at.values())
        before = found[place][1]["passes"] if place in found else 0.0
        found[place] = trial, row | {"passes": before + row["passes"]}
    return list(found.values())

  def _batches(self, method: str) -> Iterator[list[Stage]]:
    """Yield the stages of each batch: more than one where trials are looked at in between."""
    number = 1
    while (name := f"{method}.{number}") in self.stages:
      parts = [each for key, each in self.stages.items() if key.startswith(f"{name}.")]
      yield [self.stages[name], *parts]
      number += 1


def _row(trial: Trial, row: Row) -> Row:
  values = {f"v{k + 1}": float(value) for k, value in enumerate(trial.values)}
  measured = {name: row[name] for name in (*PARTS, "finite", "failed_steps", "passes")}
  hp = json.dumps(trial.hp, sort_keys=True)
  ended = {"S": trial.score, "stopped": trial.stopped}
  return {**trial.at, **ended, **values, **measured, "hyperparameters": hp}


def _tuned(
  finished: Finished,
  method: str,
  trials: Sequence[Trial],
  again: Sequence[Trial],
  checks: dict[str, list[Trial]],
) -> TunedRecord:
  """Say what either rule chooses for a method, and what it gives on fresh seeds."""
  chosen: dict[str, Any] = {REFERENCE: choice.reference(trials), ROBUST: choice.robust(again)}
  best, manifest = choice.best(trials), finished.run.manifest
  return TunedRecord(
    method=method,
    dataset=finished.settings.dataset,
    network=finished.settings.model.name,
    hyperparameters={name: dict(hp) for name, hp in chosen.items() if hp is not None},
    searched=best[0].score if best else float("nan"),
    checked={name: checked(own) for name, own in checks.items() if own},
    trials=len(trials),
    seeds=finished.settings.seeds,
    search=finished.run.path.name,
    date=manifest.date,
    versions=dict(manifest.versions),
  )


def checked(trials: Sequence[Trial]) -> CheckedScore:
  """Return mean S over the models that are finite, and how many are not."""
  scores = np.array([trial.score for trial in trials])
  sound = int(np.isfinite(scores).sum())
  return CheckedScore(sound, *over_members(scores), failed=len(scores) - sound)
