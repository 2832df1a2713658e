"""When one model counts as destroyed: by its logits before and after, and by nothing else."""

import numpy as np
import pytest

from jaxmu.audit.outcome import damage, useless

CLASSES = 4
LABELS = np.arange(400) % CLASSES


def logits(share, samples=400, classes=CLASSES):
  """Return logits whose predictions are right for a share of the samples."""
  labels = np.arange(samples) % classes
  shown = np.where(np.arange(samples) < round(share * samples), labels, (labels + 1) % classes)
  return np.eye(classes)[shown]


def after(share, before=0.9, samples=400, classes=CLASSES):
  """Judge a fall of accuracy."""
  given = lambda share: logits(share, samples, classes)
  return damage(lambda: given(before), given(share), np.arange(samples) % classes)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.29, 0.44])
def test_less_than_half_or_chance_is_destroyed(share):
  assert after(share) == f"accuracy fell from 0.900 to {share:.3f}, where guessing gives 0.250"


@pytest.mark.parametrize("share", [0.46, 0.6, 0.9, 1.0])
def test_what_keeps_half_is_not(share):
  assert after(share) == ""


def test_of_two_classes_chance_is_a_half():
  assert after(0.53, classes=2, samples=1000).endswith("to 0.530, where guessing gives 0.500")
  assert after(0.6, classes=2, samples=1000) == ""


def test_a_model_that_had_not_learned_cannot_be_destroyed():
  assert after(0.05, before=0.27) == ""


def test_a_fall_within_the_noise_of_few_samples_is_none():
  """From 3 of 8 right to 1 of 8 by chance alone, while 38 of 100 to 13 of 100 are no chance."""
  assert after(0.125, before=0.375, samples=8) == ""
  assert after(0.13, before=0.38, samples=100) != ""


def test_one_class_for_all_is_destroyed_however_often_it_is_right():
  """Nine of ten samples are of one class, so that a constant answer looks accurate."""
  labels = np.r_[np.zeros(90, int), np.arange(10) % 3 + 1]
  constant = np.eye(CLASSES)[np.zeros(100, int)]
  assert damage(lambda: np.eye(CLASSES)[labels], constant, labels) == (
    "all 100 samples are given class 0"
  )
  assert damage(lambda: constant, constant, labels) == ""  # it was so before
  assert damage(lambda: constant, constant[:90], labels[:90]) == ""  # there is one class only


def test_logits_without_a_meaning_are_destroyed():
  for value in (np.nan, np.inf):
    bad = logits(0.9)
    bad[[3, 5], 1] = value
    assert damage(lambda: logits(0.9), bad, LABELS) == (
      "the logits of 2 of 400 samples are not finite"
    )


def test_the_logits_before_are_asked_for_only_in_doubt():
  def late():
    raise AssertionError("not needed")

  assert damage(late, logits(0.6), LABELS) == ""


@pytest.mark.parametrize(
  ("accuracy", "ratio", "chance", "answer"),
  [
    (0.8, 0.49, 0.1, True),
    (0.8, 0.51, 0.1, False),
    (0.15, 1.0, 0.1, True),
    (0.16, 1.0, 0.1, False),
    (0.015, 1.0, 0.01, True),
    (0.016, 1.0, 0.01, False),
    (np.nan, np.nan, 0.1, False),
    (0.1, 1.0, np.nan, False),
  ],
)
def test_useless_is_half_lost_or_near_chance(accuracy, ratio, chance, answer):
  assert useless(accuracy, ratio, chance) is answer
