"""Unlearning methods: one file each, one line each in the registry."""

from typing import Any

from jaxmu.errors import MethodError, closest
from jaxmu.unlearning import anchors, bt, cfk, ct, euk, fcs, ft, ga, msg, ngplus, salun, scrub, srl
from jaxmu.unlearning.method import Method

ANCHORS: dict[str, Method] = {"original": anchors.ORIGINAL, "retrained": anchors.RETRAINED}
METHODS: dict[str, Method] = {
  "ft": ft.METHOD,
  "ga": ga.METHOD,
  "srl": srl.METHOD,
  "ngplus": ngplus.METHOD,
  "cfk": cfk.METHOD,
  "euk": euk.METHOD,
  "bt": bt.METHOD,
  "scrub": scrub.METHOD,
  "salun": salun.METHOD,
  "fcs": fcs.METHOD,
  "msg": msg.METHOD,
  "ct": ct.METHOD,
}


def get(name: str) -> Method:
  """Return the method, or anchor, called `name`; MethodError for an unknown one."""
  known = {**ANCHORS, **METHODS}
  if name not in known:
    raise MethodError(f"unknown method '{name}'; {closest(name, METHODS)}")
  return known[name]


def describe(method: Method) -> dict[str, Any]:
  """Return what a reader wants to know about a method, as plain JSON values."""
  return {
    "title": method.title,
    "summary": method.summary,
    "paper": method.paper,
    "needs": sorted(method.needs),
    "hyperparameters": dict(method.defaults),
    "fidelity": method.fidelity,
    "oddities": method.oddities,
    "draws": dict(method.draws),
  }


__all__ = ["ANCHORS", "METHODS", "Method", "describe", "get"]
