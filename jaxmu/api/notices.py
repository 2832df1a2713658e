"""How a caller is told of what is most likely a mistake, or costs more than it looks."""

import inspect
import warnings
from collections.abc import Iterable

from jaxmu.errors import UnlearningWarning


def warn(sentences: Iterable[str]) -> None:
  """Warn of each sentence, at the caller's line that led here."""
  for sentence in sentences:
    warnings.warn(sentence, UnlearningWarning, stacklevel=_depth())


def _depth() -> int:
  """Count the frames from `warn` to the first one outside of the package."""
  frame, depth = inspect.currentframe(), 0
  while frame is not None and frame.f_globals.get("__name__", "").startswith("jaxmu."):
    frame, depth = frame.f_back, depth + 1
  return depth
