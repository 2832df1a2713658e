"""The figures of a search: how the trials went, and which hyper-parameters made them good."""

import numpy as np

from jaxmu.audit.text import number
from jaxmu.report.blocks import Block, Drawing, Drawings, Legend, Section, Text
from jaxmu.report.charts.plots import Axis, Curve, Grid, Lines
from jaxmu.report.search.search_data import SearchData

TRIALS = (
  "The least S so far, trial by trial: mean over the searched seeds, the shade from the lowest to "
  "the highest. Where it still falls at the right end, more trials would help."
)
IMPORTANCE = (
  "How much of the difference between good and other trials each hyper-parameter accounts for "
  "(PED-ANOVA), 1 for all of it. Empty fields: the method does not have it."
)
COMMON = ("learning_rate", "weight_decay", "batch_size", "num_epochs")


def figures(data: SearchData) -> Section:
  """Return the section of figures."""
  runs = {method: data.running(method) for method in data.methods}
  tiles = tuple(Drawing(_line(data, m, each), data.label(m)) for m, each in runs.items())
  found: list[Block] = [
    Legend(data.methods),
    Section("S against trial", (Text(TRIALS, small=True), Drawings(tiles, small=True))),
  ]
  if len(data.importance):
    drawn = Drawings((Drawing(_importance(data)),))
    found.append(Section("Which hyper-parameters matter", (Text(IMPORTANCE, small=True), drawn)))
  return Section("Figures", tuple(found), "figures", page_only=True)


def _line(data: SearchData, method: str, runs: np.ndarray) -> Lines:
  finite = np.where(np.isfinite(runs), runs, np.nan)
  known = np.isfinite(finite).all(0)
  x = np.arange(1, runs.shape[1] + 1)[known]
  y, low, high = finite.mean(0)[known], finite.min(0)[known], finite.max(0)[known]
  words = f"{data.label(method)}: from {number(y[0])} to {number(y[-1])}." if len(y) else ""
  axes = Axis("trial"), Axis("least S", True)
  curve = {method: Curve(x, y, low, high)} if len(y) else {}
  hints = {method: words}
  return Lines(f"trials-{method}", "Least S so far", words, *axes, curve, hints, small=True)


def _importance(data: SearchData) -> Grid:
  table = data.importance.pivot(index="method", columns="hyperparameter", values="importance")
  own = table.drop(columns=[name for name in COMMON if name in table])
  shown = table[[name for name in COMMON if name in table]].assign(own=own.sum(axis=1))
  if not own.shape[1]:
    shown = shown.drop(columns="own")
  shown = shown.reindex([m for m in data.methods if m in shown.index])
  words = "; ".join(f"{data.label(m)}: {row.idxmax()}" for m, row in shown.iterrows())
  columns = tuple(name.replace("_", " ") for name in shown.columns)
  return Grid(
    "importance",
    "Importance of hyper-parameters",
    f"Most important: {words}.",
    tuple(shown.index),
    columns,
    shown.to_numpy(float),
    "importance",
  )
