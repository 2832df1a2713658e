"""The run directory, checkpoints and their inspection: the only room that knows paths."""

from jaxmu.store.run import Run

__all__ = ["Run"]
