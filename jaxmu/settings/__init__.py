"""Settings: a config is read once, at the edge, and is plain checked values from there on."""

from jaxmu.settings.experiment import (
  Catalog,
  DataSettings,
  EvaluationSettings,
  ModelSettings,
  PopulationSettings,
  Settings,
  TrainingSettings,
  schema,
)

__all__ = [
  "Catalog",
  "DataSettings",
  "EvaluationSettings",
  "ModelSettings",
  "PopulationSettings",
  "Settings",
  "TrainingSettings",
  "schema",
]
