"""What everything that is computed has in common: members, trained by a method, in stages.

A study is a value: which stages there are, which tables are made of their record, and the report.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, overload

import numpy as np

from jaxmu.data import Dataset, Facts, Split
from jaxmu.execution.accounting import WHOLE, Span
from jaxmu.report import Report
from jaxmu.settings import Settings
from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.training.method import Method

Row = dict[str, Any]


class Member(NamedTuple):
  """One model before it is an array.

  Attributes:
    at: its coordinates, columns of every row: {"seed": 3}, {"split": 4, "forget": 1}.
    sets: what it trains on, forgets and never sees, positions in the data set.
    hp: complete hyper-parameters.
    key: the seed of its random numbers, then numbers that are folded into it one by one.
    parent: coordinates of the member of the parent stage from which it starts; None: fresh weights.
    given: the file of its weights, "" where it has none.
  """

  at: Mapping[str, int]
  sets: Split
  hp: Mapping[str, Any]
  key: tuple[int, ...]
  parent: Mapping[str, int] | None = None
  given: str = ""


class Stage(NamedTuple):
  """A method applied to members.

  Attributes:
    name: of its folder, its rows, and the random numbers of its members.
    parent: the stage from whose models it starts.
    keep: what is stored of each member: "variables", "logits", "scores", "curves", "metrics", or
      "validation", those metrics that a search reads.
    order_seed: the seed of one batch order for all members; None: each has its own.
    samples: positions whose logits or scores are kept, int [N]; None: all of the data set.
    room: least places of its units, so that stages with fewer members share compiled programs.
    widths: places of the sets that the method reads, where members (also those of other stages
      that share its programs) have sets of different sizes; empty: all have the same.
    frozen: members whose parent failed rest, and have its failure.
    span: the epochs that are run; the method's only phase has them.
    earlier: stages that ran the epochs before, the first one first; its members are the same ones,
      and go on from where they stopped.
  """

  name: str
  method: Method
  members: tuple[Member, ...]
  parent: str | None = None
  keep: frozenset[str] = frozenset({"variables", "logits", "curves"})
  order_seed: int | None = None
  samples: np.ndarray | None = None
  room: int = 0
  widths: Mapping[str, int] = MappingProxyType({})
  frozen: bool = False
  span: Span = WHOLE
  earlier: tuple[str, ...] = ()

  @property
  def stream(self) -> str:
    """The name that gives its members their random numbers."""
    return self.earlier[0] if self.earlier else self.name


class Branch(NamedTuple):
  """Stages of a study that depend on no others but the anchors: those of one method.

  Attributes:
    coordinate, places: which of their members; no places are all of them.
  """

  method: str
  coordinate: str = ""
  places: tuple[int, ...] = ()

  def owns(self, stage: str) -> bool:
    """Tell whether a stage, named METHOD.WHAT, is one of the branch."""
    return stage.partition(".")[0] == self.method and "." in stage

  def has(self, at: Mapping[str, int]) -> bool:
    """Tell whether a member of such a stage is one of the branch."""
    return not self.places or at.get(self.coordinate) in self.places

  def of(self, stage: Stage) -> range:
    """Return the positions of a stage's members, if the stage is the branch's."""
    return range(len(stage.members) if self.owns(stage.name) else 0)


class Outline(NamedTuple):
  """What a study must know of its data to say which members it has.

  Attributes:
    places: where only a part is asked for, seeds or splits of a study whose places do not depend
      on each other; empty for all.
  """

  settings: Settings
  facts: Facts
  num_classes: int
  places: tuple[int, ...] = ()

  def limited(self, places: tuple[int, ...]) -> "Outline":
    """Return the same for some places alone."""
    return self._replace(places=places)

  @property
  def num_train(self) -> int:
    return self.facts.num_train

  @property
  def num_samples(self) -> int:
    return len(self.facts.indices)


class Rows(Sequence[Row]):
  """A finished stage's rows, one per member; looking at them is what makes the stage finish."""

  def __init__(self, finish: Callable[[], list[Row]]):
    self._finish = finish
    self._rows: list[Row] | None = None

  @overload
  def __getitem__(self, index: int) -> Row: ...
  @overload
  def __getitem__(self, index: slice) -> Sequence[Row]: ...
  def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
    return self._known[index]

  def __len__(self) -> int:
    return len(self._known)

  def __iter__(self) -> Iterator[Row]:
    return iter(self._known)

  @property
  def _known(self) -> list[Row]:
    if self._rows is None:
      self._rows = self._finish()
    return self._rows


Stages = Generator[Stage, Rows, None]


class NotKnown(Exception):
  """A study looks at results that are not there yet."""


def unknown(stage: Stage) -> list[Row]:
  """Give no results."""
  raise NotKnown(stage.name)


def known(stages: Stages, rows: Callable[[Stage], list[Row]] = unknown) -> Iterator[Stage]:
  """Yield the stages that a study asks for, as far as they are known.

  Args:
    rows: gives the results of a stage, or raises `NotKnown`.
  """
  try:
    stage = next(stages)
    while True:
      yield stage
      stage = stages.send(Rows(lambda stage=stage: rows(stage)))
  except (StopIteration, NotKnown):
    return


class Finished(NamedTuple):
  """What tables are made of: the record of all stages, and the data behind it."""

  run: Run
  record: Record
  settings: Settings
  dataset: Dataset
  stages: tuple[Stage, ...]

  def stage(self, name: str) -> Stage:
    """Return a stage by its name."""
    return next(stage for stage in self.stages if stage.name == name)


class Study(NamedTuple):
  """What a config asks for, by its entry `study`.

  Attributes:
    stages: a generator of stages. It is sent each stage's rows: a search looks at them before it
      asks for more, a study that knows all its stages does not.
    tables: writes the tables that the report reads.
    report: reads a run and says what it shows.
    about: what a plan says before its table, in lines.
    assumed: rows that a plan takes for those of a stage that is not finished, where the number of
      later members does not depend on them; None: it does, and a plan ends there.
    branches: what can be worked apart, although nobody knows its stages beforehand.
  """

  stages: Callable[[Outline], Stages]
  tables: Callable[[Finished, Callable[[str], None]], None]
  report: Callable[[Run], Report]
  about: Callable[[Outline], list[str]]
  assumed: Callable[[Stage], list[Row]] | None = None
  branches: Callable[[Settings], list[Branch]] | None = None
