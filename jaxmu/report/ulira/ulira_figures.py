"""Every figure of a U-LiRA study, and what to look for in it."""

import math

import numpy as np
import pandas as pd

from jaxmu.audit.attacks.exposure import ABOVE
from jaxmu.audit.results import RETAINED, Cell
from jaxmu.audit.study.study_statistics import ACCURACY, NET, POPULATION
from jaxmu.audit.text import number
from jaxmu.report import figures
from jaxmu.report.blocks import Drawing
from jaxmu.report.charts.plots import Curve, Histogram, Roc
from jaxmu.report.ulira.ulira_data import StudyData

BINS = 30
LOWEST = 1e-5  # rates below rest on too few pairs to be drawn


def attack(data: StudyData) -> tuple[Drawing, ...]:
  """Return figures of all samples together."""
  found = []
  pair = lambda name: (data.cell(name, ACCURACY.name), data.cell(name, POPULATION.name))
  cells = {name: pair(name) for name in data.order}
  if any(first.n for first, _ in cells.values()):
    title = "Accuracy of U-LiRA per method; one half is chance"
    caption = (
      "Filled: U-LiRA with its interval; hollow: the population attack. The line is chance, the "
      "band the interval of the retrained models. Between filled and hollow lies what one "
      "threshold for all samples does not see."
    )
    plot = figures.strip("accuracy", title, "U-LiRA", "attack accuracy", cells, data.label, 0.5)
    found.append(Drawing(plot, caption))
  if any(name in data.roc for name in data.order):
    caption = (
      "How many forgotten cases are recognised (up) at how many wrong accusations (right). The "
      "diagonal is guessing; the dotted lines are false alarms of 1 % and 0.1 %. Left is what "
      "counts: an attacker who is seldom wrong."
    )
    found.append(Drawing(roc(data), caption))
  return tuple(found)


def retained(data: StudyData) -> tuple[Drawing, ...]:
  """Return the figure of samples that stay."""
  cells = {name: (data.cell(name, NET.name, RETAINED), Cell()) for name in data.order}
  if not any(first.n for first, _ in cells.values()):
    return ()
  title = "Retained samples more exposed than before, net; 0 is chance"
  caption = (
    "Share of retained samples that are attacked better after unlearning than before, minus the "
    "share attacked worse. Right of the line, forgetting some samples exposed others."
  )
  axis = "more minus less exposed"
  return (
    Drawing(figures.strip("retained", title, "net share", axis, cells, data.label, 0.0), caption),
  )


def roc(data: StudyData) -> Roc:
  """Make curves of what an attacker gets who must not accuse wrongly, with bands over splits."""
  found = {name: _curve(data.roc[name]) for name in data.order if name in data.roc}
  return figures.roc("U-LiRA", found, data.label, LOWEST)


def _curve(table: pd.DataFrame) -> Curve:
  unknown = pd.Series(np.nan, table.index)
  columns = (table.get(key, unknown) for key in ("fpr", "tpr", "low", "high"))
  return Curve(*(column.to_numpy(float) for column in columns))


def samples(data: StudyData) -> tuple[Drawing, ...]:
  """Return a histogram per method of how often the attack is right on each sample.

  All have the same scales, and the one of the retrained models behind them.
  """
  found = {n: data.attacked(n)["accuracy"].to_numpy(float) for n in data.order}
  found = {name: values for name, values in found.items() if len(values)}
  if not found:
    return ()
  bins = edges(np.concatenate(list(found.values())))
  shares = {name: share(values, bins) for name, values in found.items()}
  top, noise = 1.05 * max(values.max() for values in shares.values()), shares.get("retrained")
  drawn = []
  for name, values in found.items():
    middle, above = (number(float(v)) for v in (np.median(values), (values > ABOVE).mean()))
    label = data.label(name)
    plot = Histogram(
      f"samples-{name}",
      f"{label}: attack accuracy per sample",
      f"Median {middle}, share above {ABOVE} {above}.",
      f"{label}: share of samples",
      name,
      bins,
      shares[name],
      noise,
      top,
      0.5,
      ABOVE,
    )
    drawn.append(Drawing(plot, f"{label}: {len(values):,} samples"))
  return tuple(drawn)


def share(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """Return the share of the values in each bin; values outside count in the outer bins."""
  inside = np.clip(values, edges[0], edges[-1])
  return np.histogram(inside, edges)[0] / len(values)


def edges(values: np.ndarray) -> np.ndarray:
  """Return bins that hold all but one sample in a thousand on each side, and one half."""
  low, high = np.quantile(values, (0.001, 0.999))
  low, high = min(low, 0.45), max(high, ABOVE + 0.05)
  return np.linspace(math.floor(20 * low) / 20, math.ceil(20 * high) / 20, BINS + 1)
