"""Borrow scores from sibling studies: adding a method must not train the originals again."""

import shutil
from pathlib import Path

from jaxmu.errors import StoreError
from jaxmu.shadows.scores import STATISTIC
from jaxmu.shadows.study_context import Lab
from jaxmu.store import typed_json
from jaxmu.store.records import ScoresRecord
from jaxmu.studies.reuse import copy_tree


def borrow(lab: Lab, name: str) -> str:
  """Copy the scores of a stage that a run beside this one computed from the same numbers.

  Returns:
    Name of the run that lent them, the one with most models; "" where this run has some of its own
    or there is none.
  """
  mine = lab.scores(name)
  if mine.models:
    return ""
  lenders = []
  for index in sorted(lab.run.path.parent.glob(f"*/scores/{name}.json")):
    try:
      known = typed_json.load(ScoresRecord, index)
      if known.identity == mine.identity and known.statistic == STATISTIC:
        lenders.append((len(known.models), index))
    except StoreError:  # a damaged neighbour is no reason to stop
      continue
  if not lenders:
    return ""
  index = max(lenders, key=lambda found: found[0])[1]
  lender = index.parent.parent
  if name == "original":
    for state in sorted(lender.glob("state/original-*")):
      copy_tree(state, lab.run.state_path(state.name))
  mine.folder.mkdir(parents=True, exist_ok=True)
  for source in (index.with_suffix(".phi"), index.with_suffix(".correct"), index):  # index last
    _copy(source, mine.folder / source.name)
  lab.run.log({"event": "borrowed", "stage": name, "from": lender.name})
  return lender.name


def _copy(source: Path, target: Path) -> None:
  """Copy a file, whole or not at all."""
  partial = target.with_name(f".{target.name}.tmp")
  shutil.copyfile(source, partial)
  partial.replace(target)
