"""What the members of a finished stage achieved, as trials."""

import math
from collections.abc import Sequence

import numpy as np

from jaxmu.audit.formulas import search_objective
from jaxmu.search.choice import Trial
from jaxmu.studies.study import Row, Stage


def judged(stage: Stage, rows: Sequence[Row], retrained: Sequence[Row]) -> list[Trial]:
  """Return what the members of a finished stage achieved, in the order of their coordinates.

  Each is compared with the retrained model of its seed; one that is not finite gets four times inf.
  """
  place = tuple(stage.members[0].parent or ()) if stage.members else ()
  anchors = {tuple(row[name] for name in place): row for row in retrained}
  failed = np.full(4, math.inf)
  found = [
    Trial(
      member.at,
      member.hp,
      search_objective(row, anchors[tuple(row[name] for name in place)])
      if row["finite"]
      else failed,
      stage.span.stop if row.get("epochs_left") else 0,
    )
    for member, row in zip(stage.members, rows, strict=True)
  ]
  return sorted(found, key=lambda trial: tuple(trial.at.values()))
