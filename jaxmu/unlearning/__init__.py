"""Unlearning methods: one file each, one line each in the registry."""

import importlib
from typing import Any

import numpy as np

from jaxmu.errors import MethodError, closest
from jaxmu.own_code import names
from jaxmu.settings import Settings
from jaxmu.training.anchors import ANCHORS, of_recipe, recipe
from jaxmu.training.method import Method
from jaxmu.unlearning import own_method

# Every method, in the order in which tables show them: the file of each one is named as it is.
NAMES = (
  *("ft", "ga", "srl", "ngplus", "cfk", "euk", "ff", "iu", "bt", "scrub", "salun"),
  *("fcs", "msg", "cfw", "prmq", "ct", "kde", "rni"),
)
METHODS: dict[str, Method] = {
  name: importlib.import_module(f"jaxmu.unlearning.{name}").METHOD for name in NAMES
}

# The parameters of a network that has nothing but a head.
HEAD = {"head": {"kernel": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)}}


def get(name: str) -> Method:
  """Return the method, or anchor, called `name`; MethodError for an unknown one.

  Args:
    name: also of a method that an installed package has, or MODULE:NAME of one's own.
  """
  known = {**ANCHORS, **METHODS}
  reference = names.named("methods", name, known)
  if reference is None:
    if name not in known:
      raise MethodError(f"unknown method '{name}'; {closest(name, every())}")
    return known[name]
  found = own_method.read(reference)
  if found.name in known or (found.name != name and not names.is_reference(name)):
    raise MethodError(
      f"method {reference} is called '{found.name}'; expected "
      + (
        "a name that no method of jaxmu has"
        if found.name in known
        else f"'{name}', as its package says"
      )
    )
  return found


def every() -> tuple[str, ...]:
  """Return the names of all methods: jaxmu's, then those of installed packages."""
  return tuple(dict.fromkeys((*METHODS, *names.installed("methods"))))


def chosen(settings: Settings, name: str) -> Method:
  """Return the method, or anchor, that settings call `name`: a user's own, or by a recipe."""
  if name in ANCHORS:
    return of_recipe(name, settings.recipe)
  own = map(get, settings.own.methods if name not in METHODS else ())
  return next((method for method in own if method.name == name), None) or get(name)


def hyperparameters(settings: Settings, name: str) -> dict[str, Any]:
  """Return the complete hyper-parameters that settings give a method or an anchor."""
  if name in ANCHORS:
    return recipe(settings.training, name)
  return chosen(settings, name).hyperparameters(settings.unlearning[name])


def describe(method: Method) -> dict[str, Any]:
  """Return what a reader wants to know about a method, as plain JSON values.

  "search" holds, per hyper-parameter, the reference's range and the one recommended instead
  (methods.md 10.4); "ignored" names what the reference searches but never reads; "acts_on" says
  what of a network a method acts on, and what is left of it without that ("" where any will do).
  """
  listed = lambda value: list(value) if isinstance(value, tuple) else value
  live = method.live
  return {
    "label": method.label,
    "title": method.title,
    "summary": method.summary,
    "paper": method.paper,
    "needs": sorted(method.needs),
    "acts_on": method.inert(None, HEAD, {name: live[name].default for name in method.static}),
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


__all__ = [
  "ANCHORS",
  "METHODS",
  "Method",
  "chosen",
  "describe",
  "every",
  "get",
  "hyperparameters",
]
