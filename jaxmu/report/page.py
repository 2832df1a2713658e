"""The HTML page: one file, no network, no script."""

from importlib import resources
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from jaxmu.report import curves, facts, table
from jaxmu.report.cautions import Caution, destroyed
from jaxmu.report.data import REFERENCES, ReportData
from jaxmu.report.marks import mark
from jaxmu.report.metric_cards import DETAIL, DISTANCES, METRICS
from jaxmu.report.scatter import scatter, without_outliers
from jaxmu.report.strips import attack, distribution
from jaxmu.report.summary import Summary, retraining_floor
from jaxmu.report.svg import swatch
from jaxmu.report.text import MISSING, interval, listing, number, spread

ROW_COLUMNS = ("RA", "FA", "VA", "TA", "TA_clean", "V_MIA", "T_MIA", "RetDev", "Indisc")


class Figure(NamedTuple):
  """One drawing and what to look for in it."""

  name: str
  drawing: Markup
  caption: str


def figures(data: ReportData, summary: Summary, cautions: list[Caution]) -> dict[str, list[Figure]]:
  """Return all figures by section; a section without data is empty."""
  shown, left_out = without_outliers(summary, destroyed(cautions))
  return {
    "comparison": _comparison(data, summary, shown, left_out),
    "seeds": _seeds(data, summary, shown),
    "training": _training(data),
    "unlearning": _unlearning(data, summary),
  }


def html(
  data: ReportData, summary: Summary, cautions: list[Caution], verdict: list[str]
) -> str:
  """Return the page."""
  loader = jinja2.FunctionLoader(_resource)
  environment = jinja2.Environment(
    loader=loader,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  return environment.get_template("page.html.jinja").render(
    data=data,
    subject=facts.subject(data),
    header=facts.header(data),
    provenance=facts.provenance(data),
    verdict=verdict,
    cautions=cautions,
    columns=table.columns(data),
    lines=table.lines(data, summary, cautions),
    legend=table.legend(data),
    standing=table.STANDING,
    definitions=table.definitions(data),
    figures=figures(data, summary, cautions),
    metrics=METRICS,
    methods=facts.method_cards(data, summary),
    order=summary.order,
    references=REFERENCES,
    detail=_cells(summary, [(key, key.replace("_", " "), "") for key in DETAIL]),
    of_means=_cells(summary, [(f"{k}_of_means", f"{k} of means", "") for k in ("RetDev", "Indisc")]),
    left_out=listing(mark(n).label for n in without_outliers(summary, destroyed(cautions))[1]),
    distances=_cells(summary, DISTANCES),
    members=_members(data, summary),
    timings=facts.timings(data),
    clock_note=facts.clock_note(data),
    style=Markup(_resource("figure.css") + _resource("page.css")),
    swatch=swatch,
    label=lambda name: mark(name).label,
  )


def standalone(drawing: Markup) -> str:
  """Return a figure as a file of its own, with the style that it needs inside."""
  style = Markup("<style>{}</style>").format(Markup(_resource("figure.css")))
  start = drawing.index(">") + 1
  return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing[:start]}{style}{drawing[start:]}\n'


def _resource(name: str) -> str:
  return (resources.files("jaxmu.report") / name).read_text(encoding="utf-8")


def _comparison(data, summary, shown, left_out) -> list[Figure]:
  floor = retraining_floor(data.rows)
  note = ""
  if left_out:
    places = [f"{mark(n).label} ({number(summary.cell(n, 'RetDev').mean)})" for n in left_out]
    note = f" Not drawn, because the others could not be told apart: {listing(places)}, by RetDev."
  near = (
    f" Two retrained models of different seeds are {number(floor)} apart in RetDev; "
    "smaller differences mean nothing."
    if floor == floor
    else ""
  )
  return [
    Figure(
      "deviation-indiscernibility",
      scatter(summary, "RetDev", "Indisc", shown, "fig-plane"),
      "Best is top left, at the retrained models (dotted lines). Bars: 95 % intervals." + near + note,
    ),
    Figure(
      "membership",
      attack(summary, "fig-attack"),
      "Filled: T-MIA with its interval; hollow: V-MIA. The line is chance, the band the interval "
      "of the retrained models. Left of the line is a signal too, only turned round.",
    ),
    Figure(
      "deviation-speed",
      scatter(summary, "RTE_work", "RetDev", shown, "fig-speed-retdev"),
      "Best is bottom right: cheap and close to retraining, which itself has RTE 1.",
    ),
    Figure(
      "indiscernibility-speed",
      scatter(summary, "RTE_work", "Indisc", shown, "fig-speed-indisc"),
      "Best is top right: cheap and hard to attack.",
    ),
  ]


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
      distribution(summary, data.rows, shown, metric, label, f"fig-seeds-{k}"),
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
      curves.panel(data.curves, names, quantity, f"fig-training-{quantity}", small=False),
      "",
    )
    for quantity in ("loss", "accuracy")
    if names
  ]


def _unlearning(data: ReportData, summary: Summary) -> list[Figure]:
  return [
    Figure(
      f"unlearning-{name}-{quantity}",
      curves.panel(data.curves, [name], quantity, f"fig-{name}-{quantity}", small=True),
      "",
    )
    for name in curves.stages(data.curves, summary.methods)
    for quantity in ("loss", "accuracy")
  ]


def _cells(summary: Summary, wanted) -> dict:
  """Lay out metrics by method; metrics that no method has are left out."""
  present = [entry for entry in wanted if summary.has(entry[0])]
  body = [
    (name, [(spread(cell), interval(cell)) for cell in (summary.cell(name, e[0]) for e in present)])
    for name in summary.order
  ]
  return {"head": [(label, words) for _, label, words in present], "body": body}


def _members(data: ReportData, summary: Summary) -> dict:
  """Lay out every row, methods in the order of the tables, then by seed."""
  present = [name for name in ROW_COLUMNS if name in data.rows]
  body = []
  for name in summary.order:
    rows = data.rows[data.rows["method"] == name].sort_values("seed").to_dict("records")
    body += [
      (name, row["seed"], row["failed_steps"] or ("" if row["finite"] else "non-finite"),
       [number(float(row[key])) for key in present])
      for row in rows
    ]
  return {"head": [name.replace("_", " ") for name in present], "body": body, "missing": MISSING}
