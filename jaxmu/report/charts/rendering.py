"""From plots to drawings: markup inside a page, or files for papers.

Inside a page colours are the page's variables, so that figures follow its light or dark theme, and
text is the page's. Equal plots give equal bytes.
"""

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from jaxmu.report.charts import curves, grids, parallel, planes, rows
from jaxmu.report.charts.plots import (
  Grid,
  Histogram,
  Lines,
  Parallel,
  Plane,
  Plot,
  Ranking,
  Roc,
  Spread,
  Strip,
)
from jaxmu.report.charts.theme import COLOURS, PAGE, PAPER, Look, Sheet, settings
from jaxmu.report.marks import Mark

DRAW: dict[type, Callable[[Any, dict[str, Mark], Look], Figure]] = {
  Plane: planes.plane,
  Strip: rows.strip,
  Spread: rows.spread,
  Ranking: rows.ranking,
  Lines: curves.lines,
  Roc: curves.roc,
  Histogram: curves.histogram,
  Grid: grids.grid,
  Parallel: parallel.parallel,
}
_ROLES = {colour: f"var(--{role})" for role, colour in COLOURS.items()}


def inline(plot: Plot, marks: Mapping[str, Mark]) -> Markup:
  """Return a plot as an element of a page, which names itself to a screen reader."""
  with settings(plot.name):
    text = _themed(_clean(_draw(plot, marks, PAGE), transparent=True))
  box, ident = re.search(r'viewBox="([^"]*)"', text), f"fig-{plot.name}"
  assert box
  opened = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="{}" role="img" class="chart" aria-labelledby="{i}-title {i}-desc">'
    '<title id="{i}-title">{}</title><desc id="{i}-desc">{}</desc>'
  ).format(box[1], plot.title, plot.words, i=ident)
  return opened + Markup(text[text.index(">", text.index("<svg")) + 1 :])


def symbol(method: str, marks: Mapping[str, Mark]) -> Markup:
  """Return a method's marker alone, 14 units wide, for legends and tables."""
  with settings(f"mark-{method}"):
    sheet = Sheet(PAGE, dict(marks), 14, 14)
    ax = sheet.axes(0, 0, 0, 0)
    ax.set(xlim=(0, 14), ylim=(0, 14))
    ax.set_axis_off()
    sheet.marker(ax, method, 7, 7, 4.6)
    text = _themed(_clean(sheet.figure, transparent=True))
  return Markup(text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")])


def files(plot: Plot, marks: Mapping[str, Mark]) -> dict[str, bytes]:
  """Return a plot as files of a paper's column by name: vectors with text as text, and pixels."""
  with settings(plot.name):
    figure = _draw(plot, marks, PAPER)
    saved = {}
    for kind in ("pdf", "png"):
      buffer, stamp = io.BytesIO(), {"CreationDate": None} if kind == "pdf" else None
      figure.savefig(buffer, format=kind, dpi=300, metadata=stamp)
      saved[f"{plot.name}.{kind}"] = buffer.getvalue()
    return saved | {f"{plot.name}.svg": _clean(figure).encode()}


def _draw(plot: Plot, marks: Mapping[str, Mark], look: Look) -> Figure:
  return DRAW[type(plot)](plot, dict(marks), look)


def _clean(figure: Figure, transparent: bool = False) -> str:
  """Write as SVG; what a marker says becomes its title, and what nobody reads goes."""
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
  waste = r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>"
  text = re.sub(waste, "", buffer.getvalue(), flags=re.S)
  text = re.sub(r'<g id="hint:([^"]*)">', r'<g class="mark"><title>\1</title>', text)
  used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
  text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
  short = lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0])  # a hundredth of a point will do
  text = re.sub(r"<(path|use|text|g|svg|rect)\b[^>]*>", short, text)
  return re.sub(r"\n\s*", "\n", text).strip() + "\n"


def _themed(text: str) -> str:
  """Put the page's variables in the place of colours."""
  return re.sub(r"#[0-9a-f]{6}\b", lambda found: _ROLES.get(found[0], found[0]), text)
