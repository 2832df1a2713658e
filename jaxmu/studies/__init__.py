"""Studies: what is computed, as values, and one way to compute it on any number of processes."""

from jaxmu.studies.registry import STUDIES, catalog, study_of
from jaxmu.studies.run import run

__all__ = ["STUDIES", "catalog", "run", "study_of"]
