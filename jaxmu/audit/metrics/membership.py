"""Attacks that tell forgotten from unseen samples by one rule for all of them."""

import math

import numpy as np

from jaxmu.audit import influence
from jaxmu.audit.attacks.svc_mia import svc_mia_of
from jaxmu.audit.evidence import FIRST, LIKE_FORGET, UNSEEN, Evidence
from jaxmu.audit.intervals import Fitting
from jaxmu.audit.metric import AUDIT, DETAIL, EVERY, LOGITS, MAIN, MEMBERS, RETRAINED, Metric

# Ten random folds scatter 1.14 to 1.25 times as much as guesses of independent samples would.
FOLDS = Fitting(1.5, 1.0)
FIVE = Fitting(1.5, 1.5)  # five folds, dealt once


def _mia(name: str, unseen: str, *words: str, **options) -> Metric:
  def moved(member: Evidence) -> np.ndarray:
    found, sets = member.attacks[unseen], (member.sets[unseen], member.sets["forget"])
    return influence.of_guesses((found.unseen, found.forget), sets, member.size)

  return Metric(
    *(name, *words),
    reads=LOGITS,
    needs=(unseen,),
    of=lambda member: member.attacks[unseen].accuracy,
    influence=moved,
    most=1.0,
    chance=0.5,
    fitting=FOLDS,
    **options,
  )


def _auc(name: str, unseen: str, **options) -> Metric:
  def moved(member: Evidence) -> np.ndarray:
    return influence.of_auc(member.losses, (member.sets[unseen], member.sets["forget"]))

  return Metric(
    name,
    reads=LOGITS,
    needs=(unseen,),
    of=lambda member: member.attacks[unseen].auc,
    influence=moved,
    most=1.0,
    chance=0.5,
    **options,
  )


def _one_attack(name: str, title: str) -> Metric:
  return Metric(
    f"T_{name}",
    title=title,
    reads=LOGITS,
    of=lambda member: member.strongest.every[name][0],
    influence=lambda member: _of_credits(member, member.strongest.credits[name]),
    tables={DETAIL: 5},
    most=1.0,
    chance=0.5,
    fitting=FIVE,
  )


def _of_credits(member: Evidence, credits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
  sides = tuple(side[0] for side in credits)
  return influence.of_credits(sides, (member.sets["forget"], member.sets[UNSEEN]), member.size)


def _of_first(member: Evidence) -> np.ndarray:
  found, sets = member.first_attacked, (member.sets[UNSEEN], member.sets[FIRST])
  return influence.of_guesses((found.unseen, found.forget), sets, member.size)


def _svc(member: Evidence) -> float:
  limit, sets = member.population.svc_limit, member.sets
  if not limit or len(sets["retain"]) < 2:
    return math.nan
  rows = {"retain": sets["retain"], "test": sets[UNSEEN], "forget": sets["forget"]}
  return svc_mia_of(member.scores["confidence"], **rows, limit=limit)


V_MIA = _mia(
  *("V_MIA", LIKE_FORGET),
  title="accuracy of the membership attack, forget against validation samples",
  tables={DETAIL: 2, MEMBERS: 0},
)
T_MIA = _mia(
  *("T_MIA", UNSEEN, "MIA", "0.5"),
  "Membership inference (T-MIA): accuracy of a balanced attack that tells forget samples from "
  "test samples by one threshold on the loss, mean of ten random 90/10 splits.",
  "A weak population attack. At one half it does not prove that single samples are safe; "
  "per-sample attacks such as U-LiRA find more.",
  title="accuracy of the membership attack, forget against test samples",
  tables={MAIN: 3, MEMBERS: 0, AUDIT: 0},
  paired=RETRAINED,
)
V_AUC = _auc(
  *("V_AUC", LIKE_FORGET),
  title="chance that a forget loss lies below a validation loss, ties counting half",
  tables={DETAIL: 4},
)
T_AUC = _auc(
  *("T_AUC", UNSEEN),
  title="chance that a forget loss lies below a test loss",
  tables={DETAIL: 3, AUDIT: 0},
  paired=RETRAINED,
)
T_STRONGEST = Metric(
  *("T_strongest", "Strongest", "0.5"),
  "Accuracy of the strongest of several attacks: thresholds, on either side, on confidence, on "
  "certainty (entropy), on both, on right or wrong, and bands of confidence. It is chosen on "
  "validation samples and measured on forget and test samples that had no part in the choice, so "
  "that trying several is paid for. The word beside the number says which one it was.",
  "Still one rule for all samples: single samples may be recognisable where this reads one half. "
  "Compare with the retrained models' value.",
  title="accuracy of the strongest of several attacks, forget against test samples, chosen on "
  "validation samples",
  reads=LOGITS,
  of=lambda member: member.strongest.accuracy[0],
  influence=lambda member: _of_credits(member, (member.strongest.forget, member.strongest.unseen)),
  tables={MAIN: 2, MEMBERS: 0, AUDIT: 0},
  better="low",
  paired=EVERY,
  most=1.0,
  chance=0.5,
  fitting=FIVE,
)
T_ATTACK = Metric(
  "T_attack",
  title="which one that was in most of the five folds: `margin`, `entropy`, `modified_entropy`, "
  "`correctness` or `histogram`",
  reads=LOGITS,
  of=lambda member: member.strongest.attack[0],
  word=True,
)
T_MARGIN = _one_attack(
  "margin",
  "accuracy of a threshold on the margin, on either side; loss and confidence rank samples alike",
)
T_ENTROPY = _one_attack("entropy", "accuracy of a threshold on the entropy of the prediction")
T_MODIFIED_ENTROPY = _one_attack(
  "modified_entropy", "accuracy of a threshold on the modified entropy"
)
T_CORRECTNESS = _one_attack("correctness", "accuracy of guessing from right or wrong")
T_HISTOGRAM = _one_attack(
  "histogram",
  'accuracy of guessing "forgotten" in bins of margins with more forgotten than unseen samples',
)
T_MIA_FIRST = Metric(
  *("T_MIA_first", "MIA (first round)", "0.5"),
  "T-MIA of what the first round forgot, attacked after this round: above what it was then, a "
  "later request has brought it back to light.",
  "A weak population attack, as T-MIA.",
  title="where a request comes in rounds, accuracy of the membership attack on what the first "
  "round forgot",
  reads=LOGITS,
  needs=(FIRST, UNSEEN),
  of=lambda member: member.first_attacked.accuracy,
  influence=_of_first,
  tables={DETAIL: 3},
  paired=RETRAINED,
  most=1.0,
  chance=0.5,
  fitting=FOLDS,
)
SVC_MIA = Metric(
  "SVC_MIA",
  title="share of forget samples that a support-vector classifier of retain against test samples "
  "takes for unseen ones; compare with the retrained model's",
  reads=LOGITS,
  of=_svc,
  tables={DETAIL: 5, AUDIT: 0},
)
