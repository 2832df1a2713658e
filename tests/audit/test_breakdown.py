"""Accuracies by class and ROC curves against naive loops and scikit-learn."""

import numpy as np
from sklearn.metrics import confusion_matrix, roc_curve

from jaxmu.audit import breakdown
from jaxmu.audit.attacks.scores import cross_entropy

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 200)
LOGITS = RNG.normal(size=(200, 4)) + 2 * np.eye(4)[LABELS]


def test_accuracy_by_class_is_that_of_the_samples_of_the_class():
  sets = {"forget": np.arange(30), "test": np.flatnonzero(LABELS != 2)}
  rows = breakdown.by_class(LOGITS, LABELS, sets)
  for name, index in sets.items():
    for one in range(4):
      chosen = [i for i in index if LABELS[i] == one]
      found = [row for row in rows if row["set"] == name and row["class"] == one]
      if not chosen:
        assert not found
        continue
      right = sum(LOGITS[i].argmax() == one for i in chosen)
      assert [(row["n"], row["accuracy"]) for row in found] == [(len(chosen), right / len(chosen))]
  whole = [row for row in rows if row["set"] == "forget"]
  assert sum(row["n"] for row in whole) == 30


def test_roc_is_that_of_scikit_learn_at_the_allowed_rates():
  forget, unseen = np.arange(80), np.arange(80, 200)
  rows = breakdown.roc(LOGITS, LABELS, forget, unseen)
  losses = cross_entropy(LOGITS[None], LABELS)[0]
  label = np.r_[np.ones(80), np.zeros(120)]
  fpr, tpr, _ = roc_curve(label, -losses, drop_intermediate=False)
  assert len(rows) == breakdown.POINTS and rows[-1] == {"fpr": 1.0, "tpr": 1.0}
  for row in rows:
    assert row["tpr"] == tpr[fpr <= row["fpr"] * (1 + 1e-9)].max()


def test_ties_go_against_the_attacker():
  same = np.zeros((200, 4))
  rows = breakdown.roc(same, LABELS, np.arange(80), np.arange(80, 200))
  assert [row["tpr"] for row in rows[:-1]] == [0.0] * (breakdown.POINTS - 1)


def test_confusions_are_those_of_scikit_learn_without_zeros():
  sets = {"test": np.flatnonzero(LABELS != 2), "few": np.arange(9)}
  rows = breakdown.confusion(LOGITS, LABELS, sets)
  for name, index in sets.items():
    wanted = confusion_matrix(LABELS[index], LOGITS[index].argmax(-1), labels=range(4))
    found = np.zeros((4, 4))
    for row in (row for row in rows if row["set"] == name):
      assert row["share"] > 0
      found[row["class"], row["predicted"]] = row["share"]
    total = wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(found, wanted / np.maximum(total, 1))
  assert not [row for row in rows if row["set"] == "test" and row["class"] == 2]
