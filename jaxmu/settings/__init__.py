"""Settings: a config is read once, at the edge, and is plain checked values from there on."""

import importlib

__all__ = [
  "Catalog",
  "DataSettings",
  "EvaluationSettings",
  "ModelSettings",
  "PopulationSettings",
  "Settings",
  "TrainingSettings",
  "UliraSettings",
  "schema",
]

_LAZY = {
  "Catalog": "jaxmu.settings.catalog",
  "DataSettings": "jaxmu.settings.sections",
  "EvaluationSettings": "jaxmu.settings.sections",
  "ModelSettings": "jaxmu.settings.sections",
  "PopulationSettings": "jaxmu.settings.sections",
  "Settings": "jaxmu.settings.experiment",
  "TrainingSettings": "jaxmu.settings.sections",
  "UliraSettings": "jaxmu.settings.sections",
  "schema": "jaxmu.settings.experiment",
}


def __getattr__(name: str):
  """Import on first use: every room reads `settings.ranges`, only configs need pydantic."""
  if name in _LAZY:
    return getattr(importlib.import_module(_LAZY[name]), name)
  raise AttributeError(f"module 'jaxmu.settings' has no attribute '{name}'")


def __dir__() -> list[str]:
  return sorted(__all__)
