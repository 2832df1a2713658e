"""Unlearning methods: one file each, one line each in the registry."""

from jaxmu.errors import MethodError, closest
from jaxmu.unlearning import anchors, ct, ft, ga, msg, ngplus
from jaxmu.unlearning.method import Method

ANCHORS: dict[str, Method] = {"original": anchors.ORIGINAL, "retrained": anchors.RETRAINED}
METHODS: dict[str, Method] = {
  "ft": ft.METHOD,
  "ga": ga.METHOD,
  "ngplus": ngplus.METHOD,
  "msg": msg.METHOD,
  "ct": ct.METHOD,
}


def get(name: str) -> Method:
  """Return the method, or anchor, called `name`; MethodError for an unknown one."""
  known = {**ANCHORS, **METHODS}
  if name not in known:
    raise MethodError(f"unknown method '{name}'; {closest(name, METHODS)}")
  return known[name]


__all__ = ["ANCHORS", "METHODS", "Method", "get"]
