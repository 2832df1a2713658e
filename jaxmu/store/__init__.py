"""The run directory, checkpoints and their inspection: the only room that knows paths."""

from jaxmu.store.run import COLUMNS, Run

__all__ = ["COLUMNS", "Run"]
