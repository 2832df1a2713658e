"""States of members that may go on later, beside the record: what is lost is computed again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmu.errors import CheckpointError
from jaxmu.execution.observations import Snapshot
from jaxmu.store import checkpoint, files
from jaxmu.store.groups import At
from jaxmu.store.record import Record


def save(record: Record, stage: str, group: str, state: Snapshot) -> None:
  """Keep the state of a group's members; it comes before the group is committed."""
  checkpoint.save(record.states(stage, group), state.arrays(), files.plain(state.rest()))


def load(record: Record, stage: str, where: Sequence[At]) -> Snapshot | None:
  """Return the state of finished members in the order of `where`; None where one has none.

  Raises:
    StoreError: one of them is not finished.
  """
  import jax

  places = record.places(stage, where)
  groups = dict.fromkeys(place.group.group for place in places)
  found: dict[str, tuple[Any, Mapping[str, Any]]] = {}
  for group in groups:
    try:
      found[group] = checkpoint.load(record.states(stage, group))
    except CheckpointError:
      return None
  if len({rest["epoch"] for _, rest in found.values()}) != 1:
    return None
  one = lambda place: jax.tree.map(lambda leaf: leaf[place.row], found[place.group.group][0])
  arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, places))
  failures = tuple(found[place.group.group][1]["failures"][place.row] for place in places)
  ((_, rest), *_) = found.values()
  known = {"phase": rest["phase"], "epoch": rest["epoch"], "seconds": 0.0}
  return Snapshot(**known, failures=failures, **arrays)
