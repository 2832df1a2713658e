"""Trials on a caller's model: configurations x seeds as populations, and what each is worth."""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from jaxmu.api.checked_call import Call
from jaxmu.audit import member_row
from jaxmu.audit.formulas import search_objective
from jaxmu.execution import fitting, predictions
from jaxmu.search.choice import Trial

SETS = ("retain", "forget", "val")  # whatever a method needs, a trial is judged by these
NUMBERS = ("RA", "FA", "VA", "V_MIA")
Row = Mapping[str, float]


class Judged(NamedTuple):
  """One configuration on all seeds.

  Attributes:
    trials: one for each seed, with the values of the objective.
    rows: accuracies and attack of each seed's model.
    failed: seeds that turned non-finite.
  """

  trials: tuple[Trial, ...]
  rows: tuple[Row, ...]
  failed: int

  @property
  def values(self) -> np.ndarray:
    """The four values of the objective, means over seeds; inf where one failed."""
    return np.mean([trial.values for trial in self.trials], axis=0)

  @property
  def score(self) -> float:
    """Mean S over seeds."""
    return float(np.mean([trial.score for trial in self.trials]))


class Judge:
  """Runs configurations on the models of a call, and compares each with a retrained model."""

  def __init__(self, call: Call, fidelity: str | None, progress: bool):
    """Begin; the call's samples are laid out for all of `SETS`."""
    self.call, self.fidelity, self.progress = call, fidelity, progress
    self._labels = np.asarray(call.problem.arrays.labels)
    places = {name: call.problem.index[name][0] for name in SETS}
    none = np.zeros(0, int)
    self._split = SimpleNamespace(**places, test=none, val_unseen=places["val"])
    self.retrained: list[Row] = []

  @property
  def seeds(self) -> tuple[int, ...]:
    return self.call.starts.seeds

  def rows(self, variables: Any, count: int) -> list[Row]:
    """Measure models, leaves [count, ...], on all sets.

    Raises:
      DataError: a set is too small to be attacked.
    """
    population = fitting.laid_out(self.call.problem, count).population
    return self._measure(
      predictions.logits(population, self.call.task, self.call.problem.arrays, variables)
    )

  def run(self, drawn: Sequence[Mapping[str, Any]], first: int, room: int = 0) -> list[Judged]:
    """Run configurations on all seeds.

    Args:
      drawn: complete hyper-parameters of each.
      first: number of the first trial.
      room: trials that later calls may have.
    """
    call, count = self.call, len(self.seeds)
    seed_of = lambda members: [k % count for k in members]
    members = len(drawn) * count
    watch = call.watch(self.progress, f"{call.method.name}, {len(drawn)} trials", members)
    found: dict[int, tuple[Row, bool]] = {}
    with watch:
      groups = fitting.run(
        call.method,
        call.problem,
        lambda some: call.starts.variables(seed_of(some)),
        hp=[hp for hp in drawn for _ in range(count)],
        keys=call.starts.keys[np.array(seed_of(range(members)))],
        fidelity=self.fidelity,
        room=room * count,
        on_leg=lambda some, leg: watch.leg(leg, some),
        on_compile=watch.compiling,
      )
      for group in groups:
        logits = predictions.logits(
          group.problem.population, call.task, group.problem.arrays, group.outcome.variables
        )
        for place, (k, row) in enumerate(zip(group.members, self._measure(logits))):
          lost = bool(group.outcome.failures[place]) or not np.isfinite(logits[place]).all()
          found[k] = dict.fromkeys(NUMBERS, math.nan) if lost else row, lost
    each = [[found[t * count + k] for k in range(count)] for t in range(len(drawn))]
    return [self._judged(first + t, hp, own) for t, (hp, own) in enumerate(zip(drawn, each))]

  def worth(self, rows: Sequence[Row]) -> list[np.ndarray]:
    """Return the four values of each seed's model beside the retrained one."""
    return [search_objective(*pair) for pair in zip(rows, self.retrained, strict=True)]

  def _judged(self, number: int, hp: Mapping[str, Any], own: Sequence[tuple[Row, bool]]) -> Judged:
    rows = tuple(row for row, _ in own)
    none = np.full(4, np.inf)
    values = [none if lost else v for (_, lost), v in zip(own, self.worth(rows))]
    trials = tuple(
      Trial({"seed": seed, "found": 0, "trial": number}, hp, each)
      for seed, each in zip(self.seeds, values)
    )
    return Judged(trials, rows, sum(lost for _, lost in own))

  def _measure(self, logits: np.ndarray) -> list[Row]:
    each = [member_row.accuracies(own, self._labels, self._split) for own in logits]
    attacked = member_row.validation(logits, self._labels, [self._split] * len(logits))
    return [row | {"V_MIA": attack} for row, attack in zip(each, attacked)]
