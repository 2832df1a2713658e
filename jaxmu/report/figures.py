"""Every figure of the report with its caption, in the page's sections."""

import math
from typing import NamedTuple

from markupsafe import Markup

from jaxmu.audit.cautions import Caution, destroyed
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.summary import Summary, retraining_floor
from jaxmu.audit.text import listing, number
from jaxmu.report import curves
from jaxmu.report.data import ReportData
from jaxmu.report.scatter import scatter, without_outliers
from jaxmu.report.strips import attack, distribution


class Figure(NamedTuple):
  """One drawing and what to look for in it."""

  name: str
  drawing: Markup
  caption: str


def build(data: ReportData, summary: Summary, cautions: list[Caution]) -> dict[str, list[Figure]]:
  """Return all figures by section; a section without data is empty."""
  shown, left_out = without_outliers(summary, destroyed(cautions))
  return {
    "comparison": _comparison(data, summary, shown, left_out),
    "seeds": _seeds(data, summary, shown),
    "training": _training(data),
    "unlearning": _unlearning(data, summary),
  }


def _comparison(data, summary, shown, left_out) -> list[Figure]:
  found = [
    Figure(
      "deviation-indiscernibility",
      scatter(data, summary, "RetDev", "Indisc", shown, "fig-plane"),
      _plane_caption(data, summary, left_out),
    ),
    Figure(
      "membership",
      attack(data, summary, "fig-attack"),
      "Filled: the strongest attack with its interval; hollow: T-MIA, one threshold on the loss. "
      "The line is chance, the band the interval of the retrained models. Where hollow and filled "
      "lie apart, T-MIA misses what another attack sees; left of the line is a signal, too.",
    ),
  ]
  if not summary.methods:
    return found
  return [
    *found,
    Figure(
      "deviation-speed",
      scatter(data, summary, "RTE_work", "RetDev", shown, "fig-speed-retdev"),
      "Best is bottom right: cheap and close to retraining, which itself has RTE 1.",
    ),
    Figure(
      "indiscernibility-speed",
      scatter(data, summary, "RTE_work", "Indisc", shown, "fig-speed-indisc"),
      "Best is top right: cheap and hard to attack.",
    ),
  ]


def _plane_caption(data: ReportData, summary: Summary, left_out: list[str]) -> str:
  words = "Best is top left, at the retrained models (dotted lines)."
  if len(data.seeds) > 1:
    words += " Bars: 95 % intervals."
  floor = retraining_floor(data.rows)
  if math.isfinite(floor):
    words += (
      f" Two retrained models of different seeds are {number(floor)} apart in RetDev on average: "
      "the noise of this measure."
    )
  deviation = {name: summary.cell(name, "RetDev") for name in left_out}
  far = [f"{data.label(n)} (RetDev {number(c.mean)})" for n, c in deviation.items() if c.n]
  if far:
    words += f" Not drawn, because the others could not be told apart: {listing(far)}."
  empty = [data.label(n) for n, c in deviation.items() if not c.n]
  return words + (f" Without a finite member: {listing(empty)}." if empty else "")


def _seeds(data: ReportData, summary: Summary, shown: list[str]) -> list[Figure]:
  wanted = (
    ("FA", "forget accuracy"),
    (data.test_metric, "test accuracy" + (", clean labels" if data.random_labels > 0 else "")),
    ("T_MIA", "T-MIA"),
    ("RetDev", "RetDev"),
  )
  return [
    Figure(
      f"seeds-{metric.lower().replace('_', '-')}",
      distribution(data, summary, shown, metric, label, f"fig-seeds-{k}"),
      "",
    )
    for k, (metric, label) in enumerate(wanted)
    if summary.has(metric)
  ]


def _training(data: ReportData) -> list[Figure]:
  names = curves.stages(data.curves, REFERENCES)
  return [
    Figure(
      f"training-{quantity}",
      curves.panel(data, names, quantity, f"fig-training-{quantity}", small=False),
      "",
    )
    for quantity in ("loss", "accuracy")
    if names
  ]


def _unlearning(data: ReportData, summary: Summary) -> list[Figure]:
  return [
    Figure(
      f"unlearning-{name}-{quantity}",
      curves.panel(data, [name], quantity, f"fig-{name}-{quantity}", small=True),
      "",
    )
    for name in curves.stages(data.curves, summary.methods)
    for quantity in ("loss", "accuracy")
  ]
