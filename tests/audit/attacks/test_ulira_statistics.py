"""U-LiRA over many simulated models: Gaussian theory, pure noise, and scores of any size."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import auc, roc_curve

from jaxmu.audit.attacks.exposure import exposure, sample_accuracy, tally
from jaxmu.audit.attacks.fits import FITS
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED
from jaxmu.audit.attacks.ulira import VARIANCES, ulira


def gaussians_apart(distance, members=32, others=320, samples=1500, seed=0):
  """Scores with the counts of the reference protocol, every model a split of its own."""
  rng = np.random.default_rng(seed)
  roles = np.repeat(np.array([FORGOTTEN, NEVER], np.int8), [members, others])[:, None]
  roles = np.broadcast_to(roles, (members + others, samples))
  phi = rng.standard_normal(roles.shape, np.float32) + distance * (roles == FORGOTTEN)
  return phi, roles, np.arange(members + others)


def mean_accuracy(phi, roles, splits, **options):
  return sample_accuracy(tally(ulira(phi, roles, splits, **options), roles, splits)).mean()


@pytest.mark.parametrize(
  ("options", "accuracy"),
  [
    ({}, 0.500),
    ({"paired": True}, 0.500),
    ({"variance": "fixed"}, 0.500),
    ({"variance": "scaled"}, 0.500),
    ({"fit": "robust"}, 0.500),
    ({"leave_out": "model"}, 0.500),
    ({"leave_out": "nothing"}, 0.543),
  ],
)
def test_noise_is_at_one_half_unless_nothing_is_left_out(options, accuracy):
  assert mean_accuracy(*gaussians_apart(0), **options) == pytest.approx(accuracy, abs=0.005)


@pytest.mark.parametrize(("members", "plain"), [(8, 0.589), (4, 0.642)])
def test_few_models_need_pairs(members, plain):
  data = gaussians_apart(0, members, 10 * members, 6000)
  assert mean_accuracy(*data, leave_out="nothing") == pytest.approx(plain, abs=0.005)
  assert mean_accuracy(*data, paired=True) == pytest.approx(0.5, abs=0.005)
  for variance in ("fixed", "scaled"):
    assert mean_accuracy(*data, paired=True, variance=variance) == pytest.approx(0.5, abs=0.005)
  assert mean_accuracy(*data) < 0.498


def study(rng, splits, forgets, samples, shift=0.0, spread=0.0, split_effects=(0.3, 0.5)):
  """A study: each split trains on a random half, each of its models forgets a tenth of it.

  Levels of samples have SD 2, their noise exp(`spread` z); forgotten samples move by `shift` of it.
  """
  roles = np.zeros((splits, forgets, samples), np.int8)
  for of_split in roles:
    half = rng.permutation(samples)[: samples // 2]
    of_split[:, half] = RETAINED
    for model in of_split:
      model[rng.permutation(half)[: len(half) // 10]] = FORGOTTEN
  noise = rng.normal(size=roles.shape) + shift * (roles == FORGOTTEN)
  phi = 2 * rng.normal(size=samples) + np.exp(spread * rng.normal(size=samples)) * noise
  phi += split_effects[0] * rng.normal(size=(splits, 1, 1))
  phi += split_effects[1] * rng.normal(size=(splits, 1, samples))
  flat = (splits * forgets, samples)
  numbers = np.repeat(np.arange(splits), forgets)
  return phi.reshape(flat).astype(np.float32), roles.reshape(flat), numbers


def null_accuracy(design, negative, studies, seed, **options):
  """The mean accuracy over studies in which nothing tells the roles apart."""
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(studies):
    phi, roles, splits = study(rng, *design)
    scores = ulira(phi, roles, splits, paired=True, negative=negative, **options)
    counts = tally(scores, roles, splits, negative=negative)
    found.append(np.nanmean(sample_accuracy(counts)))
  return np.mean(found)


@pytest.mark.parametrize("negative", [NEVER, RETAINED])
@pytest.mark.parametrize("design", [(32, 4, 300), (16, 2, 400)])
def test_pairs_find_nothing_where_roles_are_exchangeable(design, negative):
  """Also against retained samples, whose models share splits with those that forgot them."""
  found = null_accuracy(design, negative, 50, 11, variance="scaled")
  assert found == pytest.approx(0.5, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("negative", [NEVER, RETAINED])
@pytest.mark.parametrize("design", [(32, 4, 300), (16, 2, 400)])
def test_pairs_find_nothing_in_many_studies(design, negative, variance):
  found = null_accuracy(design, negative, 200, 12, variance=variance)
  assert found == pytest.approx(0.5, abs=0.005)


def rates(scores, roles):
  """Accuracy, AUC and TPR at an FPR of 1 %: a sample's non-members weigh as much as its members."""
  sides = [(roles == side) & np.isfinite(scores) for side in (FORGOTTEN, NEVER)]
  n, m = (side.sum(0) for side in sides)
  weights = [
    np.broadcast_to(w, roles.shape)[side] for w, side in zip((m > 0, n / np.maximum(m, 1)), sides)
  ]
  label = np.repeat([1, 0], [len(w) for w in weights])
  weights, score = np.concatenate(weights), np.concatenate([scores[side] for side in sides])
  accuracy = np.average((score > 0) == label, weights=weights)
  fpr, tpr, _ = roc_curve(label, score, sample_weight=weights)
  return accuracy, auc(fpr, tpr), tpr[fpr <= 0.01].max()


