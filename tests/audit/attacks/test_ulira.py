"""U-LiRA: against a double loop, Gaussian theory, pure noise and the reference's own script."""

import golden_rules
import numpy as np
import pytest
from scipy import optimize
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmu.audit.attacks import fits as gaussians
from jaxmu.audit.attacks.exposure import exposure, sample_accuracy, tally
from jaxmu.audit.attacks.fits import LEAVE_OUT
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED, role_counts, role_matrix
from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.audit.attacks.ulira import FITS, VARIANCES, ulira, ulira_compat
from jaxmu.data.shadow_splits import ShadowStudy
from jaxmu.errors import DataError


def problem(seed=0, models=24, samples=25, per_split=3):
  """Scores of models in mixed order, all roles in all splits, some too rare for a fit."""
  rng = np.random.default_rng(seed)
  splits = rng.permutation(np.arange(models) // per_split)
  roles = rng.choice([-1, NEVER, RETAINED, FORGOTTEN], (models, samples), p=[0.1, 0.4, 0.2, 0.3])
  roles[:, :3] = NEVER
  roles[:2, 1] = FORGOTTEN
  roles[4:7, 2] = FORGOTTEN
  phi = (3 * rng.normal(size=(models, samples)) + (roles == FORGOTTEN)).astype(np.float32)
  return phi, roles.astype(np.int8), splits


def fit_gaussian(values, fit):
  if len(values) < 2:
    return np.nan, np.nan
  centre = values.mean() if fit == "normal" else np.median(values)
  spread = values.std(ddof=1)
  if fit == "robust":
    spread = 1.4826 * np.median(np.abs(values - centre))
  return centre, max(spread, 1e-3)


def pooled_scale(phi, roles, side, fit):
  """One SD of a side for all samples."""
  columns = [phi[roles[:, x] == side, x] for x in range(phi.shape[1])]
  columns = [c for c in columns if len(c) > 1]
  total = sum((len(c) - 1) * fit_gaussian(c, fit)[1] ** 2 for c in columns)
  return np.sqrt(total / sum(len(c) - 1 for c in columns))


def likeliest_ratio(phi, roles, sides, fit):
  """The ratio of SDs under which all samples' variances are likeliest, each with its own SD."""
  tables = []
  for x in range(phi.shape[1]):
    columns = [phi[roles[:, x] == side, x] for side in sides]
    if min(map(len, columns)) > 1:
      tables.append([(len(c) - 1, fit_gaussian(c, fit)[1] ** 2) for c in columns])

  def surprise(log_ratio):
    total = 0
    for (f, v), (g, w) in tables:
      common = (f * v * np.exp(-2 * log_ratio) + g * w) / (f + g)
      total += (f + g) * np.log(common) + 2 * f * log_ratio
    return total

  return np.exp(optimize.minimize_scalar(surprise, (-1, 1), tol=1e-10).x)


def lost_splits(k, x, roles, splits, sides):
  """Which split each side loses where model k is attacked, and all its attacks are paired."""
  lost = []
  for side, other in (sides, sides[::-1]):
    holds = lambda m, side=side: (splits[roles[:, x] == side] == splits[m]).any()
    if roles[k, x] == side or holds(k):
      lost.append(splits[k])
      continue
    models = np.flatnonzero(roles[:, x] == side)
    turn = sum(roles[m, x] == other and not holds(m) for m in range(k))
    lost.append(splits[models[turn % len(models)]] if len(models) else None)
  return lost


def double_loop(
  phi, roles, splits, leave_out="split", fit="normal", variance="sample", sides=(2, 0), paired=False
):
  """The definition of spec evaluation 9.6, one model and one sample after another."""
  phi, scores = phi.astype(float), np.full(phi.shape, np.nan)
  splits = {"split": splits, "model": np.arange(len(phi)), "nothing": None}[leave_out]
  common = [pooled_scale(phi, roles, side, fit) for side in sides]
  ratio = likeliest_ratio(phi, roles, sides, fit) if variance == "scaled" else None
  for k, x in np.ndindex(phi.shape):
    if roles[k, x] not in sides:
      continue
    lost = (
      lost_splits(k, x, roles, splits, sides) if paired else 2 * [splits is not None and splits[k]]
    )
    columns = []
    for side, split in zip(sides, lost):
      stays = True if leave_out == "nothing" else splits != split
      columns.append(phi[(roles[:, x] == side) & stays, x])
    fitted = [fit_gaussian(c, fit) for c in columns]
    if variance != "sample":
      centres = [
        np.nan if not len(c) else np.mean(c) if fit == "normal" else np.median(c) for c in columns
      ]
      spreads = common
      if variance == "scaled":
        own = fitted[1][1]
        spreads = [ratio * own, own]
        spreads = [s * np.sqrt(1 + 1 / max(len(c), 1)) for s, c in zip(spreads, columns)]
      fitted = list(zip(centres, spreads))
    scores[k, x] = norm.logpdf(phi[k, x], *fitted[0]) - norm.logpdf(phi[k, x], *fitted[1])
  return scores


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("leave_out", LEAVE_OUT)
def test_blocks_of_samples_equal_a_double_loop(leave_out, fit, variance, monkeypatch):
  phi, roles, splits = problem()
  monkeypatch.setattr(gaussians, "_BLOCK", 7 * len(phi))
  found = ulira(phi, roles, splits, leave_out=leave_out, fit=fit, variance=variance)
  expected = double_loop(phi, roles, splits, leave_out, fit, variance)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  asked = (roles == FORGOTTEN) | (roles == NEVER)
  assert 0 < np.isnan(expected[asked]).mean() < 0.3  # some samples lack a side


@pytest.mark.parametrize("sides", [(FORGOTTEN, NEVER), (FORGOTTEN, RETAINED)])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("leave_out", LEAVE_OUT[:2])
def test_pairs_of_mixed_splits_equal_a_double_loop(leave_out, variance, sides):
  """Splits whose models have all roles: some attacked models share theirs with the other side."""
  phi, roles, splits = problem(7)
  options = {"positive": sides[0], "negative": sides[1], "variance": variance}
  found = ulira(phi, roles, splits, leave_out=leave_out, paired=True, **options)
  expected = double_loop(phi, roles, splits, leave_out, variance=variance, sides=sides, paired=True)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_retained_against_never_seen():
  phi, roles, splits = problem(1)
  found = ulira(phi, roles, splits, positive=RETAINED, negative=NEVER)
  expected = double_loop(phi, roles, splits, sides=(RETAINED, NEVER))
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_large_offsets_lose_no_precision():
  phi, roles, splits = problem(2)
  phi = np.round(phi * 8) / 8  # so that the shift is exact in float32
  plain = ulira(phi, roles, splits)
  np.testing.assert_allclose(ulira(phi + 2**19, roles, splits), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fit", ["normal", "robust"])
def test_paired_scores_follow_their_definition(fit):
  """Every attacked model has a partner of the other side, whose split is left out too."""
  rng = np.random.default_rng(3)
  splits = np.repeat(np.arange(8), 3)
  trained = rng.permuted(np.repeat([True, False], 4)[:, None].repeat(10, 1), axis=0)[splits]
  roles = np.where(trained, rng.choice([RETAINED, FORGOTTEN], trained.shape), NEVER)
  phi = rng.normal(size=roles.shape)
  found = ulira(phi, roles, splits, fit=fit, paired=True)
  for x in range(10):
    sides = {side: np.flatnonzero(roles[:, x] == side) for side in (FORGOTTEN, NEVER)}
    for side, other in ((FORGOTTEN, NEVER), (NEVER, FORGOTTEN)):
      for turn, k in enumerate(sides[side]):
        partner = sides[other][turn % len(sides[other])]
        logs = {}
        for role, dropped in ((side, k), (other, partner)):
          kept = sides[role][splits[sides[role]] != splits[dropped]]
          logs[role] = norm.logpdf(phi[k, x], *fit_gaussian(phi[kept, x], fit))
        expected = logs[FORGOTTEN] - logs[NEVER]
        np.testing.assert_allclose(found[k, x], expected, rtol=1e-5, atol=1e-5)


def gaussians_apart(distance, members=32, others=320, samples=3000, seed=0):
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
  area = roc_auc_score(label, score, sample_weight=weights)
  return accuracy, area, tpr[fpr <= 0.01].max()


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
  for _ in range(8 if design[0] == 32 else 16):
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


@pytest.mark.parametrize("variance", VARIANCES)
def test_queries_are_averaged(variance, monkeypatch):
  phi, roles, splits = problem(8)
  rng = np.random.default_rng(8)
  views = np.stack([phi, phi + rng.normal(size=phi.shape), 2 * phi[::-1]]).astype(np.float32)
  monkeypatch.setattr(gaussians, "_BLOCK", 7 * len(phi))
  found = ulira(views, roles, splits, variance=variance, paired=True)
  if variance == "sample":
    each = [ulira(view, roles, splits, paired=True) for view in views]
    np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-5, atol=1e-5)
  # What is common to all samples is common to all queries: they enter like further samples.
  wide = ulira(np.hstack(views), np.hstack(3 * [roles]), splits, variance=variance, paired=True)
  expected = np.mean(np.split(wide, 3, axis=1), 0)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  same = ulira(np.stack([phi, phi]), roles, splits, variance=variance)
  np.testing.assert_array_equal(same, ulira(phi, roles, splits, variance=variance))


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
  phi, roles, splits = gaussians_apart(distance, *models, samples=1500)
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


def test_excluded_models_may_hold_anything():
  phi, roles, splits = problem(4)
  roles[5] = -1
  expected = ulira(phi, roles, splits)
  phi[5] = np.nan
  np.testing.assert_array_equal(ulira(phi, roles, splits), expected)
  phi[5], roles[5] = np.inf, RETAINED
  np.testing.assert_array_equal(ulira(phi, roles, splits), expected)


@pytest.mark.parametrize("options", [{}, {"variance": "fixed"}, {"variance": "scaled"}])
def test_scores_that_are_not_finite_are_refused(options):
  phi, roles, splits = problem()
  phi[5, 20], roles[5, 20] = np.nan, NEVER
  with pytest.raises(DataError, match="model 5 has scores that are not finite"):
    ulira(phi, roles, splits, **options)


def test_arguments_that_do_not_fit_are_refused():
  phi, roles, splits = problem()
  with pytest.raises(DataError, match=r"scores \(24, 25\), roles \(24, 24\)"):
    ulira(phi, roles[:, 1:], splits)
  with pytest.raises(DataError, match=r"splits \(23,\) must name the split of each of the 24"):
    ulira(phi, roles, splits[1:])
  with pytest.raises(DataError, match=r"scores \(3, 2, 24, 25\), roles \(24, 25\)"):
    ulira(np.ones((3, 2, 24, 25)), roles, splits)
  for empty in (np.zeros((0, 25)), np.zeros((24, 0)), np.zeros((0, 24, 25))):
    with pytest.raises(DataError, match="are empty; expected at least one model and one sample"):
      ulira(empty, np.zeros(empty.shape[-2:]), np.zeros(empty.shape[-2]))
  with pytest.raises(ValueError, match=r"fit must be one of .*, got 'mean'"):
    ulira(phi, roles, splits, fit="mean")
  with pytest.raises(ValueError, match=r"variance must be one of .*, got 'auto'"):
    ulira(phi, roles, splits, variance="auto")
  with pytest.raises(ValueError, match=r"leave_out must be one of .*, got 'all'"):
    ulira(phi, roles, splits, leave_out="all")


def golden_study(golden):
  """Scores [640, 40] and roles of the golden problem, by its README's rules."""
  order = np.random.default_rng(123).permutation(42)
  study = ShadowStudy(order[:-2], order[-2:])
  splits = [study.split(*model) for model in study.models]
  samples = golden["sample_ids"]
  roles = role_matrix([s.retain for s in splits], [s.forget for s in splits], samples)
  z = np.random.default_rng(77).standard_normal((42, 64, 10, 10))
  target = np.random.default_rng(78).integers(0, 10, 42)
  everything = np.arange(42)
  z[everything, :, :, target] += 1.2
  z[golden["easy"], :, :, target[golden["easy"]]] += 12
  for split, attempt in study.models:
    forget = golden["forget"][split, attempt]
    z[forget, split, attempt, target[forget]] += 0.8
  logits = z.reshape(42, 640, 10).swapaxes(0, 1)
  return study, logits, target, samples, roles


def test_compat_reproduces_the_reference_with_its_nans():
  golden = golden_rules.load("eval_ulira")
  study, logits, target, samples, roles = golden_study(golden)
  assert logits.sum() == pytest.approx(float(golden["logits_sum"]), rel=1e-10)
  correct = (logits.argmax(-1) == target)[:, samples]
  counts = role_counts(roles)
  np.testing.assert_array_equal(counts["forgotten"], golden["n_forgotten"])
  np.testing.assert_array_equal(counts["never seen"], golden["n_never"])
  found = ulira_compat(correct, roles)
  nans = 0
  for x, memberships in enumerate(found.memberships):
    models = study.models[roles[:, x] == FORGOTTEN]
    n = len(models)
    np.testing.assert_array_equal(models, golden["forgotten_pairs"][x, :n])
    np.testing.assert_allclose(memberships, golden["membership"][x, :n], rtol=1e-12)
    assert golden["membership"].shape[1] == n or (golden["membership"][x, n:] == -1).all()
    nans += np.isnan(memberships).sum()
  assert np.isnan(golden["membership"]).sum() == nans > 0
  assert found.nan_fraction == nans / counts["forgotten"].sum()


def test_golden_confidences_and_the_signal_that_compat_misses():
  golden = golden_rules.load("eval_ulira")
  study, logits, target, samples, roles = golden_study(golden)
  phi = logit_scaled_confidence(logits, target)
  stored = golden["true_class_logit_scaled"].reshape(42, 640).T
  np.testing.assert_allclose(phi, stored, rtol=1e-6, atol=1e-6)
  scores = ulira(phi[:, samples], roles, study.models[:, 0])
  found = exposure(scores, roles, study.models[:, 0]).statistics
  assert found["accuracy"].low > 0.55


def test_compat_refuses_arrays_that_do_not_fit():
  with pytest.raises(DataError, match=r"scores \(3, 4\), roles \(3, 5\)"):
    ulira_compat(np.ones((3, 4), bool), np.ones((3, 5)))
  with pytest.raises(DataError, match="are empty"):
    ulira_compat(np.ones((0, 4), bool), np.ones((0, 4)))


def test_compat_is_nan_where_a_side_is_constant():
  roles = np.array([FORGOTTEN, FORGOTTEN, FORGOTTEN, NEVER, NEVER, RETAINED])[:, None].repeat(3, 1)
  correct = np.array([[1, 1, 1], [0, 1, 0], [1, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, 0]])
  found = ulira_compat(correct, roles)
  dense = lambda z: norm.pdf(z, 2 / 3, np.sqrt(2) / 3) / norm.pdf(z, 0.5, 0.5)
  ratio = dense(np.array([1, 0, 1]))
  np.testing.assert_allclose(found.memberships[0], ratio / (1 + ratio))
  assert np.isnan(found.memberships[1:]).all()
  assert found.nan_fraction == pytest.approx(2 / 3)
