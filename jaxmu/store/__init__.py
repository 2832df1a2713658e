"""The run directory, the record of members, checkpoints: the only room that knows paths."""

from jaxmu.store.run import Run

__all__ = ["Run"]
