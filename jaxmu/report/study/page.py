"""The HTML page of a study: one file, no network, no script."""

from importlib import resources

from markupsafe import Markup

from jaxmu.audit.cautions import Caution
from jaxmu.audit.study.study_statistics import (
  ACCURACIES,
  ATTACKERS,
  BOUND_NOTE,
  BOUNDS,
  FURTHER,
  METRICS,
  RETAIN_SIDE,
  STRATA,
  UPDATES,
  UPPER_BOUND,
)
from jaxmu.audit.text import number
from jaxmu.report.facts import method_cards
from jaxmu.report.page import fill
from jaxmu.report.study import facts, figures, gallery, table
from jaxmu.report.study.data import StudyData
from jaxmu.report.table import Line


def html(
  data: StudyData, lines: tuple[Line, ...], cautions: list[Caution], verdict: list[str]
) -> str:
  """Return the page."""
  style = (resources.files("jaxmu.report.study") / "study.css").read_text(encoding="utf-8")
  return fill(
    "study/study.html.jinja",
    data,
    more_style=Markup(style),
    subject=facts.subject(data),
    header=facts.header(data),
    verdict=verdict,
    cautions=cautions,
    columns=METRICS,
    lines=lines,
    legend=f"{table.legend(data)} {table.LEGEND}",
    definitions=table.definitions(),
    order=data.order,
    figures=figures.build(data),
    retained=table.block(data, RETAIN_SIDE),
    upper=table.block(data, UPPER_BOUND, ("original",)),
    pictures=gallery.pictures(data),
    attackers=table.block(data, ATTACKERS),
    updates=table.block(data, UPDATES),
    strata=table.block(data, STRATA),
    bounds=table.block(data, BOUNDS),
    bound_note=BOUND_NOTE,
    further=table.block(data, FURTHER),
    directions=table.directions(data),
    accuracies=table.block(data, ACCURACIES),
    methods=method_cards(data, data.order),
    costs=facts.costs(data),
    cost_note=facts.COST_NOTE,
    making=facts.making(data),
    provenance=facts.provenance(data),
    number=number,
  )
