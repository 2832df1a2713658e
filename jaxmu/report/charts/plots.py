"""Figures as values: what they show, apart from how it is drawn.

Each has a `name` (that of its file), a `title` and a description in words for those who cannot see
it. Methods are named as in the tables of a run; `marks` say how they look.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxmu.audit.results import Cell


class Axis(NamedTuple):
  """What an axis measures."""

  label: str
  log: bool = False


class Plane(NamedTuple):
  """One marker per method at two numbers, with bars for their intervals.

  `guide` is the method at which dotted lines cross, `cloud` single members [n, 2] by method,
  `hints` what a marker says when it is pointed at.
  """

  name: str
  title: str
  words: str
  x: Axis
  y: Axis
  points: Mapping[str, tuple[Cell, Cell]]
  hints: Mapping[str, str]
  guide: str = ""
  cloud: Mapping[str, np.ndarray] = {}


class Strip(NamedTuple):
  """One line per method: a number with its interval, a second one hollow beneath, and chance.

  `band` is the interval of models that forgot: what success looks like.
  """

  name: str
  title: str
  words: str
  axis: Axis
  cells: Mapping[str, tuple[Cell, Cell]]
  hints: Mapping[str, str]
  chance: float
  band: Cell = Cell()


class Spread(NamedTuple):
  """Every member as a dot, one line per method, over a box from quartile to quartile."""

  name: str
  title: str
  words: str
  axis: Axis
  values: Mapping[str, np.ndarray]
  guide: float


class Ranking(NamedTuple):
  """Methods from the best down: paired differences from the best, and who cannot be told apart.

  `gaps` are differences from the first method, `ranks` mean ranks over members, and each of
  `groups` names a run of neighbours among which no paired difference excludes zero.
  """

  name: str
  title: str
  words: str
  axis: Axis
  gaps: Mapping[str, Cell]
  ranks: Mapping[str, float]
  groups: tuple[tuple[str, ...], ...]
  hints: Mapping[str, str]


class Curve(NamedTuple):
  """A quantity over x with its range; `starts` are places at which something new begins."""

  x: np.ndarray
  y: np.ndarray
  low: np.ndarray
  high: np.ndarray
  starts: tuple[float, ...] = ()


class Lines(NamedTuple):
  """Curves with ranges, one per method, over whole numbers; `small` ones stand in tiles."""

  name: str
  title: str
  words: str
  x: Axis
  y: Axis
  curves: Mapping[str, Curve]
  hints: Mapping[str, str]
  small: bool = False


class Roc(NamedTuple):
  """True- against false-positive rates with logarithmic axes, and a band where it is known.

  Rates below `lowest` rest on too few cases to be drawn; `rates` are marked by lines.
  """

  name: str
  title: str
  words: str
  curves: Mapping[str, Curve]
  hints: Mapping[str, Mapping[float, str]]
  lowest: float
  rates: tuple[float, ...] = ()


class Histogram(NamedTuple):
  """Shares of samples in bins, with those of the retrained models behind."""

  name: str
  title: str
  words: str
  label: str
  method: str
  edges: np.ndarray
  shares: np.ndarray
  noise: np.ndarray | None
  top: float
  chance: float
  guide: float


class Parallel(NamedTuple):
  """Configurations of one method, one line each: `values` [n, axes], `best` bool [n] are dark."""

  name: str
  title: str
  words: str
  method: str
  axes: tuple[Axis, ...]
  values: np.ndarray
  best: np.ndarray


class Grid(NamedTuple):
  """Numbers of methods by column as coloured fields: `values` [methods, columns], about zero.

  `lines` names what stands in the place of the methods, and without `signed` no number has a plus.
  """

  name: str
  title: str
  words: str
  methods: tuple[str, ...]
  columns: tuple[str, ...]
  values: np.ndarray
  label: str
  digits: int = 2
  lines: tuple[str, ...] = ()
  signed: bool = True


Plot = Parallel | Plane | Strip | Spread | Ranking | Lines | Roc | Histogram | Grid
