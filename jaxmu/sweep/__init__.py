"""The benchmark from a config to a report: train, unlearn, predict, attack, write down."""

from jaxmu.sweep.driver import sweep
from jaxmu.sweep.preparation import catalog

__all__ = ["catalog", "sweep"]
