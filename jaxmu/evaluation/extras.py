"""What a plain installation does not have is asked for in one line."""

from types import ModuleType

from jaxmu.errors import StoreError


def reports() -> ModuleType:
  """Return `jaxmu.report`, which takes longer to import than to write a page.

  Raises:
    StoreError: a package of the extra `report` is not installed.
  """
  try:
    from jaxmu import report
  except ModuleNotFoundError as error:
    raise StoreError(
      f"a report needs {error.name}, which is not installed; run pip install 'jaxmu[report]', or "
      "write the evidence of an evaluation alone: .evidence(folder), jaxmu evaluate --evidence"
    ) from None
  return report
