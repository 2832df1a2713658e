"""Unlearning methods: one file each, one line each in the registry."""

import importlib
from typing import Any

from jaxmu.errors import MethodError, closest
from jaxmu.settings import Settings
from jaxmu.training.anchors import ANCHORS, recipe
from jaxmu.training.method import Method

# Every method, in the order in which tables show them: the file of each one is named as it is.
NAMES = (
  *("ft", "ga", "srl", "ngplus", "cfk", "euk", "ff", "iu", "bt", "scrub", "salun"),
  *("fcs", "msg", "cfw", "prmq", "ct", "kde", "rni"),
)
METHODS: dict[str, Method] = {
  name: importlib.import_module(f"jaxmu.unlearning.{name}").METHOD for name in NAMES
}


def get(name: str) -> Method:
  """Return the method, or anchor, called `name`; MethodError for an unknown one."""
  known = {**ANCHORS, **METHODS}
  if name not in known:
    raise MethodError(f"unknown method '{name}'; {closest(name, METHODS)}")
  return known[name]


def hyperparameters(settings: Settings, name: str) -> dict[str, Any]:
  """Return the complete hyper-parameters that settings give a method or an anchor."""
  if name in ANCHORS:
    return recipe(settings.training, name)
  return METHODS[name].hyperparameters(settings.unlearning[name])


def describe(method: Method) -> dict[str, Any]:
  """Return what a reader wants to know about a method, as plain JSON values.

  "search" holds, per hyper-parameter, the reference's range and the one recommended instead
  (methods.md 10.4); "ignored" names what the reference searches but never reads.
  """
  listed = lambda value: list(value) if isinstance(value, tuple) else value
  live = method.live
  return {
    "label": method.label,
    "title": method.title,
    "summary": method.summary,
    "paper": method.paper,
    "needs": sorted(method.needs),
    "hyperparameters": {name: listed(each.default) for name, each in live.items()},
    "choices": {name: list(each.choices) for name, each in live.items() if each.choices},
    "search": {
      name: {"reference": str(each.search), "fixed": str(each.amended or each.search)}
      for name, each in live.items()
      if each.search
    },
    "ignored": [name for name, each in method.hyper.items() if each.dead],
    "fidelity": method.fidelity,
    "fidelities": list(method.fidelities),
    "oddities": method.oddities,
    "draws": dict(method.draws),
  }


__all__ = ["ANCHORS", "METHODS", "Method", "describe", "get", "hyperparameters"]
