"""Unlearning methods: one file each, one line each in the registry."""

from typing import Any

from jaxmu.errors import MethodError, closest
from jaxmu.training import anchors
from jaxmu.training.method import Method
from jaxmu.unlearning import (
  bt,
  cfk,
  cfw,
  ct,
  euk,
  fcs,
  ff,
  ft,
  ga,
  iu,
  kde,
  msg,
  ngplus,
  prmq,
  rni,
  salun,
  scrub,
  srl,
)

ANCHORS: dict[str, Method] = {"original": anchors.ORIGINAL, "retrained": anchors.RETRAINED}
METHODS: dict[str, Method] = {
  "ft": ft.METHOD,
  "ga": ga.METHOD,
  "srl": srl.METHOD,
  "ngplus": ngplus.METHOD,
  "cfk": cfk.METHOD,
  "euk": euk.METHOD,
  "ff": ff.METHOD,
  "iu": iu.METHOD,
  "bt": bt.METHOD,
  "scrub": scrub.METHOD,
  "salun": salun.METHOD,
  "fcs": fcs.METHOD,
  "msg": msg.METHOD,
  "cfw": cfw.METHOD,
  "prmq": prmq.METHOD,
  "ct": ct.METHOD,
  "kde": kde.METHOD,
  "rni": rni.METHOD,
}


def get(name: str) -> Method:
  """Return the method, or anchor, called `name`; MethodError for an unknown one."""
  known = {**ANCHORS, **METHODS}
  if name not in known:
    raise MethodError(f"unknown method '{name}'; {closest(name, METHODS)}")
  return known[name]


def describe(method: Method) -> dict[str, Any]:
  """Return what a reader wants to know about a method, as plain JSON values.

  "search" holds, per hyper-parameter, the reference's range and the one recommended instead
  (methods.md 10.4); "ignored" names what the reference searches but never reads.
  """
  listed = lambda value: list(value) if isinstance(value, tuple) else value
  return {
    "title": method.title,
    "summary": method.summary,
    "paper": method.paper,
    "needs": sorted(method.needs),
    "hyperparameters": {name: listed(value) for name, value in method.defaults.items()},
    "choices": {name: list(values) for name, values in method.choices.items()},
    "search": {
      name: {"reference": str(found), "fixed": str(method.amended.get(name, found))}
      for name, found in method.space.items()
    },
    "ignored": list(method.dead),
    "fidelity": method.fidelity,
    "fidelities": list(method.fidelities),
    "oddities": method.oddities,
    "draws": dict(method.draws),
  }


__all__ = ["ANCHORS", "METHODS", "Method", "describe", "get"]
