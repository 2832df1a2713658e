"""Exposure: rates by hand and by loop, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit.attacks.exposure import (
  STATISTICS,
  Tally,
  confirmed_worst,
  exposure,
  exposure_change,
  interval,
  most_exposed,
  sample_accuracy,
  tally,
)
from jaxmu.audit.attacks.population_scores import auc, tpr_at_fpr
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.errors import DataError


def study(seed, splits=16, attempts=3, samples=300, shift=0.0, shared=0.5):
  """Scores of a small study; what the models of a split share is common to some or all samples."""
  rng = np.random.default_rng(seed)
  roles = np.zeros((splits, attempts, samples), np.int8)
  for s in range(splits):
    train = rng.permutation(samples)[: samples // 2]
    roles[s][:, train] = RETAINED
    for f in range(attempts):
      roles[s, f, rng.permutation(train)[: samples // 6]] = FORGOTTEN
  phi = rng.normal(size=roles.shape) + shared * rng.normal(size=(splits, 1, samples))
  phi += 0.3 * shared * rng.normal(size=(splits, 1, 1)) + shift * (roles == FORGOTTEN)
  names = np.repeat(np.arange(splits), attempts)
  return phi.reshape(len(names), -1), roles.reshape(len(names), -1), names


def random_scores(seed=0, models=20, samples=30):
  rng = np.random.default_rng(seed)
  scores = rng.normal(size=(models, samples)).astype(np.float32)
  scores[rng.random(scores.shape) < 0.1] = np.nan
  return scores, rng.choice([-1, 0, 1, 2], scores.shape), rng.permutation(np.arange(models) // 4)


def test_tally_and_accuracy_equal_a_loop():
  scores, roles, splits = random_scores()
  roles[:, 4] = NEVER
  counts = tally(scores, roles, splits, threshold=0.2)
  found = sample_accuracy(counts)[0]
  for x in range(30):
    sides = [scores[(roles[:, x] == side), x] for side in (FORGOTTEN, NEVER)]
    member, other = (side[~np.isnan(side)] for side in sides)
    assert counts.positives[:, x].sum() == len(member)
    if x == 4:
      assert np.isnan(found[x])
    else:
      assert found[x] == pytest.approx(((member > 0.2).mean() + (other <= 0.2).mean()) / 2)
  for s in range(5):
    rows = splits == s
    expected = ((roles[rows] == NEVER) & (scores[rows] <= 0.2)).sum(0)
    np.testing.assert_array_equal(counts.rejections[s], expected)


def test_weights_repeat_splits():
  scores, roles, splits = random_scores(1)
  weights = np.array([[2, 0, 1, 1, 1]])
  rows = np.concatenate([np.flatnonzero(splits == s) for s in (0, 0, 2, 3, 4)])
  expected = sample_accuracy(tally(scores[rows], roles[rows], np.arange(len(rows))))
  found = sample_accuracy(tally(scores, roles, splits), weights)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_pooled_statistics_weigh_both_sides_of_a_sample_alike():
  """Every sample enters with as many non-members as members: repeat them until they are equal."""
  rng = np.random.default_rng(2)
  members = np.array([1, 2, 6, 3])
  roles = np.where(np.arange(18)[:, None] < members, FORGOTTEN, NEVER)
  roles[-6:, 2] = RETAINED  # sample 2 has 6 of each
  scores = rng.normal(size=roles.shape) + np.array([0, 1, 2, 3])
  found = exposure(scores, roles, np.arange(18) // 3, bootstrap=10).statistics
  positive = scores[roles == FORGOTTEN]
  negative, weight = [], []
  for x in range(4):
    side = scores[roles[:, x] == NEVER, x]
    negative.append(side)
    weight.append(np.full(len(side), members[x] / len(side)))
  negative, weight = np.concatenate(negative), np.concatenate(weight)
  rejected = np.average(negative <= 0, weights=weight)
  assert found["accuracy"].value == pytest.approx(((positive > 0).mean() + rejected) / 2)
  assert found["auc"].value == pytest.approx(auc(positive, negative, weight), abs=1e-12)
  rates = [found[name].value for name in ("tpr_at_0.01", "tpr_at_0.001")]
  np.testing.assert_allclose(rates, tpr_at_fpr(positive, negative, (0.01, 0.001), weight))


def test_statistics_over_samples_equal_numpy():
  scores, roles, splits = random_scores(3, samples=101)
  roles[:, 7] = RETAINED
  found = exposure(scores, roles, splits, bootstrap=10)
  known = found.accuracy[np.isfinite(found.accuracy)]
  assert 90 < len(known) < 101
  assert tuple(found.statistics) == STATISTICS
  expected = {
    "sample_mean": known.mean(),
    "sample_q50": np.quantile(known, 0.5),
    "sample_q95": np.quantile(known, 0.95),
    "sample_q99": np.quantile(known, 0.99),
    "share_above_0.6": (known > 0.6).mean(),
  }
  for name, value in expected.items():
    assert found.statistics[name].value == pytest.approx(value, abs=1e-6), name


def test_six_correct_of_ten_is_not_above_six_tenths():
  """In float32 as elsewhere: 0.6 exactly does not count."""
  right = np.arange(10)[:, None] < 6
  scores = np.concatenate([np.where(right, 1.0, -1.0), np.where(right, -1.0, 1.0)])
  roles = np.repeat([FORGOTTEN, NEVER], 10)[:, None]
  found = exposure(scores, roles, np.arange(20), bootstrap=5)
  assert found.accuracy[0] == pytest.approx(0.6)
  assert found.statistics["share_above_0.6"].value == 0


NOISE = {
  "paired": {"paired": True},
  "fixed": {"paired": True, "variance": "fixed"},
}


@pytest.mark.parametrize("options", NOISE.values(), ids=NOISE)
def test_noise_is_at_one_half_and_its_intervals_say_so(options):
  """Exchangeable roles, correlated splits: no bias, and 95 % intervals that hold one half."""
  names, studies = ("accuracy", "sample_mean", "auc"), 60
  found = np.empty((studies, len(names), 3))
  for k in range(studies):
    phi, roles, splits = study(k)
    one = exposure(ulira(phi, roles, splits, **options), roles, splits, bootstrap=100, seed=k)
    found[k] = [one.statistics[name] for name in names]
  error = found[..., 0].std(0) / np.sqrt(studies)
  assert (np.abs(found[..., 0].mean(0) - 0.5) < 3.5 * error).all()
  assert (error < 0.003).all()
  holds = (found[..., 1] <= 0.5) & (found[..., 2] >= 0.5)
  assert (holds.mean(0) > 0.88).all()
  wide = (found[..., 2] - found[..., 1]).mean(0) / found[..., 0].std(0)
  assert (wide < 6.5).all()  # 4.3 would be exact for 16 splits


def test_a_signal_is_outside_the_interval_of_noise():
  phi, roles, splits = study(0, shift=1.0)
  found = exposure(ulira(phi, roles, splits, paired=True), roles, splits).statistics
  for name in ("accuracy", "sample_mean", "auc"):
    assert 0.5 < found[name].low < found[name].value < found[name].high < 1
  assert found["tpr_at_0.01"].value > 0.03
  noise = study(0)
  flat = exposure(ulira(*noise, paired=True), *noise[1:]).statistics
  assert found["share_above_0.6"].value > flat["share_above_0.6"].high


def test_tpr_of_a_shift_is_the_theoretical_one():
  """A score that is the true likelihood ratio of Gaussians 2 SD apart: spec extensions 2.6."""
  rng = np.random.default_rng(5)
  roles = np.repeat([FORGOTTEN, NEVER], [50, 200])[:, None].repeat(400, 1)
  scores = rng.normal(size=roles.shape) + 2 * (roles == FORGOTTEN) - 1
  found = exposure(scores, roles, np.arange(250), bootstrap=50).statistics
  for rate in (0.01, 0.001):
    expected = norm.sf(norm.isf(rate) - 2)
    assert found[f"tpr_at_{rate}"].value == pytest.approx(expected, abs=0.02)
  assert found["auc"].value == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.005)
  assert found["sample_q99"].value > found["sample_mean"].value


def test_results_depend_on_the_seed_only():
  phi, roles, splits = study(1)
  scores = ulira(phi, roles, splits)
  one, same, other = (
    exposure(scores, roles, splits, bootstrap=20, seed=s).statistics for s in (1, 1, 2)
  )
  assert one == same
  assert one["auc"].value == other["auc"].value
  assert one["auc"].low != other["auc"].low


def test_order_of_exposed_samples():
  accuracy = np.array([0.5, np.nan, 0.9, 0.7, 0.9])
  np.testing.assert_array_equal(most_exposed(accuracy, 3), [2, 4, 3])
  np.testing.assert_array_equal(most_exposed(accuracy, 9), [2, 4, 3, 0])


def test_the_worst_of_noise_is_not_confirmed_but_a_real_one_is():
  rng = np.random.default_rng(6)
  noise = 0.5 + 0.08 * rng.normal(size=(2, 5000))
  assert noise[0][most_exposed(noise[0], 50)].mean() > 0.65
  assert confirmed_worst(*noise) == pytest.approx(0.5, abs=0.03)
  noise[:, :50] += 0.45
  assert confirmed_worst(*noise) == pytest.approx(0.95, abs=0.03)
  assert np.isnan(confirmed_worst(np.array([np.nan, 0.5]), np.array([0.5, np.nan])))


def test_retain_side_risk_by_hand():
  """Three samples: one becomes more exposed, one less, one stays; a fourth is never retained."""
  roles = np.repeat([RETAINED, NEVER], 8)[:, None].repeat(4, 1)
  roles[:, 3] = NEVER
  scores = np.where(roles == RETAINED, 1.0, -1.0)
  before, after = scores.copy(), scores.copy()
  before[:4, 0] *= -1
  after[::2, 1] *= -1
  splits = np.arange(16) % 4
  counts = [tally(s, roles, splits, RETAINED, NEVER) for s in (before, after)]
  change, found = exposure_change(*counts, bootstrap=200)
  np.testing.assert_allclose(change, [0.25, -0.5, 0, np.nan], atol=1e-6)
  assert found["mean"].value == pytest.approx(-0.25 / 3, abs=1e-6)
  for name in ("share_more", "share_less"):
    assert found[name].value == pytest.approx(1 / 3)
  assert found["net"].value == 0
  assert found["mean"].low <= found["mean"].value <= found["mean"].high


def test_retain_side_risk_of_a_method_that_exposes_retained_samples():
  phi, roles, splits = study(7, splits=24)
  options = {"positive": RETAINED, "negative": NEVER}
  exposed = phi + 1.0 * (roles == RETAINED)
  counts = [
    tally(ulira(x, roles, splits, **options), roles, splits, *options.values())
    for x in (phi, exposed, phi)
  ]
  _, worse = exposure_change(counts[0], counts[1], bootstrap=100)
  assert worse["net"].low > 0.3
  assert worse["mean"].low > 0.1
  _, equal = exposure_change(counts[0], counts[2], bootstrap=100)
  assert {name: i.value for name, i in equal.items()} == dict.fromkeys(equal, 0.0)


def test_intervals_move_the_replicates_to_the_value_and_widen():
  replicates = np.random.default_rng(0).normal(3, 0.1, 20_000)
  low, high = interval(2.0, replicates, 10_000)[1:]
  assert (low, high) == pytest.approx((2 - 0.196, 2 + 0.196), abs=0.005)
  wide = interval(2.0, replicates, 10_000, widen=2)
  assert wide.high - 2 == pytest.approx(2 * (high - 2))
  assert interval(2.0, replicates, 8).high > high + 0.03
  assert np.isnan(interval(2.0, replicates, 1)[1:]).all()
  assert np.isnan(interval(2.0, np.full(5, np.nan), 9)[1:]).all()


def test_mistakes_are_named():
  scores, roles, splits = random_scores()
  with pytest.raises(DataError, match="no sample has scores of models of both roles"):
    exposure(scores, np.where(roles == FORGOTTEN, RETAINED, roles), splits)
  counts = tally(scores, roles, splits)
  fewer = Tally(*(count[:3] for count in counts))
  with pytest.raises(DataError, match=r"\(5, 30\) and \(3, 30\) do not compare"):
    exposure_change(counts, fewer)
