"""One label, colour and marker per method of a run, the same in every figure of its report."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxmu.store.manifest import MethodDescription


class Mark(NamedTuple):
  """How a method is drawn: `hue` names a CSS class of figure.css, `shape` a path of svg.py."""

  label: str
  hue: str
  shape: str


HUES = ("blue", "orange", "green", "red", "purple", "teal", "pink", "olive")
SHAPES = ("circle", "square", "diamond", "up", "down", "plus")
REFERENCES = {"original": ("grey", "plus"), "retrained": ("ink", "target")}


def assign(methods: Mapping[str, MethodDescription]) -> dict[str, Mark]:
  """Return the mark of every method of a run; their order decides hue and shape.

  Twenty colours cannot be told apart; eight hues times six shapes can. Methods that follow each
  other differ in both. From the 49th on, marks repeat.
  """
  looks = dict(REFERENCES)
  for number, name in enumerate(name for name in methods if name not in REFERENCES):
    turn, place = divmod(number, len(HUES))
    looks[name] = HUES[place], SHAPES[(place - turn) % len(SHAPES)]
  return {name: Mark(known.label, *looks[name]) for name, known in methods.items()}
