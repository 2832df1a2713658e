"""The figures of a search: how the trials went, and which hyper-parameters made them good."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.audit.text import number
from jaxmu.report.blocks import Block, Drawing, Drawings, Legend, Section, Text
from jaxmu.report.charts.plots import Axis, Curve, Grid, Lines, Parallel
from jaxmu.report.search.search_data import SearchData

TRIALS = (
  "The least S so far, trial by trial: mean over the searched seeds, the shade from the lowest to "
  "the highest. Where it still falls at the right end, more trials would help."
)
IMPORTANCE = (
  "How much of the difference between good and other trials each hyper-parameter accounts for "
  "(PED-ANOVA), 1 for all of it. Empty fields: the method does not have it."
)
PARALLEL = (
  "Every line is a trial, from hyper-parameter to hyper-parameter and S at the right; the best "
  "tenth is dark. Where dark lines gather, good values lie; where they spread over an axis, that "
  "hyper-parameter matters little. Ends of an axis: the least and the largest value drawn."
)
BEST, OTHERS = 0.1, 80  # share of dark trials; the most of all others that are drawn
FEWEST = 5  # trials that are worth a figure
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
  lines = [plot for method in data.methods if (plot := _parallel(data, method))]
  if lines:
    drawn = Drawings(tuple(Drawing(plot, data.label(plot.method)) for plot in lines))
    found.append(Section("Where good trials lie", (Text(PARALLEL, small=True), drawn)))
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


def _parallel(data: SearchData, method: str) -> Parallel | None:
  """Return the ended trials of a method as lines; None where fewer than two things vary."""
  own = data.trials[(data.trials["method"] == method) & (data.trials["stopped"] == 0)]
  own = own[np.isfinite(own["S"])].sort_values("S", kind="stable")
  if len(own) < FEWEST:
    return None
  table = pd.json_normalize([_numbers(json.loads(text)) for text in own["hyperparameters"]])
  table = table[[name for name in table if table[name].nunique() > 1]].assign(S=own["S"].to_numpy())
  dark = max(math.ceil(BEST * len(table)), 1)
  step = max(math.ceil((len(table) - dark) / OTHERS), 1)  # S from the second to the worst
  shown = pd.concat([table[:dark], table[dark::step]])
  if shown.shape[1] < 2:
    return None
  axes = tuple(Axis(name.replace("_", " "), _spans_decades(shown[name])) for name in shown)
  middle = table[:dark].median()
  words = ", ".join(f"{name} {middle[name]:.3g}" for name in table if name != "S")
  return Parallel(
    f"parallel-{method}",
    "Trials by hyper-parameter",
    f"{data.label(method)}, medians of the best tenth: {words}.",
    method,
    axes,
    shown.to_numpy(float),
    np.arange(len(shown)) < dark,
  )


def _numbers(hp: Mapping[str, Any]) -> dict[str, float]:
  """Return what a configuration has of numbers; of several in one, the first."""
  first = {name: value[0] if isinstance(value, list) else value for name, value in hp.items()}
  return {name: value for name, value in first.items() if isinstance(value, int | float)}


def _spans_decades(values: pd.Series) -> bool:
  return bool(values.min() > 0 and values.max() / values.min() > 30)
