"""Settings: a config is read once, at the edge, and is plain checked values from there on."""

from jaxmu.lazy import door

__all__ = [
  "Catalog",
  "DataSettings",
  "EvaluationSettings",
  "ModelSettings",
  "PopulationSettings",
  "RecipeSettings",
  "ReportSettings",
  "SearchSettings",
  "Settings",
  "TrainingSettings",
  "UliraSettings",
  "schema",
]

# On first use: every room reads `settings.ranges`, only configs need pydantic.
__getattr__, __dir__ = door(
  __name__,
  {
    "Catalog": "jaxmu.settings.catalog",
    "DataSettings": "jaxmu.settings.sections",
    "EvaluationSettings": "jaxmu.settings.sections",
    "ModelSettings": "jaxmu.settings.sections",
    "PopulationSettings": "jaxmu.settings.sections",
    "RecipeSettings": "jaxmu.settings.recipe_section",
    "ReportSettings": "jaxmu.settings.sections",
    "SearchSettings": "jaxmu.settings.study_sections",
    "Settings": "jaxmu.settings.experiment",
    "TrainingSettings": "jaxmu.settings.sections",
    "UliraSettings": "jaxmu.settings.study_sections",
    "schema": "jaxmu.settings.experiment",
  },
)
