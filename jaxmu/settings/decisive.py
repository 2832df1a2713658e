"""What of settings can change a number, and the hash that run directories are named by."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from jaxmu.settings.choices import LISTED, SEARCH, ULIRA
from jaxmu.settings.entries import declared
from jaxmu.settings.study_sections import ScenarioSettings

if TYPE_CHECKING:
  from jaxmu.settings.experiment import Settings

LATER = {"draws", "rounds", "path_sha256"}  # entries of `scenario` that came after its first runs


def identity(settings: "Settings") -> dict[str, Any]:
  """Give, JSON-ready, what can change a number; see `Settings.identity`."""
  kept = _decisive(type(settings), settings.to_dict())
  if settings.data.forget or settings.scenario.forget == LISTED:
    del kept["data"]["forget_fraction"]  # which is not read
  kept["unlearning"] = json.loads(json.dumps(written(settings.unlearning.changed)))
  if settings.study == ULIRA or (settings.study == SEARCH and settings.search.splits):
    kept["seeds"] = list(settings.seeds)  # one, with which all its models begin
  else:
    del kept["ulira"]
  if settings.study != SEARCH:
    del kept["search"]
  # No run directory of before changes its name.
  if not (own := settings.own.shared):
    del kept["own"]
  else:
    kept["own"] = {"sha256": own}
  kept["recipe"] = settings.recipe.changed
  if not kept["recipe"]:
    del kept["recipe"]
  if settings.scenario == ScenarioSettings():
    del kept["scenario"]
  for name in LATER & kept.get("scenario", {}).keys():
    if getattr(settings.scenario, name) == getattr(ScenarioSettings(), name):
      del kept["scenario"][name]
  return kept


def _decisive(cls: type, entries: Mapping[str, Any]) -> dict[str, Any]:
  """Keep what is not declared as incidental."""
  kept = {}
  for field in declared(cls):
    if is_dataclass(field.kind):
      if inner := _decisive(field.kind, entries[field.name]):
        kept[field.name] = inner
    elif not field.entry.incidental:
      kept[field.name] = entries[field.name]
  return kept


def hash8(identity: Mapping[str, Any]) -> str:
  """Give the first 8 hex digits of the SHA-256 of an identity as canonical JSON."""
  text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def written(unlearning: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Write hyper-parameters as configs give them."""
  return {
    method: {name: _alone(value) for name, value in given.items()}
    for method, given in unlearning.items()
  }


def _alone(value: Any) -> Any:
  return value[0] if isinstance(value, tuple) and len(value) == 1 else value
