"""Borrow members from sibling runs: changing one method must not train the others again."""

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store.groups import read_marker
from jaxmu.store.record import Record


def borrow(record: Record, stage: str) -> dict[str, int]:
  """Take over groups of runs beside this one that hold members which the study lacks.

  Bytes are shared by hard links and verified; a damaged neighbour is no reason to stop.

  Returns:
    How many members came from which run.
  """
  expected = record.expected[stage]
  wanted = {expected[k].identity for k in record.missing(stage)}
  lent: dict[str, int] = {}
  for marker in record.siblings(stage) if wanted else ():
    try:
      found = wanted & {member.identity for member in read_marker(marker.parent).members}
      if not found or not record.borrow(stage, marker.parent):
        continue
    except (StoreError, CheckpointError):
      continue
    wanted -= found
    lender = marker.parents[3].name
    lent[lender] = lent.get(lender, 0) + len(found)
    if not wanted:
      break
  return lent
