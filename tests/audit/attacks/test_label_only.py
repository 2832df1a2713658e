"""Label-only U-LiRA: against counting one by one, Bernoulli theory and pure noise."""

import numpy as np
import pytest

from jaxmu.audit.attacks import fits
from jaxmu.audit.attacks.exposure import sample_accuracy, tally
from jaxmu.audit.attacks.label_only import label_only
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED
from jaxmu.errors import DataError


def problem(seed=0, models=24, samples=25, per_split=3):
  """Outcomes of models in mixed order, all roles in all splits, some samples without a side."""
  rng = np.random.default_rng(seed)
  splits = rng.permutation(np.arange(models) // per_split)
  roles = rng.choice([-1, NEVER, RETAINED, FORGOTTEN], (models, samples), p=[0.1, 0.4, 0.2, 0.3])
  roles[:, :2], roles[:, 2] = NEVER, FORGOTTEN
  roles[5, 1] = FORGOTTEN
  return rng.random((models, samples)) < 0.7, roles.astype(np.int8), splits


def count(correct, roles, splits, leave_out, prior=(0.5, 0.5)):
  """Every model on its own, by the formula."""
  scores = np.full(roles.shape, np.nan)
  for k, x in np.ndindex(roles.shape):
    sides = [roles[:, x] == side for side in (FORGOTTEN, NEVER)]
    if roles[k, x] not in (FORGOTTEN, NEVER) or not all(side.any() for side in sides):
      continue
    out = {"split": splits == splits[k], "model": np.arange(len(splits)) == k, "nothing": False}
    logs = []
    for side in sides:
      others = correct[side & ~np.asarray(out[leave_out]), x]
      right = (others.sum() + prior[0]) / (len(others) + sum(prior))
      logs.append(np.log(right if correct[k, x] else 1 - right))
    scores[k, x] = logs[0] - logs[1]
  return scores


@pytest.mark.parametrize("prior", [(0.5, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("leave_out", fits.LEAVE_OUT)
def test_ratios_are_those_of_counts(leave_out, prior, monkeypatch):
  correct, roles, splits = problem()
  monkeypatch.setattr(fits, "_BLOCK", 7 * len(correct))
  found = label_only(correct, roles, splits, leave_out=leave_out, prior=prior)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, count(correct, roles, splits, leave_out, prior), rtol=1e-5)
  assert np.isnan(found[:, [0, 2]]).all()  # nobody forgot the one, nobody never saw the other
  assert np.isfinite(found[:, 1]).all()  # one model did: without it, only the prior speaks


def independent(right, members=32, others=320, samples=1000, seed=0):
  """Models that are right with a probability by role, every model a split of its own."""
  rng = np.random.default_rng(seed)
  roles = np.repeat(np.array([FORGOTTEN, NEVER], np.int8), [members, others])[:, None]
  roles = np.broadcast_to(roles, (members + others, samples))
  chance = np.where(roles == FORGOTTEN, *right)
  return rng.random(roles.shape) < chance, roles, np.arange(members + others)


def mean_accuracy(correct, roles, splits, negative=NEVER, **options):
  scores = label_only(correct, roles, splits, negative=negative, **options)
  return np.nanmean(sample_accuracy(tally(scores, roles, splits, negative=negative)))


def test_bernoulli_outcomes_reach_the_theoretical_accuracy():
  """Right: forgotten, 0.9; wrong: never seen, 0.4."""
  assert mean_accuracy(*independent((0.9, 0.6))) == pytest.approx(0.65, abs=0.005)
  assert mean_accuracy(*independent((0.6, 0.9))) == pytest.approx(0.65, abs=0.005)


@pytest.mark.parametrize("right", [0.5, 0.9, 1.0])
def test_noise_is_at_one_half(right):
  data = independent((right, right), samples=3000)
  assert mean_accuracy(*data) == pytest.approx(0.5, abs=0.005)
  assert mean_accuracy(*data, paired=True) == pytest.approx(0.5, abs=0.005)
  if right == 0.5:
    assert mean_accuracy(*data, leave_out="nothing") > 0.52


def study(rng, splits, forgets, samples):
  """Outcomes of a study without any signal: random halves, forgotten tenths, split effects."""
  roles = np.zeros((splits, forgets, samples), np.int8)
  for of_split in roles:
    half = rng.permutation(samples)[: samples // 2]
    of_split[:, half] = RETAINED
    for model in of_split:
      model[rng.permutation(half)[: len(half) // 10]] = FORGOTTEN
  margin = 2 * rng.normal(size=samples) + 0.5 * rng.normal(size=(splits, 1, samples))
  margin = margin + rng.normal(size=roles.shape)
  flat = (splits * forgets, samples)
  return margin.reshape(flat) > 0, roles.reshape(flat), np.repeat(np.arange(splits), forgets)


@pytest.mark.parametrize(
  ("design", "negative"),
  [((32, 4, 300), NEVER), ((32, 4, 300), RETAINED), ((16, 2, 400), NEVER)],
)
def test_pairs_find_nothing_where_roles_are_exchangeable(design, negative):
  rng = np.random.default_rng(1)
  data = [study(rng, *design) for _ in range(50)]
  paired = [mean_accuracy(*each, negative=negative, paired=True) for each in data]
  plain = [mean_accuracy(*each, negative=negative) for each in data]
  assert np.mean(paired) == pytest.approx(0.5, abs=0.005)
  assert np.mean(plain) < 0.4975


def test_arguments_that_do_not_fit_are_refused():
  correct, roles, splits = problem()
  with pytest.raises(DataError, match=r"correct is float64 \(24, 25\); expected bool \[M, N\]"):
    label_only(correct.astype(float), roles, splits)
  with pytest.raises(DataError, match=r"correct is bool \(1, 24, 25\); expected bool \[M, N\]"):
    label_only(correct[None], roles, splits)
  with pytest.raises(DataError, match=r"scores \(24, 25\), roles \(24, 24\)"):
    label_only(correct, roles[:, 1:], splits)
  with pytest.raises(DataError, match="are empty"):
    label_only(correct[:0], roles[:0], splits[:0])
  with pytest.raises(DataError, match=r"splits \(23,\) must name the split"):
    label_only(correct, roles, splits[1:])
  for prior in ((0, 1), (1, -1), (np.inf, 1), (np.nan, 1)):
    with pytest.raises(ValueError, match=r"prior must be two positive numbers, got"):
      label_only(correct, roles, splits, prior=prior)
