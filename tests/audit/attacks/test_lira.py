"""LiRA: against a loop over the definition, the public code's queries, and pure noise."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit.attacks import fits as module
from jaxmu.audit.attacks.lira import MODES, lira
from jaxmu.audit.attacks.population_scores import auc
from jaxmu.errors import DataError


def problem(seed=0, shadows=20, targets=4, samples=15):
  rng = np.random.default_rng(seed)
  member = rng.random((shadows, samples)) < 0.5
  member[:, 0], member[:, 1] = True, False
  shadow = rng.normal(size=member.shape) + 2 * member + rng.normal(size=samples)
  return shadow.astype(np.float32), member, rng.normal(1, 2, (targets, samples)).astype(np.float32)


def definition(value, inside, outside, mode, scale):
  """One score by the book; NaN where fewer than two shadow models remain on a needed side."""
  logs, sides = [], [outside] if mode != "online" else [outside, inside]
  for side in sides:
    spread = scale if scale is not None else side.std(ddof=1) if len(side) > 1 else np.nan
    logs.append((np.median(side) if len(side) else np.nan, spread))
  if mode == "offline":
    return (value - logs[0][0]) / logs[0][1]
  out = norm.logpdf(value, *logs[0])
  if mode == "two-sided":
    return -out - np.log(2 * np.pi) / 2  # a constant that no order depends on
  return norm.logpdf(value, *logs[1]) - out


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_targets_follow_the_definition(mode, fixed, monkeypatch):
  shadow, member, target = problem()
  monkeypatch.setattr(module, "_BLOCK", 4 * len(shadow))
  found = lira(shadow, member, target, mode=mode, fixed_variance=fixed)
  scale = shadow[member if mode == "online" else ~member].astype(float).std() if fixed else None
  for t, x in np.ndindex(target.shape):
    column, inside = shadow[:, x].astype(float), member[:, x]
    expected = definition(float(target[t, x]), column[inside], column[~inside], mode, scale)
    np.testing.assert_allclose(found[t, x], expected, rtol=1e-5, atol=1e-5)
  assert 0 < np.isnan(found).mean() < 0.3


@pytest.mark.parametrize("splits", [None, np.arange(20) % 6])
def test_without_targets_each_shadow_is_attacked_by_the_others(splits):
  shadow, member, _ = problem(1)
  found = lira(shadow, member, splits=splits)
  groups = np.arange(20) if splits is None else splits
  for k in range(20):
    others = groups != groups[k]
    expected = lira(shadow[others], member[others], shadow[k : k + 1])[0]
    np.testing.assert_allclose(found[k], expected, rtol=1e-5, atol=1e-5)


def public_online(shadow, member, target, fixed):
  """The public code's online attack with queries: log-densities averaged over them; but ddof 1."""
  scores = np.empty(target.shape[1:])
  for x in range(member.shape[1]):
    inside, outside = shadow[:, member[:, x], x], shadow[:, ~member[:, x], x]  # [Q, models]
    wide = np.concatenate([view[member] for view in shadow]).std() if fixed else None
    spread = [wide or side.std(1, ddof=1)[:, None] for side in (inside, outside)]
    logs = [
      norm.logpdf(target[:, :, x], np.median(side, 1)[:, None], s)
      for side, s in zip((inside, outside), spread)
    ]
    scores[:, x] = (logs[0] - logs[1]).mean(0)
  return scores


