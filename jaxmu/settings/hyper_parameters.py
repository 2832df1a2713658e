"""Section `unlearning` of a config: read, completed, and kept with what differs from the defaults.

What differs from the defaults is what a config adds to a study, so only that belongs to its
identity; and it does for every method that the config names, chosen or not, so that choosing one
more method later leaves the identity as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from jaxmu.errors import closest, shown
from jaxmu.settings.catalog import HyperParameter
from jaxmu.settings.ranges import Unfit
from jaxmu.settings.refusals import Refusal, missing_section, unknown_entry, wrong_value

Values = dict[str, Any]  # hyper-parameter -> value, of one method


class HyperParameters(dict[str, Values]):
  """Complete hyper-parameters of every method that is chosen, or that the config has entries for.

  Attributes:
    changed: of them those that differ from their defaults; methods without any are left out.
  """

  def __init__(
    self,
    complete: Mapping[str, Values] | Iterable[tuple[str, Values]] = (),
    changed: Mapping[str, Values] | None = None,
  ):
    super().__init__(complete)
    self.changed = dict(changed or {})

  @classmethod
  def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Let pydantic take what `read` returns as it is."""
    del source, handler
    return core_schema.is_instance_schema(cls)


def read(given: Any, info: ValidationInfo) -> HyperParameters:
  """Read the entries of all methods named, and complete those and the chosen methods'."""
  if info.context is None:
    return given
  known = info.context.methods
  if not isinstance(given, Mapping):
    raise missing_section("config.unlearning", given)
  clean = _tuned(info)
  for method, entries in given.items():
    if method not in known:
      own = "; one of your own is named in config.own.methods" if info.context.own else ""
      raise Refusal(f": unknown method {shown(method)}; {closest(method, known)}{own}")
    own = _entries(f"config.unlearning.{method}", entries, known[method])
    clean[method] = clean.get(method, {}) | own
  chosen = info.data.get("methods", ())  # absent where they are refused themselves
  complete, changed = {}, {}
  for method in (*chosen, *(method for method in clean if method not in chosen)):
    defaults, own = _defaults(known[method]), clean.get(method, {})
    complete[method] = defaults | own
    if differs := {name: value for name, value in own.items() if value != defaults[name]}:
      changed[method] = differs
  return HyperParameters(complete, changed)


def _tuned(info: ValidationInfo) -> dict[str, Values]:
  """Return what a search found, by method; it is checked as what a config says is."""
  asked, dataset, model = (info.data.get(name) for name in ("tuned", "dataset", "model"))
  if not asked or not dataset or not model:  # the last two are absent where they are refused
    return {}
  known = info.context.methods
  found = info.context.tuned(asked, dataset, model.name)
  return {
    method: _entries(f"config.tuned.{method}", values, known[method])
    for method, values in found.items()
    if method in known
  }


def _defaults(known: Mapping[str, HyperParameter]) -> Values:
  return {name: hyper.default for name, hyper in known.items() if not hyper.dead}


def _entries(path: str, given: Any, known: Mapping[str, HyperParameter]) -> Values:
  """Read one method's hyper-parameters; those that it never reads may be anything."""
  if not isinstance(given, Mapping):
    raise missing_section(path, given)
  clean = {}
  for name, value in given.items():
    if name not in known:
      raise unknown_entry(path, name, _defaults(known), "hyper-parameter")
    if known[name].dead:
      continue
    try:
      clean[name] = known[name].read(value)
    except Unfit as error:
      raise wrong_value(f"{path}.{name}", value, str(error)) from None
  return clean
