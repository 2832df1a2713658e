"""Simple scores by hand, rates against scikit-learn, and the one-threshold attack at chance."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmu.audit.attacks import fits as gaussians
from jaxmu.audit.attacks.population_mia import population_mia_many
from jaxmu.audit.attacks.population_scores import (
  SCORES,
  auc,
  population_attacks,
  population_scores,
  roc_band,
  roc_points,
  sample_auc,
  threshold_accuracy,
  tpr_at_fpr,
)
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)


def test_scores_of_three_classes_by_hand():
  p = np.array([0.5, 0.3, 0.2])
  found = population_scores(np.log(p)[None, None].repeat(2, 1), np.array([1, 0]))
  entropy = -(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2))
  second = -0.7 * np.log(0.3) - 0.5 * np.log(0.5) - 0.2 * np.log(0.8)
  first = -0.5 * np.log(0.5) - 0.3 * np.log(0.7) - 0.2 * np.log(0.8)
  expected = {
    "loss": [np.log(0.3), np.log(0.5)],
    "entropy": [-entropy, -entropy],
    "modified_entropy": [-second, -first],
    "confidence": [0.3, 0.5],
    "margin": [np.log(0.3 / 0.7), 0.0],
    "correctness": [0, 1],
  }
  assert set(found) == set(SCORES)
  for name, values in expected.items():
    np.testing.assert_allclose(found[name], [values], rtol=1e-12, atol=1e-15)


def test_scores_of_many_members_and_the_loss_of_the_main_tables():
  logits = RNG.normal(0, 3, (3, 20, 5)).astype(np.float32)
  labels = RNG.integers(0, 5, 20)
  found = population_scores(logits, labels)
  np.testing.assert_allclose(found["loss"], -cross_entropy(logits, labels), rtol=1e-12)
  np.testing.assert_allclose(found["confidence"], np.exp(found["loss"]))
  np.testing.assert_array_equal(found["correctness"], logits.argmax(-1) == labels)
  for member in range(3):
    alone = population_scores(logits[member : member + 1], labels)
    for name in SCORES:
      np.testing.assert_array_equal(found[name][member], alone[name][0])


@pytest.mark.filterwarnings("error")
def test_certain_models_have_finite_scores():
  """Certainly right, certainly wrong: probabilities round to 0 and 1, the entropies do not."""
  logits = np.array([[[800.0, 0, 0], [0, 800, 0], [12, 0, 0], [0, 40, 0]]])
  found = population_scores(logits, np.zeros(4, int))
  np.testing.assert_allclose(found["modified_entropy"][0, 1], -800 - (800 - np.log(2)))
  small = np.exp(-12) / (1 + 2 * np.exp(-12))
  expected = 2 * small * np.log1p(-2 * small) + 2 * small * np.log1p(-small)
  np.testing.assert_allclose(found["modified_entropy"][0, 2], expected, rtol=1e-9)
  np.testing.assert_allclose(found["modified_entropy"][0, 3], -40 - (40 - np.log(2)))
  np.testing.assert_array_equal(found["modified_entropy"][0, 0], 0)
  np.testing.assert_array_equal(found["entropy"][0, :2], 0)


@pytest.mark.filterwarnings("error")
def test_non_finite_logits_give_non_finite_scores_quietly():
  logits = np.array([[[np.nan, 0.0], [np.inf, 0.0], [1.0, 0.0]]])
  for name, score in population_scores(logits, np.zeros(3, int)).items():
    np.testing.assert_array_equal(np.isfinite(score), [[False, False, True]], err_msg=name)


@pytest.mark.filterwarnings("error")
def test_a_class_that_a_model_excludes_is_no_failure():
  """Audit 5: minus infinity for a wrong class is a probability of zero; for the label it fails."""
  logits = np.array([[[2.0, 1.0, -np.inf], [-np.inf, 1.0, 0.0]]])
  found = population_scores(logits, np.zeros(2, int))
  p = np.exp([2.0, 1.0]) / np.exp([2.0, 1.0]).sum()
  assert found["entropy"][0, 0] == pytest.approx((p * np.log(p)).sum())
  assert found["margin"][0, 0] == pytest.approx(1.0)
  for name, score in found.items():
    assert np.isfinite(score[0]).tolist() == [True, False], name


def test_labels_and_scores_that_cannot_be_ranked_are_refused():
  with pytest.raises(DataError, match=r"labels must lie in 0\.\.2 .* got -1\.\.0"):
    population_scores(np.zeros((1, 2, 3)), np.array([-1, 0]))
  with pytest.raises(DataError, match=r"\[K, N, C\]"):
    population_scores(np.zeros((2, 3)), np.zeros(2, int))
  for attack in (auc, threshold_accuracy):
    with pytest.raises(DataError, match="1 of 2 scores are NaN; leave failed models out"):
      attack(np.array([np.nan, 1.0]), np.array([0.0, 2.0]))
  with pytest.raises(DataError, match="one side is empty"):
    auc(np.array([]), np.array([1.0]))


def test_the_population_attack_takes_any_score():
  scores = {"loss": -RNG.exponential(1, (3, 200)), "other": RNG.normal(size=(3, 200))}
  unseen, forget = np.arange(100), np.arange(100, 200)
  scores["other"][:, forget] += 3
  found = population_attacks(scores, unseen, forget, n_splits=5)
  expected = population_mia_many(-scores["loss"][:, unseen], -scores["loss"][:, forget], n_splits=5)
  for one, other in zip(found["loss"], expected):
    np.testing.assert_array_equal(one.fold_accuracies, other.fold_accuracies)
  for result in found["other"]:
    assert result.auc == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=0.02)


def test_threshold_attack_is_at_chance_on_noise_and_finds_a_shift():
  noise = [threshold_accuracy(*RNG.normal(size=(2, 100)), seed=k) for k in range(200)]
  assert np.mean(noise) == pytest.approx(0.5, abs=0.01)
  members, others = RNG.normal(size=(2, 4000))
  assert threshold_accuracy(members + 1, others) == pytest.approx(norm.cdf(0.5), abs=0.02)
  assert threshold_accuracy(np.ones(10), np.zeros(10)) == 1
  assert threshold_accuracy(np.ones(10), np.ones(10)) == 0.5
  with pytest.raises(DataError, match="has 1 members and 5 others; expected at least 2"):
    threshold_accuracy(np.ones(1), np.ones(5))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_rates_equal_scikit_learn(decimals, weighted):
  """Spec extensions 11: to 1e-12, ties included."""
  members, others = (
    np.round(RNG.normal(0.5, 1, 300), decimals),
    np.round(RNG.normal(size=997), decimals),
  )
  weights = RNG.uniform(0.1, 3, 997) if weighted else None
  label = np.repeat([1, 0], [300, 997])
  score = np.concatenate([members, others])
  sample_weight = np.concatenate([np.ones(300), np.ones(997) if weights is None else weights])
  assert auc(members, others, weights) == pytest.approx(
    roc_auc_score(label, score, sample_weight=sample_weight), abs=1e-12
  )
  fpr, tpr, _ = roc_curve(label, score, sample_weight=sample_weight, drop_intermediate=False)
  rates = (0.3, 0.1, 0.01, 0.001)
  expected = [tpr[fpr < rate][-1] for rate in rates]
  np.testing.assert_allclose(tpr_at_fpr(members, others, rates, weights), expected, atol=1e-12)
  curve = roc_points(members, others, weights, count=100)
  known = {(round(f, 9), round(t, 9)) for f, t in zip(fpr, tpr)}
  assert {(round(f, 9), round(t, 9)) for f, t in curve} <= known
  assert (np.diff(curve, axis=0) >= 0).all()
  np.testing.assert_array_equal(curve[-1], [1, 1])
  assert curve[0, 0] == 0
  if decimals == 9:
    assert (curve[:, 0] < 0.01).sum() >= 5  # the left end is not lost


def test_the_rate_must_be_below_the_target_not_at_it():
  members, others = np.array([5.0, 2.5, 0.5]), np.arange(100.0) / 100 + 2
  members[1] = 2.985  # one other score, 2.99, lies above it
  np.testing.assert_allclose(tpr_at_fpr(members, others, [0.01, 0.0101]), [1 / 3, 2 / 3])


def test_area_per_sample_equals_scikit_learn(monkeypatch):
  monkeypatch.setattr(gaussians, "_BLOCK", 100)
  scores = np.round(RNG.normal(size=(30, 12)), 1).astype(np.float32)
  roles = RNG.choice([0, 1, 2], (30, 12))
  scores[3:6] = np.nan
  roles[:, 5] = 0
  found = sample_auc(scores, roles)
  for x in range(12):
    keep = (roles[:, x] != 1) & ~np.isnan(scores[:, x])
    if x == 5:
      assert np.isnan(found[x])
    else:
      expected = roc_auc_score(roles[keep, x] == 2, scores[keep, x])
      assert found[x] == pytest.approx(expected, abs=1e-12)


def test_labels_must_fit():
  with pytest.raises(ValueError, match=r"logits \(2, 4, 3\) and labels \(5,\)"):
    population_scores(np.zeros((2, 4, 3)), np.zeros(5, int))


def simulated(rng, groups=8, size=40, shift=0.0):
  """Scores of both sides in groups that have something in common; the members' are higher by 1."""
  common = np.repeat(shift * rng.standard_normal(groups), size)
  group = np.repeat(np.arange(groups), size)
  draw = lambda: rng.standard_normal(groups * size)
  return (draw() + 1 + common, group), (draw() + common, group)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_band_of_a_roc_curve_covers_the_truth_in_19_of_20_studies(shift):
  rng = np.random.default_rng(0)
  truth_of = lambda fpr: 1 - norm.cdf(norm.ppf(1 - fpr) - 1 / np.sqrt(1 + shift**2))
  hits = []
  for _ in range(300):
    members, others = simulated(rng, shift=shift)
    weights = np.ones(len(others[0]))
    points = roc_points(members[0], others[0], weights)
    low, high = roc_band(members, others, weights, points).T
    k = int(np.argmin(abs(points[:, 0] - 0.1)))
    hits.append(low[k] <= truth_of(points[k, 0]) <= high[k])
  assert 0.88 <= np.mean(hits) <= 0.99