@pytest.mark.parametrize("fixed", [False, True])
def test_queries_are_averaged_as_in_the_public_code(fixed, monkeypatch):
  rng = np.random.default_rng(6)
  member = rng.permuted(np.repeat([[True], [False]], 30, 0).repeat(15, 1), axis=0)
  shadow = rng.normal(size=(3, *member.shape)) + 2 * member + rng.normal(size=(3, 1, 15))
  target = rng.normal(1, 2, (3, 4, 15))
  monkeypatch.setattr(module, "_BLOCK", 4 * len(member))
  found = lira(shadow, member, target, fixed_variance=fixed)
  assert found.shape == (4, 15)
  expected = public_online(shadow, member, target, fixed)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_one_query_is_as_none(mode):
  shadow, member, target = problem()
  for attacked in (None, target):
    views = None if attacked is None else attacked[None]
    found = lira(shadow[None], member, views, mode=mode)
    np.testing.assert_array_equal(found, lira(shadow, member, attacked, mode=mode))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_scores_of_any_size_give_finite_ones_quietly(mode, fixed):
  rng = np.random.default_rng(7)
  member = rng.permuted(np.repeat([[True], [False]], 10, 0).repeat(3, 1), axis=0)
  shadow = rng.normal(size=member.shape)
  shadow[:, 1] *= 1e300
  shadow[:, 2] += 1e30 * member[:, 2]
  assert np.isfinite(lira(shadow, member, mode=mode, fixed_variance=fixed)).all()


def test_the_common_scale_is_exact_far_from_zero():
  """Scores in blocks whose mean is a million times their SD."""
  rng = np.random.default_rng(8)
  member = rng.random((40, 500)) < 0.5
  phi = rng.normal(size=member.shape)
  plain = lira(phi, member, fixed_variance=True)
  np.testing.assert_allclose(lira(phi + 1e6, member, fixed_variance=True), plain, atol=1e-5)


def test_noise_is_at_chance_and_members_are_found_in_spite_of_hardness():
  rng = np.random.default_rng(3)
  member = rng.random((64, 400)) < 0.5
  hardness = 3 * rng.normal(size=400)
  area = {}
  for signal in (0.0, 1.0):
    phi = rng.normal(size=member.shape) + hardness + signal * member
    for mode, fixed in ((mode, fixed) for mode in MODES for fixed in (False, True)):
      scores = lira(phi, member, mode=mode, fixed_variance=fixed)
      area[signal, mode, fixed] = auc(scores[member], scores[~member])
    assert auc(phi[member], phi[~member]) < 0.62  # one threshold for all sees little
  for mode in MODES:
    assert area[0.0, mode, False] == pytest.approx(0.5, abs=0.02)
  # Two Gaussians one SD apart: 0.760 at best, and fits to 32 models cost a little.
  for mode in ("online", "offline"):
    assert area[1.0, mode, False] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.015)
  assert area[1.0, "online", False] < area[1.0, "online", True]
  assert 0.5 < area[1.0, "two-sided", False] < 0.7


def test_offline_is_one_sided_and_the_public_code_is_not():
  rng = np.random.default_rng(4)
  shadow, member = rng.normal(size=(50, 1)), np.zeros((50, 1), bool)
  target = np.array([[-9.0], [0.0], [9.0]])
  low, middle, high = lira(shadow, member, target, mode="offline")[:, 0]
  assert low < middle < high
  low, middle, high = lira(shadow, member, target, mode="two-sided")[:, 0]
  assert low > middle < high


def test_arguments_that_do_not_fit_are_refused():
  shadow, member, target = problem()
  with pytest.raises(ValueError, match=r"mode must be one of .*, got 'both'"):
    lira(shadow, member, target, mode="both")
  with pytest.raises(DataError, match=r"scores \(20, 15\), roles \(19, 15\) and targets \(4, 15\)"):
    lira(shadow, member[1:], target)
  with pytest.raises(DataError, match=r"targets \(4, 14\) do not belong together"):
    lira(shadow, member, target[:, 1:])
  target[2, 3] = np.inf
  with pytest.raises(DataError, match="model 2 has scores that are not finite"):
    lira(shadow, member, target)
  with pytest.raises(
    DataError, match=r"splits \(19,\) must name the split of each of the 20 models"
  ):
    lira(shadow, member, splits=np.arange(19))
  with pytest.raises(DataError, match=r"targets \(4, 15\) do not belong together"):
    lira(shadow[None], member, target)
  for empty in (np.zeros((0, 15)), np.zeros((20, 0))):
    with pytest.raises(DataError, match="are empty; expected at least one model and one sample"):
      lira(empty, np.zeros(empty.shape, bool))
  with pytest.raises(DataError, match=r"targets \(0, 15\) are empty"):
    lira(shadow, member, target[:0])
