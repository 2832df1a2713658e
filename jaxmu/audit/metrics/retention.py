"""Accuracies beside those of the retrained model of the same seed."""

from collections.abc import Mapping

import numpy as np

from jaxmu.audit import formulas
from jaxmu.audit.influence import Influence
from jaxmu.audit.metric import AUDIT, DETAIL, EVERY, MAIN, MEMBERS, ROWS, Metric

RATIOS = {"RR": "RA", "FR": "FA", "TR": "TA"}


def _ratio(name: str) -> Metric:
  column = RATIOS[name]

  def moved(own: Influence, row: Mapping, other: Influence, reference: Mapping):
    if not other:
      return None
    if not reference[column] > 0:
      return np.full(len(own[column]), np.nan, np.float32)
    change = own[column] - row[column] / reference[column] * other[column]
    return change / np.float32(reference[column])

  return Metric(
    name,
    title=f"`{column}` divided by the retrained model's",
    reads=ROWS,
    needs=(column,),
    of=lambda new, reference: formulas.retention(new[column], reference[column]),
    influence=moved,
    tables={DETAIL: 1},
  )


def _deviation(own: Influence, row: Mapping, other: Influence, reference: Mapping):
  """Return the influence on RetDev; ratios that do not exist have no part in it."""
  if not other:
    return None
  total = np.zeros(len(own["RA"]), np.float32)
  for ratio, column in RATIOS.items():
    if reference[column] > 0:
      total += np.float32(np.sign(row[column] / reference[column] - 1)) * own[ratio]
  return total


RR = _ratio("RR")
FR = _ratio("FR")
TR = _ratio("TR")
RETDEV = Metric(
  *("RetDev", "RetDev", "0"),
  "Retention deviation: |RR−1| + |FR−1| + |TR−1|, where RR, FR and TR are retain, forget and "
  "test accuracy divided by those of the retrained model of the same seed.",
  "Compares accuracies only. Two models can agree in all three and still differ on every sample.",
  title="sum of the distances of `RR`, `FR` and `TR` from 1",
  reads=ROWS,
  needs=tuple(RATIOS),
  of=lambda new, reference: formulas.retention_deviation(*(new[name] for name in RATIOS)),
  influence=_deviation,
  tables={MAIN: 1, MEMBERS: 0, AUDIT: 0},
  better="low",
  paired=EVERY,
  of_means=True,
)
COMPARED = ("RA", "FA", "TA", "T_MIA")  # by `gap`


def _moved_gap(own: Influence, row: Mapping, other: Influence, reference: Mapping):
  if not other or "T_MIA" not in own or "T_MIA" not in other:
    return None
  signs = {name: np.float32(np.sign(row[name] - reference[name])) for name in COMPARED}
  return sum(signs[name] * (own[name] - other[name]) for name in COMPARED) / len(COMPARED)


GAP = Metric(
  *("gap", "Gap", "0"),
  "Mean of the absolute differences of retain, forget and test accuracy and of T-MIA to those of "
  "the retrained model of the same seed. It stands in the place of RetDev, whose ratios need a "
  "retrained model that knows something of the forget set.",
  "Compares four numbers only. Two models can agree in all and still differ on every sample.",
  title="mean of the absolute differences of `RA`, `FA`, `TA` and `T_MIA` to the retrained "
  "model's; has a value where the retrained forget accuracy is 0, too",
  reads=ROWS,
  needs=COMPARED,
  of=lambda new, reference: formulas.gap(*(new[name] - reference[name] for name in COMPARED)),
  influence=_moved_gap,
  tables={DETAIL: 6},
  better="low",
  paired=EVERY,
  most=1.0,
)
SAPE_FORGET = Metric(
  "SAPE_forget",
  title="symmetric percentage difference of `FA` and the retrained model's",
  reads=ROWS,
  needs=("FA",),
  of=lambda new, reference: formulas.sape(new["FA"], reference["FA"]),
  tables={DETAIL: 6},
)
