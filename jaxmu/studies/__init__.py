"""The benchmark from a config to a report: train, unlearn, predict, attack, write down."""

from jaxmu.studies.driver import sweep
from jaxmu.studies.preparation import catalog

__all__ = ["catalog", "sweep"]
