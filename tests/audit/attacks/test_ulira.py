"""U-LiRA: against a double loop over models and samples, and the reference's own script."""

import numpy as np
import pytest
from scipy import optimize
from scipy.stats import norm
from support import golden_rules

from jaxmu.audit.attacks import fits as gaussians
from jaxmu.audit.attacks.exposure import exposure
from jaxmu.audit.attacks.fits import FITS, LEAVE_OUT
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED, role_counts, role_matrix
from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.audit.attacks.ulira import VARIANCES, ulira, ulira_compat
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
