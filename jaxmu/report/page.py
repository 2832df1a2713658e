"""The HTML page: one file, no network, no script."""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from jaxmu.audit import metrics
from jaxmu.audit.cautions import Caution, destroyed
from jaxmu.audit.metric import DETAIL, DISTANCES, MAIN, MEMBERS
from jaxmu.audit.results import REFERENCES
from jaxmu.audit.summary import Summary
from jaxmu.audit.text import interval, listing, number, spread
from jaxmu.report import facts, figures, table
from jaxmu.report.data import ReportData, RunData
from jaxmu.report.scatter import without_outliers
from jaxmu.report.svg import swatch


class Members(NamedTuple):
  """Every row: names of the metrics, and (method, seed, what failed, values)."""

  head: list[str]
  body: list[tuple[str, int, str, list[str]]]


def html(data: ReportData, summary: Summary, cautions: list[Caution], verdict: list[str]) -> str:
  """Return the page."""
  return fill(
    "page.html.jinja",
    data,
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
    figures=figures.build(data, summary, cautions),
    metrics=metrics.shown(MAIN),
    methods=facts.method_cards(data, summary.order),
    order=summary.order,
    references=REFERENCES,
    detail=_cells(summary, [(m.name, m.name.replace("_", " "), "") for m in metrics.shown(DETAIL)]),
    of_means=_cells(summary, [(name, name.replace("_", " "), "") for name in metrics.of_means()]),
    left_out=listing(data.label(n) for n in without_outliers(summary, destroyed(cautions))[1]),
    distances=_cells(summary, [(m.name, m.label, m.explanation) for m in metrics.shown(DISTANCES)]),
    members=_members(data, summary),
    timings=facts.timings(data),
    clock_note=facts.clock_note(data),
  )


def fill(template: str, data: RunData, **values: Any) -> str:
  """Return a page made of a template in this folder, with the style of all reports."""
  environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(_resource),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.globals |= {
    "style": Markup(_resource("figure.css") + _resource("page.css")),
    "swatch": lambda name: swatch(data.marks[name]),
    "label": data.label,
    "signs": table.SIGNS,
    "sign_words": table.SIGN_WORDS,
  }
  return environment.get_template(template).render(values, data=data)


def standalone(drawing: Markup) -> str:
  """Return a figure as a file of its own, with the style that it needs inside."""
  style = Markup("<style>{}</style>").format(Markup(_resource("figure.css")))
  start = drawing.index(">") + 1
  return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing[:start]}{style}{drawing[start:]}\n'


def standalone_all(sections: Mapping[str, Iterable[figures.Figure]]) -> dict[str, str]:
  """Return every figure as a file of its own, by file name."""
  found = [one for section in sections.values() for one in section]
  return {f"{one.name}.svg": standalone(one.drawing) for one in found}


def _resource(name: str) -> str:
  return (resources.files("jaxmu.report") / name).read_text(encoding="utf-8")


def _cells(summary: Summary, wanted: Iterable[tuple[str, str, str]]) -> table.Block:
  """Lay out metrics by method; metrics that no method has are left out."""
  present = [entry for entry in wanted if summary.has(entry[0])]
  body = [
    (name, [(spread(cell), interval(cell)) for cell in (summary.cell(name, e[0]) for e in present)])
    for name in summary.order
  ]
  return table.Block([(label, words) for _, label, words in present], body)


def _members(data: ReportData, summary: Summary) -> Members:
  """Lay out every row, methods in the order of the tables, then by seed."""
  present = [m.name for m in metrics.shown(MEMBERS) if m.name in data.rows]
  body = []
  for name in summary.order:
    rows = data.rows[data.rows["method"] == name].sort_values("seed").to_dict("records")
    body += [
      (
        name,
        row["seed"],
        row["failed_steps"] or ("" if row["finite"] else "non-finite"),
        [number(float(row[key])) for key in present],
      )
      for row in rows
    ]
  return Members([name.replace("_", " ") for name in present], body)