@pytest.mark.parametrize(
  ("design", "spread", "scaled", "fixed"),
  [
    ((32, 4, 1000), 0.0, (0.680, 0.739, 0.078), (0.681, 0.740, 0.079)),
    ((32, 4, 1000), 1.0, (0.680, 0.739, 0.078), (0.640, 0.710, 0.036)),
    ((16, 2, 1000), 1.0, (0.645, 0.692, 0.050), (0.590, 0.662, 0.034)),
  ],
)
def test_scaled_variances_keep_middle_and_tail_where_samples_differ(design, spread, scaled, fixed):
  """Shifts of one SD of each sample, SDs log-normal; 0.691, 0.760 and 0.092 at best."""
  rng = np.random.default_rng(13)
  found = {"scaled": [], "fixed": []}
  for _ in range(4 if design[0] == 32 else 12):
    phi, roles, splits = study(rng, *design, 1.0, spread, (0, 0))
    for variance, table in found.items():
      scores = ulira(phi, roles, splits, variance=variance, paired=True)
      table.append(rates(scores, roles))
  np.testing.assert_allclose(np.mean(found["scaled"], 0), scaled, atol=0.009)
  # One SD for samples that differ by factors follows the few largest: the accuracy is erratic.
  accuracy, *rest = np.mean(found["fixed"], 0)
  assert accuracy == pytest.approx(fixed[0], abs=0.03)
  np.testing.assert_allclose(rest, fixed[1:], atol=0.009)


def test_samples_without_spread_do_not_set_the_ratio():
  """Never models that agree to the last digit, as where scores saturate."""
  rng = np.random.default_rng(14)
  phi, roles, splits = study(rng, 16, 4, 200, split_effects=(0, 0))
  plain = ulira(phi, roles, splits, variance="scaled")
  phi[:, :40] = np.where(roles == NEVER, 5, phi)[:, :40]
  found = ulira(phi, roles, splits, variance="scaled")
  rest = ulira(phi[:, 40:], roles[:, 40:], splits, variance="scaled")
  np.testing.assert_array_equal(found[:, 40:], rest)
  assert np.nanmax(np.abs(found[:, 40:] - plain[:, 40:])) < 1
  phi[:, :] = np.where(roles == NEVER, 5, phi)
  assert np.isfinite(ulira(phi, roles, splits, variance="scaled")[roles == NEVER]).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_scores_of_any_size_give_finite_ratios_quietly(variance, fit):
  phi, roles, splits = gaussians_apart(1.0, 8, 16, 4)
  phi = phi.astype(float)
  phi[:, 1] *= 1e20
  phi[:, 2] = 1e300 * np.sign(phi[:, 2])
  phi[:8, 3] += 1e30
  for paired in (False, True):
    found = ulira(phi, roles, splits, variance=variance, fit=fit, paired=paired)
    assert np.isfinite(found).all()
  if variance == "sample" and fit == "normal":
    assert found[0, 3] == np.finfo(np.float32).max


def test_models_of_one_split_are_left_out_together():
  """What the models of a split share must not help: leaving out the model alone lets it through."""
  rng = np.random.default_rng(5)
  splits = np.repeat(np.arange(40), 8)
  trained = rng.permuted(np.repeat([True, False], 20)[:, None].repeat(1500, 1), axis=0)
  roles = np.where(trained[splits], np.int8(FORGOTTEN), np.int8(NEVER))
  phi = rng.normal(size=trained.shape)[splits] + 0.3 * rng.normal(size=roles.shape)
  assert mean_accuracy(phi, roles, splits) == pytest.approx(0.5, abs=0.01)
  assert mean_accuracy(phi, roles, splits, leave_out="model") > 0.52


@pytest.mark.parametrize(
  ("distance", "models", "options", "accuracy"),
  [
    (0.5, (32, 320), {"variance": "fixed"}, 0.599),
    (0.5, (128, 512), {}, 0.599),
    (1.0, (32, 320), {}, 0.690),
    (2.0, (32, 320), {}, 0.840),
  ],
)
def test_gaussians_reach_the_theoretical_accuracy_and_auc(distance, models, options, accuracy):
  """A weak signal needs more than 32 members, or a common variance: fits cost 0.01 of AUC there."""
  phi, roles, splits = gaussians_apart(distance, *models)
  found = exposure(ulira(phi, roles, splits, **options), roles, splits).statistics
  assert found["auc"].value == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.01)
  assert found["sample_mean"].value == pytest.approx(accuracy, abs=0.005)
  assert found["accuracy"].value == pytest.approx(norm.cdf(distance / 2), abs=0.01)


def test_robust_fits_shrug_off_outliers():
  phi, roles, splits = gaussians_apart(2.0, samples=300)
  phi[::11] += 100
  roles_of_clean = np.where((np.arange(len(phi)) % 11 > 0)[:, None], roles, -1)
  accuracy = {}
  for fit in ("robust", "normal"):
    counts = tally(ulira(phi, roles, splits, fit=fit), roles_of_clean, splits)
    accuracy[fit] = sample_accuracy(counts).mean()
  assert accuracy["robust"] > 0.8
  assert accuracy["normal"] < 0.6


def test_identical_scores_say_nothing():
  phi, roles, splits = gaussians_apart(0, 5, 50, 4)
  scores = ulira(np.full_like(phi, 103.0), roles, splits)
  np.testing.assert_array_equal(scores, 0)
