"""Accuracies and mean losses on the sets."""

import numpy as np

from jaxmu.audit import influence
from jaxmu.audit.evidence import CLEAN, EVERY_ROUND, GONE, KEPT, Evidence
from jaxmu.audit.metric import (
  AS_RETRAINED,
  AUDIT,
  DETAIL,
  LOGITS,
  MAIN,
  MEMBERS,
  RETRAINED,
  Metric,
)


def _accuracy(name: str, of_set: str, *words: str, **options) -> Metric:
  value, moved = lambda member: _right(member, of_set), lambda member: _moved(member, of_set)
  return Metric(name, *words, reads=LOGITS, of=value, influence=moved, most=1.0, **options)


def _right(member: Evidence, of_set: str) -> float:
  return _mean(member.right[member.sets[of_set]])


def _moved(member: Evidence, of_set: str) -> np.ndarray:
  index = member.sets[of_set]
  return influence.of_mean(member.right[index], index, member.size)


def _loss(of_set: str, words: str, tables: dict[str, int] | None = None) -> Metric:
  return Metric(
    f"loss_{of_set}",
    title=f"mean cross-entropy on the {words} set",
    reads=LOGITS,
    of=lambda member: _mean(member.losses[member.sets[of_set]]),
    tables=tables or {},
  )


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else np.nan


RA = _accuracy(
  *("RA", "retain", "RA", AS_RETRAINED),
  "Retain accuracy: share of the samples that stay that are classified correctly.",
  "These are training samples: a high value shows fit, not quality.",
  title="accuracy on the retain set",
  tables={MAIN: 0, MEMBERS: 0},
)
FA = _accuracy(
  *("FA", "forget", "FA", AS_RETRAINED),
  "Forget accuracy: the same on the samples to be deleted.",
  "Retrained models still classify most of them, by generalising. Lower than retrained is "
  "damage, not better forgetting.",
  title="accuracy on the forget set",
  tables={MAIN: 0, MEMBERS: 0, AUDIT: 0},
  paired=RETRAINED,
)
VA = _accuracy(
  *("VA", "val"), title="accuracy on the validation set", tables={DETAIL: 0, MEMBERS: 0}
)
TA = _accuracy(
  *("TA", "test", "TA", AS_RETRAINED),
  "Test accuracy: on test samples, which nothing has touched.",
  "An average: it can hide a class or a group that got worse.",
  title="accuracy on the test set",
  tables={MAIN: 0, MEMBERS: 0, AUDIT: 0},
  paired=RETRAINED,
)
TA_CLEAN = _accuracy(
  *("TA_clean", CLEAN, "TA (clean labels)", AS_RETRAINED),
  "Test accuracy on the test samples that kept their true label. RetDev uses the accuracy "
  "on all test samples, random labels included.",
  title="accuracy on the test samples whose label was not changed by `data.random_labels`; equals "
  "`TA` without it",
  tables={MEMBERS: 0},
  paired=RETRAINED,
)
TA_KEPT = _accuracy(
  *("TA_kept", KEPT, "TA (kept)", AS_RETRAINED),
  "Test accuracy on the classes that stay.",
  "An average: it can hide a class or a group that got worse.",
  title="accuracy on the test samples of classes that stay, where all training samples of others "
  "are forgotten; no value else",
  needs=(KEPT, GONE),
  tables={MEMBERS: 0, DETAIL: 1},
  paired=RETRAINED,
)
TA_FORGOTTEN = _accuracy(
  *("TA_forgotten", GONE, "TA (forgotten)", AS_RETRAINED),
  "Test accuracy on the classes that are forgotten entirely; retrained models never saw them.",
  "Zero is easy to reach by never saying these classes, whatever else a model remembers of them.",
  title="the same on the classes that are forgotten",
  needs=(KEPT, GONE),
  tables={MEMBERS: 0, DETAIL: 1},
  paired=RETRAINED,
)
FA_ALL = _accuracy(
  *("FA_all", EVERY_ROUND, "FA (all rounds)", AS_RETRAINED),
  "Forget accuracy on everything that was forgotten so far, in this round and those before.",
  "Retrained models still classify most of them, by generalising.",
  title="where a request comes in rounds, accuracy on what this round and those before forgot",
  needs=(EVERY_ROUND,),
  tables={DETAIL: 1},
  paired=RETRAINED,
)
J = Metric(
  "J",
  title="`RA` times (1 - `FA`), 1 at best, where classes are forgotten entirely",
  reads=LOGITS,
  needs=(KEPT, GONE),
  of=lambda member: _right(member, "retain") * (1 - _right(member, "forget")),
  influence=lambda member: (
    (1 - _right(member, "forget")) * _moved(member, "retain")
    - _right(member, "retain") * _moved(member, "forget")
  ),
  tables={DETAIL: 1},
  most=1.0,
)
LOSS_RETAIN = _loss("retain", "retain")
LOSS_FORGET = _loss("forget", "forget", {DETAIL: 7})
LOSS_VAL = _loss("val", "validation")
LOSS_TEST = _loss("test", "test", {DETAIL: 7})
