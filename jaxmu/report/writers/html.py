"""A report as an HTML page: one file, no network, no script."""

import base64
import functools
import io
import re
from importlib import resources

import jinja2
import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from jaxmu.audit.text import listing
from jaxmu.report.blocks import SIGN_WORDS, SIGNS, Report, Table

CODE = ("Commit", "Command", "Split hash", "Data SHA-256", "Split SHA-256")  # facts set as code


def page(report: Report) -> str:
  """Return the page."""
  from jaxmu.report.charts import rendering  # matplotlib is slow to import

  places = {name: k for k, name in enumerate(report.marks, 1)}
  environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(_resource),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.globals |= {
    "report": report,
    "style": Markup(_resource("page.css")),
    "kind_of": lambda value: type(value).__name__,
    "draw": functools.partial(rendering.inline, marks=report.marks),
    "symbol": functools.partial(rendering.symbol, marks=report.marks),
    "swatch": lambda name: _swatch(places[name]),
    "strong": strong,
    "source": source,
    "signs": SIGNS,
    "sign_words": SIGN_WORDS,
    "code": CODE,
    "columns_to_the_right": columns_to_the_right,
  }
  return environment.get_template("page.html.jinja").render()


def strong(words: str) -> Markup:
  """Write **words** with weight."""
  return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(words))))


def source(image: np.ndarray) -> str:
  """Return an image, uint8 [H, W, 1 or 3], as a PNG inside a data URI."""
  file = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
  return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def columns_to_the_right(table: Table) -> str:
  """Name what a narrow screen does not show of a table."""
  return listing(column.label for column in table.columns[3:])


def _swatch(place: int) -> Markup:
  return Markup('<svg class="swatch" aria-hidden="true"><use href="#mark-{}"/></svg>').format(place)


def _resource(name: str) -> str:
  return (resources.files("jaxmu.report.writers") / name).read_text(encoding="utf-8")
