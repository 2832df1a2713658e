"""How little an attack finds, whether it reads above one half or below."""

from collections.abc import Callable, Mapping

import numpy as np

from jaxmu.audit import formulas
from jaxmu.audit.influence import Influence
from jaxmu.audit.intervals import Fitting
from jaxmu.audit.metric import AUDIT, DETAIL, EVERY, MAIN, MEMBERS, ROWS, Metric

# |2 MIA - 1| is at its end where the attack is at chance: what folds add does not fade there.
FOLDS = Fitting(1.5, 1.5)


def _influence(column: str, slope: int) -> Callable:
  def moved(own: Influence, row: Mapping, other: Influence, reference: Mapping):
    if column not in own:
      return None
    return slope * np.float32(np.sign(row[column] - 0.5)) * own[column]

  return moved


DISC = Metric(
  "Disc",
  title="distance of `T_MIA` from one half, times 2",
  reads=ROWS,
  needs=("T_MIA",),
  of=lambda new, reference: formulas.discernibility(new["T_MIA"]),
  influence=_influence("T_MIA", 2),
  most=1.0,
  fitting=FOLDS,
)
INDISC = Metric(
  *("Indisc", "Indisc", "1"),
  "Indiscernibility: 1 − |2·MIA − 1|, from T-MIA, per seed. 1 means the attacker guesses; 0 "
  "means the attacker is always right or always wrong.",
  "Inherits everything that the attack misses. Noise alone keeps a perfect model below 1: "
  "compare with the retrained row.",
  title="1 - `Disc`",
  reads=ROWS,
  needs=("T_MIA",),
  of=lambda new, reference: formulas.indiscernibility(new["T_MIA"]),
  influence=_influence("T_MIA", -2),
  tables={MAIN: 4, MEMBERS: 0, AUDIT: 0},
  better="high",
  paired=EVERY,
  most=1.0,
  fitting=FOLDS,
  of_means=True,
)
NOMUS = Metric(
  "NoMUS",
  title="half of `TA` and half of `Indisc`: accuracy and privacy in one number, 1 at best",
  reads=ROWS,
  needs=("TA", "T_MIA"),
  of=lambda new, reference: formulas.nomus(new["TA"], new["T_MIA"]),
  influence=lambda own, row, other, reference: (
    (own["TA"] + own["Indisc"]) / 2 if "TA" in own and "Indisc" in own else None
  ),
  tables={DETAIL: 6},
  most=1.0,
  fitting=FOLDS,
)
V_INDISC = Metric(
  "V_Indisc",
  title="the same from `V_MIA`",
  reads=ROWS,
  needs=("V_MIA",),
  of=lambda new, reference: formulas.indiscernibility(new["V_MIA"]),
  influence=_influence("V_MIA", -2),
  most=1.0,
  fitting=FOLDS,
)
