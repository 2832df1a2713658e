"""Every figure of a benchmark, and what to look for in it."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from jaxmu.audit.metrics import METRICS
from jaxmu.audit.rules import destroyed
from jaxmu.audit.summary import retraining_floor
from jaxmu.audit.text import factor, interval, listing, number
from jaxmu.report import figures
from jaxmu.report.benchmark.benchmark_data import Judged
from jaxmu.report.blocks import Drawing
from jaxmu.report.charts.plots import Axis, Curve, Lines, Plane, Spread, Strip

INDISC = Axis("Indisc (1 is ideal)")
RTE = Axis("RTE, times cheaper than retraining (log scale)", log=True)
_QUANTITIES = {"loss": "training loss", "accuracy": "training accuracy"}


def comparison(judged: Judged) -> tuple[Drawing, ...]:
  """Return figures of quality and cost."""
  shown, left_out = without_outliers(judged)
  deviation, axis = judged.data.deviation, _deviation(judged)
  found = [
    Drawing(
      plane(judged, "deviation-indiscernibility", (deviation, axis), ("Indisc", INDISC), shown),
      _plane_caption(judged, left_out),
    ),
    Drawing(
      _attack(judged),
      "Filled: the strongest attack with its interval; hollow: T-MIA, one threshold on the loss. "
      "The line is chance, the band the interval of the retrained models. Where hollow and filled "
      "lie apart, T-MIA misses what another attack sees; left of the line is a signal, too.",
    ),
  ]
  if judged.summary.methods:
    speed, quality = ("RTE_work", RTE), {deviation: axis, "Indisc": INDISC}
    captions = {
      deviation: "Best is bottom right: cheap and close to retraining, which itself has RTE 1.",
      "Indisc": "Best is top right: cheap and hard to attack.",
    }
    names = {deviation: "deviation-speed", "Indisc": "indiscernibility-speed"}
    found += [
      Drawing(plane(judged, names[key], speed, (key, axis), shown), captions[key])
      for key, axis in quality.items()
    ]
  return tuple(found)


def _deviation(judged: Judged) -> Axis:
  return Axis(f"{METRICS[judged.data.deviation].label} (0 is ideal)")


def seeds(judged: Judged) -> tuple[Drawing, ...]:
  """Return a figure of every seed for the numbers that matter most."""
  data, summary = judged.data, judged.summary
  shown, _ = without_outliers(judged)
  test = "test accuracy" + (", clean labels" if data.random_labels > 0 else "")
  wanted = {"FA": "forget accuracy", data.test_metric: test, "T_MIA": "T-MIA"}
  wanted |= {data.deviation: METRICS[data.deviation].label}
  return tuple(
    Drawing(_spread(judged, shown, metric, label))
    for metric, label in wanted.items()
    if summary.has(metric)
  )


def training(judged: Judged, methods: Iterable[str]) -> tuple[Drawing, ...]:
  """Return curves of original and retrained training."""
  names = with_curves(judged.data.curves, methods)
  return tuple(Drawing(lines(judged, names, q, "training")) for q in _QUANTITIES if names)


def unlearning(judged: Judged) -> tuple[Drawing, ...]:
  """Return small curves of every method."""
  return tuple(
    Drawing(lines(judged, [name], quantity, f"unlearning-{name}", small=True))
    for name in with_curves(judged.data.curves, judged.summary.methods)
    for quantity in _QUANTITIES
  )


def without_outliers(judged: Judged) -> tuple[list[str], list[str]]:
  """Split the methods into those drawn and those left out of the plane of deviation and Indisc.

  Left out: methods that destroyed the model, and those more than four times as far from retraining
  as the farthest of the better half.
  """
  summary, metric = judged.summary, judged.data.deviation
  values = sorted(
    v for v in (summary.cell(name, metric).mean for name in summary.methods) if math.isfinite(v)
  )
  limit = 4 * values[(len(values) - 1) // 2] if values else math.inf
  far = lambda name: summary.cell(name, metric).mean > max(limit, 0.2)
  broken = destroyed(judged.cautions)
  out = [name for name in summary.methods if name in broken or far(name)]
  return [name for name in summary.order if name not in out], out


def plane(judged: Judged, name: str, x: tuple[str, Axis], y: tuple[str, Axis], shown) -> Plane:
  """Place methods by the means of two metrics; doing nothing has no speed."""
  summary, (x_metric, x_axis), (y_metric, y_axis) = judged.summary, x, y
  points = {n: (summary.cell(n, x_metric), summary.cell(n, y_metric)) for n in shown}
  if x_axis.log:
    points = {n: p for n, p in points.items() if n != "original" and p[0].mean > 0}
  points = {n: p for n, p in points.items() if all(math.isfinite(one.mean) for one in p)}
  label, axes = judged.data.label, f"{x_metric} and {y_metric}".replace("RTE_work", "RTE")
  words = "; ".join(
    f"{label(n)} {number(a.mean)} and {number(b.mean)}" for n, (a, b) in points.items()
  )
  return Plane(
    name,
    f"{y_metric} against {x_metric}".replace("RTE_work", "RTE"),
    f"{axes} per method: {words}.",
    x_axis,
    y_axis,
    points,
    {n: _hint(judged, n) for n in points},
    guide="retrained",
  )


def _hint(judged: Judged, name: str) -> str:
  summary = judged.summary
  cells = [(metric, summary.cell(name, metric)) for metric in (judged.data.deviation, "Indisc")]
  words = [f"{METRICS[metric].label} {number(c.mean)} {interval(c)}".strip() for metric, c in cells]
  speed = "" if name == "original" else f", RTE {factor(summary.cell(name, 'RTE_work').mean)}"
  return f"{judged.data.label(name)}: {', '.join(words)}{speed}"


def _plane_caption(judged: Judged, left_out: list[str]) -> str:
  data, summary = judged.data, judged.summary
  words = "Best is top left, at the retrained models (dotted lines)."
  if len(data.seeds) > 1:
    words += " Bars: 95 % intervals."
  floor = retraining_floor(data)
  if math.isfinite(floor):
    words += (
      f" Two retrained models of different seeds are {number(floor)} apart in RetDev on average: "
      "the noise of this measure."
    )
  column = METRICS[data.deviation].label
  deviation = {name: summary.cell(name, data.deviation) for name in left_out}
  far = [f"{data.label(n)} ({column} {number(c.mean)})" for n, c in deviation.items() if c.n]
  if far:
    words += f" Not drawn, because the others could not be told apart: {listing(far)}."
  empty = [data.label(n) for n, c in deviation.items() if not c.n]
  return words + (f" Without a finite member: {listing(empty)}." if empty else "")


def _attack(judged: Judged) -> Strip:
  """Draw the strongest attack per method with T-MIA beneath it."""
  summary, label = judged.summary, judged.data.label
  first = "T_strongest" if summary.has("T_strongest") else "T_MIA"
  second = "T_MIA" if first == "T_strongest" else "V_MIA"
  quantity = {"T_strongest": "strongest attack", "T_MIA": "T-MIA"}[first]
  cells = {n: (summary.cell(n, first), summary.cell(n, second)) for n in summary.order}
  title = "Membership inference per method; one half is chance"
  return figures.strip("membership", title, quantity, "attack accuracy", cells, label, 0.5)


def _spread(judged: Judged, shown: list[str], metric: str, label: str) -> Spread:
  rows, summary = judged.data.rows, judged.summary
  names = [name for name in shown if summary.cell(name, metric).n]
  of = lambda name: rows[rows["method"] == name].sort_values("seed")[metric].to_numpy(float)
  values = {name: of(name)[np.isfinite(of(name))] for name in names}
  medians = {name: number(summary.cell(name, metric).median) for name in names}
  words = "; ".join(f"{judged.data.label(n)} median {m}" for n, m in medians.items())
  guide = summary.cell("retrained", metric).mean
  name = f"seeds-{metric.lower().replace('_', '-')}"
  return Spread(name, f"{label}: every seed", f"{words}.", Axis(label), values, guide)


def with_curves(curves: pd.DataFrame, order: Iterable[str]) -> list[str]:
  """List the stages that have curves, in the order of the tables."""
  present = set(curves["stage"])
  return [name for name in order if name in present]


def curve(curves: pd.DataFrame, stage: str, quantity: str) -> Curve:
  """Aggregate over seeds, epochs counted on through phases; NaN seeds are left out of an epoch."""
  part = curves[curves["stage"] == stage]
  groups = part.groupby(["phase", "epoch"], sort=False)[quantity]
  table = groups.agg(["mean", "min", "max"]).reset_index()
  begin = {phase: k for k, phase in enumerate(dict.fromkeys(table["phase"]))}
  table = table.assign(rank=table["phase"].map(begin)).sort_values(["rank", "epoch"])
  ranks = table["rank"].to_numpy()
  starts = tuple(float(k) + 1 for k in np.flatnonzero(np.diff(ranks)) + 1)
  values = (table[name].to_numpy(dtype=float) for name in ("mean", "min", "max"))
  return Curve(np.arange(1, len(table) + 1), *values, starts)


def lines(judged: Judged, names: list[str], quantity: str, name: str, small: bool = False) -> Lines:
  """Make curves of stages; losses that fall far and stay positive get a logarithm."""
  found, label = {n: curve(judged.data.curves, n, quantity) for n in names}, judged.data.label
  values = np.concatenate([np.r_[one.low, one.high] for one in found.values()])
  values = values[np.isfinite(values)]
  log = quantity == "loss" and values.size and values.min() > 0
  ends = {n: number(_last(one.y)) for n, one in found.items()}
  return Lines(
    f"{name}-{quantity}",
    f"{_QUANTITIES[quantity]} per epoch: {', '.join(label(n) for n in names)}",
    "Mean over seeds. " + "; ".join(f"{label(n)} ends at {end}" for n, end in ends.items()) + ".",
    Axis("epoch"),
    Axis(
      f"{label(names[0])}: {quantity}" if small else _QUANTITIES[quantity],
      log=bool(log and values.max() / values.min() > 30),
    ),
    found,
    {n: f"{label(n)}: {end}" for n, end in ends.items()},
    small,
  )


def _last(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite[-1]) if finite.size else math.nan
