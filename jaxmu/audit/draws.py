"""Rows of members: several forget sets of a seed, and rounds of one, on the way to rows of seeds.

Forget sets of a seed share its original model, so they are no independent evidence: a seed's number
is the mean over them, and summaries and intervals are over seeds.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

SEED, DRAW, ROUND = "seed", "draw", "round"  # columns; the latter two only where there are several


class Place(NamedTuple):
  """Whose forget set a row is of."""

  seed: int
  draw: int = 0


def place(row: Mapping[str, Any]) -> Place:
  """Return whose forget set a row is of."""
  return Place(row[SEED], row.get(DRAW, 0))


def of_last_round(rows: pd.DataFrame) -> pd.DataFrame:
  """Return the rows after all requests; all of them where there are no rounds."""
  return rows[rows[ROUND] == rows[ROUND].max()] if ROUND in rows else rows


def per_seed(rows: pd.DataFrame) -> pd.DataFrame:
  """Return a row for each method and seed: means over its forget sets that are finite.

  A seed is finite if any of its sets is; of words the most frequent one stays.
  """
  if DRAW not in rows:
    return rows
  found = []
  for _, own in rows.groupby(["method", SEED], sort=False):
    sound = own[own["finite"].astype(bool)]
    kept = sound if len(sound) else own
    row = own.iloc[0].to_dict()
    for name, values in kept.items():
      numeric = pd.api.types.is_float_dtype(values)
      row[str(name)] = values.mean() if numeric else values.mode().iloc[0]
    found.append(row | {"finite": bool(len(sound))})
  return pd.DataFrame(found, columns=rows.columns).drop(columns=DRAW)
