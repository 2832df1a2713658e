"""One label, colour and marker per method, the same in every figure of every report."""

import zlib
from collections.abc import Iterable
from typing import NamedTuple


class Mark(NamedTuple):
  """How a method is drawn: `hue` names a CSS class of figure.css, `shape` a path of svg.py."""

  label: str
  hue: str
  shape: str


HUES = ("blue", "orange", "green", "red", "purple", "teal", "pink", "olive")
SHAPES = ("circle", "square", "diamond", "up", "down", "hexagon")

# Twenty colours cannot be told apart; eight hues times six shapes can.
MARKS = {
  "retrained": Mark("Retrained", "ink", "target"),
  "original": Mark("Original", "grey", "hexagon"),
  "ft": Mark("FT", "blue", "circle"),
  "ga": Mark("GA", "red", "down"),
  "srl": Mark("SRL", "pink", "circle"),
  "ngplus": Mark("NG+", "orange", "square"),
  "cfk": Mark("CF-k", "teal", "square"),
  "euk": Mark("EU-k", "teal", "diamond"),
  "ff": Mark("FF", "red", "square"),
  "iu": Mark("IU", "olive", "circle"),
  "bt": Mark("BT", "teal", "up"),
  "scrub": Mark("SCRUB", "blue", "diamond"),
  "salun": Mark("SalUN", "olive", "up"),
  "fcs": Mark("FCS", "pink", "square"),
  "msg": Mark("MSG", "green", "diamond"),
  "cfw": Mark("CFW", "orange", "diamond"),
  "prmq": Mark("PRMQ", "purple", "square"),
  "ct": Mark("CT", "purple", "up"),
  "kde": Mark("KDE", "olive", "down"),
  "rni": Mark("RNI", "green", "circle"),
}


def assign(methods: Iterable[str]) -> dict[str, Mark]:
  """Return the methods' marks; a name not in the table gets one derived from its letters."""
  return {method: MARKS[method] if method in MARKS else _derived(method) for method in methods}


def _derived(method: str) -> Mark:
  code = zlib.crc32(method.encode())
  return Mark(method, HUES[code % len(HUES)], SHAPES[code // len(HUES) % len(SHAPES)])
