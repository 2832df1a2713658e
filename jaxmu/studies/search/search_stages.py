"""The stages of a search: batches of trials, candidates on all seeds, and checks on fresh ones."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxmu import data
from jaxmu.data import Split
from jaxmu.data.rounds import limit
from jaxmu.data.splits import widths
from jaxmu.execution import accounting
from jaxmu.execution.accounting import Span
from jaxmu.search.choice import Trial
from jaxmu.search.sampler import Hp
from jaxmu.search.space import Space
from jaxmu.settings import Settings
from jaxmu.studies import benchmark, ulira
from jaxmu.studies.benchmark.cases import cases
from jaxmu.studies.search import halving
from jaxmu.studies.study import Member, Outline, Stage
from jaxmu.studies.study import Stages as AllStages
from jaxmu.studies.units import LARGEST
from jaxmu.training.method import Method
from jaxmu.unlearning import chosen

AGAIN = "again"
KEPT = frozenset({"validation"})


class Builder:
  """Makes stages of members that start from the original of their place.

  A place is a seed, or the first forget set of a split of shadow models. Its coordinate is the
  first one of a member.

  Attributes:
    splits: of every place, searched or checked, by its number: what trials read, and are attacked
      with.
  """

  def __init__(self, outline: Outline):
    self.settings, self.num_classes = outline.settings, outline.num_classes
    self._only = outline.places
    if count := self.settings.search.splits:
      drawn = ulira.draw(self.settings, outline.facts)
      found = {number: drawn.searched(number, 0) for number in range(count)}
    else:
      every = seeds(self.settings)
      asked = dataclasses.replace(self.settings, seeds=every)
      found = dict(zip(every, data.searched_splits_for(asked, outline.facts)))
    share, seed = self.settings.scenario.retain_share, self.settings.data.split_seed
    self.splits = _each(found, lambda split: limit(split, share, seed))
    # As a benchmark has it, so that both have the same models where they train on the same samples.
    self._trained = _each(found, lambda split: dataclasses.replace(split, val_control=None))

  @property
  def places(self) -> tuple[int, ...]:
    """Numbers of the places that are searched here."""
    every = tuple(self.splits) if self.settings.search.splits else self.settings.seeds
    return tuple(place for place in every if not self._only or place in self._only)

  def sampler_seed(self, place: int) -> int:
    """Return the seed of a place's search: its own, or that of all shadow models."""
    return self.settings.seeds[0] if self.settings.search.splits else place

  def anchors(self) -> AllStages:
    """Yield original and retrained models of every place.

    Raises:
      DataError: a set is too small to be attacked.
    """
    benchmark.check_attackable(self.splits.values())
    found = cases(
      [data.Requested(place, 0, split, (split,)) for place, split in self._trained.items()]
    )
    if not self.settings.search.splits:
      yield from benchmark.anchors(self.settings, found)
      return
    for stage in benchmark.anchors(self.settings, found):
      # As in a U-LiRA study, all begin with the same weights.
      members = tuple(
        member._replace(at={"split": member.at["seed"]}, key=self.settings.seeds)
        for member in stage.members
      )
      yield stage._replace(members=members)

  def batch(self, method: str, number: int, first: int, drawn: Mapping[int, list[Hp]]) -> Stage:
    """Return a batch of trials: those of each place, numbered from `first`."""
    members = [
      self._member({self._coordinate: place, "trial": first + k}, hp)
      for place, trials in drawn.items()
      for k, hp in enumerate(trials)
    ]
    return self._stage(method, str(number), members)

  def spans(self, method: Method) -> tuple[Span, ...]:
    """Return the epochs after which trials of a method are looked at, as spans between looks."""
    space = Space.of(self.settings, method.name)
    hp, sizes = method.hyperparameters({}), next(iter(self.splits.values())).trained_sizes
    options = {"fidelity": self.settings.fidelity, "num_classes": self.num_classes}
    phases = len(accounting.epochs(method, hp, sizes, **options))
    return halving.spans(self.settings.search.rungs, space.longest, phases)

  def again(self, method: str, found: Sequence[Trial]) -> Stage:
    """Return candidates on all seeds of the search, and on further ones."""
    members = [
      self._member({"seed": seed, "found": trial.place, "trial": trial.at["trial"]}, trial.hp)
      for seed in (*self.settings.seeds, *self.settings.search.robust_seeds)
      for trial in found
    ]
    return self._stage(method, AGAIN, members)

  def check(self, method: str, choice: str, hp: Mapping[str, Any]) -> Stage:
    """Return a configuration on seeds that were not searched."""
    members = [self._member({"seed": seed}, hp) for seed in self.settings.search.check_seeds]
    return self._stage(method, choice, members)

  def _member(self, at: Mapping[str, int], hp: Mapping[str, Any]) -> Member:
    place = next(iter(at.values()))
    seeds = self.settings.seeds
    key = (seeds[0], place, 0) if self.settings.search.splits else (place,)
    return Member(at, self.splits[place], hp, key, {self._coordinate: place})

  @property
  def _coordinate(self) -> str:
    return "split" if self.settings.search.splits else "seed"

  def _stage(self, method: str, what: str, members: Sequence[Member]) -> Stage:
    """Order members by work, so that those of a unit end together, and give all stages one room.

    Programs depend on the places of a unit: with room for a whole batch, stages of a method share
    them.
    """
    known = chosen(self.settings, method)
    ordered = sorted(members, key=lambda member: -self._work(known, member))
    asked = self.settings.search
    room = min(LARGEST, min(asked.batch, asked.trials) * len(self.places))
    wide = widths(self.splits.values(), known.needs)
    name = f"{method}.{what}"
    return Stage(name, known, tuple(ordered), "original", KEPT, room=room, widths=wide)

  def _work(self, method: Method, member: Member) -> float:
    options = {"fidelity": self.settings.fidelity, "num_classes": self.num_classes}
    return accounting.work(method, member.hp, member.sets.trained_sizes, **options)[1]


def _each(splits: Mapping[int, Split], change: Callable[[Split], Split]) -> dict[int, Split]:
  """Change the splits of all places; places that share one go on doing so."""
  changed = {split: change(split) for split in set(splits.values())}
  return {place: changed[split] for place, split in splits.items()}


def seeds(settings: Settings) -> tuple[int, ...]:
  """Return the seeds of all models: searched ones, those of candidates, those of checks."""
  return (*settings.seeds, *settings.search.robust_seeds, *settings.search.check_seeds)
