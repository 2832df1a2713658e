"""Figures of a benchmark in depth: the order of the methods, traces of the forget set, classes."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from jaxmu.audit.metrics import METRICS
from jaxmu.audit.results import REFERENCES, Cell
from jaxmu.audit.text import number, value
from jaxmu.report import figures as shared
from jaxmu.report.benchmark import benchmark_figures as figures
from jaxmu.report.benchmark.benchmark_data import Judged, ReportData
from jaxmu.report.blocks import Drawing
from jaxmu.report.charts.plots import Axis, Curve, Grid, Ranking
from jaxmu.report.facts import class_name

CLASSES = 12  # most that a figure shows


def order(judged: Judged) -> tuple[Drawing, ...]:
  """Return the methods in order, by what of it is no chance."""
  column = judged.data.deviation
  titles = {
    column: f"{METRICS[column].label} above the best",
    "T_strongest": "attack accuracy above the best",
  }
  found = [_ranking(judged, metric, label) for metric, label in titles.items()]
  return tuple(
    Drawing(
      plot,
      "Paired differences (same seeds, same samples) from the method with the lowest mean, with "
      "95 % intervals. Methods joined by a bar at the right cannot be told apart. Beside a name: "
      "its mean rank over seeds.",
    )
    for plot in found
    if plot
  )


def _ranking(judged: Judged, metric: str, label: str) -> Ranking | None:
  data, summary = judged.data, judged.summary
  shown, _ = figures.without_outliers(judged)
  cells = {n: summary.cell(n, metric) for n in shown if n in summary.methods}
  names = sorted(
    (n for n, c in cells.items() if math.isfinite(c.mean)), key=lambda n: cells[n].mean
  )
  if len(names) < 2:
    return None
  gap = lambda one, other: summary.difference(one, other, metric)
  gaps = {names[0]: Cell(1, 0.0)} | {name: gap(name, names[0]) for name in names[1:]}
  sound = data.rows[data.rows["finite"].astype(bool) & data.rows["method"].isin(names)]
  ranks = sound.pivot(index="seed", columns="method", values=metric).rank(axis=1).mean()
  words = "; ".join(f"{data.label(n)} {number(gaps[n].mean)}" for n in names)
  return Ranking(
    f"order-{metric.lower().replace('_', '-')}",
    f"Order of the methods: {label}",
    f"{label}: {words}.",
    Axis(label),
    gaps,
    {n: float(ranks[n]) for n in names},
    tuple(together(names, lambda one, other: not gap(one, other).off(0))),
    {n: f"{data.label(n)}: {value(gaps[n])}, mean rank {ranks[n]:.1f}" for n in names},
  )


def together(names: Sequence[str], alike: Callable[[str, str], bool]) -> Iterator[tuple[str, ...]]:
  """Yield the longest runs of neighbours of which no two can be told apart."""
  reached = 0
  for start in range(len(names)):
    end = start + 1
    while end < len(names) and all(alike(one, names[end]) for one in names[start:end]):
      end += 1
    if end - start > 1 and end > reached:
      yield tuple(names[start:end])
    reached = max(reached, end)


def traces(judged: Judged) -> tuple[Drawing, ...]:
  """Return what is left of the forget set: in accuracy and attack, and at few false alarms."""
  data, summary = judged.data, judged.summary
  shown, _ = figures.without_outliers(judged)
  found = []
  if summary.has("T_strongest"):
    attack = ("T_strongest", Axis("accuracy of the strongest attack"))
    plane = figures.plane(judged, "forget-attack", ("FA", Axis("forget accuracy")), attack, shown)
    of = data.rows[(data.rows["method"] == "retrained") & data.rows["finite"].astype(bool)]
    cloud = {"retrained": of[["FA", "T_strongest"]].to_numpy(float)} if len(of) > 1 else {}
    caption = (
      "The small dots are retrained models, one per seed: where a method should land. Higher is a "
      "trace that an attack finds; right of the cloud is memory, left of it damage."
    )
    found.append(Drawing(plane._replace(cloud=cloud), caption))
  if len(data.roc):
    curves = {n: _mean_roc(data.roc, n) for n in summary.order if n in set(data.roc["method"])}
    plot = shared.roc("one threshold on the loss", curves, data.label, 1e-4)
    caption = (
      "How many forgotten samples are recognised (up) at how many false alarms (right) by one "
      "threshold on the loss; the diagonal is guessing. Mean over seeds; the shade of retrained "
      "and original models reaches from the lowest to the highest seed."
    )
    found.append(Drawing(plot, caption))
  return tuple(found)


def _mean_roc(table: pd.DataFrame, method: str) -> Curve:
  """Aggregate over seeds at the same false-positive rate; only references show their range."""
  part = table[table["method"] == method]
  one = [key for key in ("seed", "draw") if key in part]
  place = part.groupby(one).cumcount()  # sets of other seeds may have other sizes
  found = (
    part.assign(place=place)
    .groupby("place")
    .agg(fpr=("fpr", "mean"), tpr=("tpr", "mean"), low=("tpr", "min"), high=("tpr", "max"))
  )
  x, y, low, high = (found[key].to_numpy(float) for key in ("fpr", "tpr", "low", "high"))
  hidden = np.full(len(x), np.nan)
  return Curve(x, y, low, high) if method in REFERENCES else Curve(x, y, hidden, hidden)


def classes(judged: Judged) -> tuple[Drawing, ...]:
  """Return accuracies class by class, beside the retrained models of the same seeds."""
  titles = {"forget": "forget accuracy", "test": "test accuracy"}
  caption = (
    "Accuracy on each class minus that of the retrained models of the same seeds, mean over seeds: "
    "blue lost, orange kept or gained."
  )
  found = [_grid(judged, name, label) for name, label in titles.items()]
  return tuple(Drawing(plot, caption + more) for plot, more in (one for one in found if one))


def _grid(judged: Judged, part: str, label: str) -> tuple[Grid, str] | None:
  data, table = judged.data, judged.data.classes
  shown, _ = figures.without_outliers(judged)
  names = [n for n in shown if n != "retrained"]
  chosen = table[table["set"] == part]
  wide = chosen.pivot_table(index=["class", "seed"], columns="method", values="accuracy")
  if "retrained" not in wide or not len(wide) or not names:
    return None
  gaps = wide.sub(wide["retrained"], axis=0).groupby("class").mean().reindex(columns=names)
  far = gaps.abs().max(axis=1).sort_values(ascending=False, kind="stable").index[:CLASSES]
  kept = gaps.loc[sorted(far)]
  columns = tuple(class_name(data, int(one)) for one in kept.index)
  more = f" The {CLASSES} classes of {len(gaps)} that changed most." if len(gaps) > CLASSES else ""
  words = "; ".join(
    f"{data.label(n)} {number(kept[n].min())} to {number(kept[n].max())}" for n in names
  )
  return (
    Grid(
      f"classes-{part}",
      f"{label.capitalize()} by class, beside retrained models",
      f"Least and largest difference: {words}.",
      tuple(names),
      columns,
      kept.T.to_numpy(float),
      label,
    ),
    more,
  )


def confusion(judged: Judged) -> tuple[Drawing, ...]:
  """Return a confusion matrix of the test samples per model, where classes were forgotten."""
  data, table = judged.data, judged.data.confusion
  if not len(table):
    return ()
  shown, _ = figures.without_outliers(judged)
  names = [n for n in shown if n in set(table["method"])]
  means = {name: _shares(table[table["method"] == name]) for name in names}
  forgotten = set(data.classes[data.classes["set"] == "forget"]["class"])
  kept = _taken(means.values(), forgotten)
  some = f" Forgotten classes and those that they are taken for: {len(kept)} classes in all."
  caption = (
    "Share of the test samples of a class (line) that are predicted as a class (column), mean over "
    "seeds. A line of a forgotten class (*) should look like that of the retrained models."
  )
  caption += some if len(kept) == CLASSES else ""
  return tuple(Drawing(_matrix(data, n, means[n], kept, forgotten), caption) for n in names)


def _shares(table: pd.DataFrame) -> pd.DataFrame:
  """Return mean shares over seeds by class and prediction; what no row has is 0."""
  places = [key for key in ("class", "seed", "draw") if key in table]
  wide = table.pivot_table(index=places, columns="predicted", values="share")
  return wide.fillna(0.0).groupby("class").mean()


def _taken(means: Iterable[pd.DataFrame], forgotten: set[int]) -> list[int]:
  """Return forgotten classes and those that they are taken for most, as many as a figure shows."""
  weight: dict[int, float] = {}
  for mean in means:
    own = mean.loc[mean.index.isin(forgotten)].sum()
    for one in {*mean.index, *mean.columns}:
      weight[one] = weight.get(one, 0.0) + float(own.get(one, 0.0))
  order = sorted(weight, key=lambda one: (one not in forgotten, -weight[one], one))
  return sorted(order[:CLASSES])


def _matrix(
  data: ReportData, method: str, mean: pd.DataFrame, kept: Sequence[int], forgotten: set[int]
) -> Grid:
  values = mean.reindex(index=kept, columns=kept, fill_value=0.0)
  names = [class_name(data, one) for one in kept]
  lines = tuple(f"{n} *" if one in forgotten else n for one, n in zip(kept, names))
  gone = [one for one in kept if one in forgotten and one in mean.index]
  words = "; ".join(
    f"{number(float(mean.loc[one].max()), 2)} of {class_name(data, one)} are taken for "
    f"{class_name(data, int(mean.loc[one].idxmax()))}"
    for one in gone
  )
  label = data.label(method)
  return Grid(
    f"confusion-{method}",
    f"{label}: what test samples are taken for",
    f"{words}.",
    (),
    tuple(names),
    values.where(values > 0).to_numpy(float),
    f"{label}: share of a class",
    lines=lines,
    signed=False,
  )