def test_the_band_is_that_of_leaving_out_group_by_group():
  rng = np.random.default_rng(1)
  members, others = simulated(rng, groups=4, size=3000, shift=0.3)
  weights = rng.uniform(0.5, 2, len(others[0]))
  points = roc_points(members[0], others[0], weights)
  found = roc_band(members, others, weights, points)
  at = []
  for g in range(4):
    keep, kept = members[1] != g, others[1] != g
    label = np.r_[np.ones(keep.sum()), np.zeros(kept.sum())]
    worth = np.r_[np.ones(keep.sum()), weights[kept]]
    score = np.r_[members[0][keep], others[0][kept]]
    fpr, tpr, _ = roc_curve(label, score, sample_weight=worth, drop_intermediate=False)
    at.append(np.interp(points[:, 0], fpr, tpr))
  error = np.sqrt(3 / 4 * np.square(at - np.mean(at, 0)).sum(0))
  wanted = np.clip(points[:, 1] + 3.182446 * error, 0, 1)  # t with three degrees of freedom
  inside = points[:, 0] > 0.05  # between the grid's thresholds both interpolate
  np.testing.assert_allclose(found[inside, 1], wanted[inside], atol=0.01)


def test_one_group_has_no_band():
  members, others = simulated(np.random.default_rng(2), groups=1)
  points = roc_points(members[0], others[0])
  assert np.isnan(roc_band(members, others, np.ones(40), points)).all()
