"""Change of exposure: by hand, a method that exposes, and nothing, which must not look like one."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks.changes import CHANGES, exposure_change
from jaxmu.audit.attacks.exposure import Tally, tally
from jaxmu.audit.attacks.roles import NEVER, RETAINED
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.errors import DataError

SIDES = {"positive": RETAINED, "negative": NEVER}


def designed(rng, splits, forgets, samples):
  """Roles of models that retain a random half, but for a tenth; and the split of each."""
  roles = np.full((splits, forgets, samples), NEVER, np.int8)
  for split in roles:
    train = rng.permutation(samples)[: samples // 2]
    for model in split:
      model[rng.permutation(train)[samples // 20 :]] = RETAINED
  return roles.reshape(-1, samples), np.repeat(np.arange(splits), forgets)


def noise(rng, splits, forgets, samples):
  shared = 0.3 * rng.normal(size=(splits, 1, 1)) + 0.5 * rng.normal(size=(splits, 1, samples))
  return (shared + rng.normal(size=(splits, forgets, samples))).reshape(-1, samples)


def counted(phi, roles, splits):
  return tally(ulira(phi, roles, splits, paired=True, **SIDES), roles, splits, **SIDES)


def test_by_hand():
  """Three samples: one becomes more exposed, one less, one stays; a fourth is never retained."""
  roles = np.repeat([RETAINED, NEVER], 8)[:, None].repeat(4, 1)
  roles[:, 3] = NEVER
  scores = np.where(roles == RETAINED, 1.0, -1.0)
  before, after = scores.copy(), scores.copy()
  before[:4, 0] *= -1
  after[::2, 1] *= -1
  counts = [tally(s, roles, np.arange(16) % 4, **SIDES) for s in (before, after)]
  change, found = exposure_change(*counts)
  np.testing.assert_allclose(change, [0.25, -0.5, 0, np.nan], atol=1e-6)
  assert tuple(found) == CHANGES
  assert found["mean"].value == pytest.approx(-0.25 / 3, abs=1e-6)
  for name in ("share_more", "share_less"):
    assert found[name].value == pytest.approx(1 / 3)
    assert 0 < found[name].low < 1 / 3 < found[name].high < 1
  assert found["net"].value == 0
  assert found["mean"].low < found["mean"].value < found["mean"].high


def test_a_method_that_exposes_retained_samples():
  rng = np.random.default_rng(7)
  roles, splits = designed(rng, 24, 3, 300)
  phi = noise(rng, 24, 3, 300)
  before, after = (counted(x, roles, splits) for x in (phi, phi + (roles == RETAINED)))
  _, worse = exposure_change(before, after)
  assert worse["net"].low > 0.3
  assert worse["mean"].low > 0.1
  _, equal = exposure_change(before, before)
  assert {name: i.value for name, i in equal.items()} == dict.fromkeys(CHANGES, 0.0)
  assert equal["share_more"].low == 0 < equal["share_more"].high < 0.02
  assert equal["net"] == (0, 0, 0)


def test_splits_that_move_all_samples_widen_net_as_a_jackknife_says():
  """Some splits answer better after than before, on all samples: delete one split at a time."""
  rng = np.random.default_rng(9)
  cases = np.full((8, 4000), 10, np.float32)
  better = 0.5 + 0.02 * rng.normal(size=(8, 1))
  right = lambda rate: rng.binomial(10, np.broadcast_to(rate, cases.shape)).astype(np.float32)
  before = Tally(cases, right(0.5), cases, right(0.5))
  after = Tally(cases, right(better), cases, right(better))
  change, found = exposure_change(before, after)
  without = []
  for s in range(8):
    change, _ = exposure_change(*(Tally(*np.delete(x, s, 1)) for x in (before, after)))
    without.append(np.sign(np.round(change, 5)).mean())
  error = np.sqrt(7 * np.var(without))
  reach = found["net"].high - found["net"].value
  assert error > 3 / np.sqrt(4000)  # more than that of independent samples
  assert reach == pytest.approx(stats.t.ppf(0.975, 7) * error, rel=0.15)


def changes_of_nothing(studies, shape):
  """Return the intervals of `mean` and `net`, [studies, 2, 3]: scores correlated by one half."""
  found = []
  for seed in range(studies):
    rng = np.random.default_rng([seed, *shape])
    roles, splits = designed(rng, *shape)
    level, scale = 2 * rng.normal(size=shape[2]), np.exp(0.3 * rng.normal(size=shape[2]))
    parts = [noise(rng, *shape) for _ in range(3)]
    phis = [(level + np.sqrt(0.5) * (parts[0] + own)) * scale for own in parts[1:]]
    table = exposure_change(*(counted(phi, roles, splits) for phi in phis))[1]
    found.append([table[name] for name in ("mean", "net")])
  return np.array(found)


def test_nothing_is_held_by_most_intervals_and_seldom_raises_an_alarm():
  found = changes_of_nothing(120, (16, 2, 300))
  held = (found[..., 1] <= 0) & (found[..., 2] >= 0)
  assert (held.mean(0) > 0.88).all()  # 0.95 less 3.5 standard errors
  assert (found[:, 1, 1] > 0).mean() < 0.08  # bootstrapped over splits alone: 0.06 to 0.14
  wide = (found[..., 2] - found[..., 1]).mean(0) / found[..., 0].std(0)
  assert (wide < 5.4).all()  # 4.3 would be exact for 16 splits


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 4, 300), (16, 2, 400), (8, 4, 300)])
def test_intervals_hold_nothing_as_often_as_they_say(shape):
  found = changes_of_nothing(400, shape)
  held = (found[..., 1] <= 0) & (found[..., 2] >= 0)
  assert ((held.mean(0) > 0.915) & (held.mean(0) < 0.995)).all()
  assert (found[:, 1, 1] > 0).mean() < 0.05


def test_a_single_split_and_no_sample_have_no_interval():
  rng = np.random.default_rng(8)
  roles = rng.choice([RETAINED, NEVER], (12, 30))
  scores = rng.normal(size=(2, 12, 30))
  one = [tally(s, roles, np.zeros(12), **SIDES) for s in scores]
  for interval in exposure_change(*one)[1].values():
    assert np.isfinite(interval.value)
    assert np.isnan(interval[1:]).all()
  none = [tally(s, np.full((12, 30), NEVER), np.arange(12), **SIDES) for s in scores]
  change, found = exposure_change(*none)
  assert np.isnan(change).all()
  assert np.isnan(list(found.values())).all()


def test_other_splits_or_samples_do_not_compare():
  counts = Tally(*np.ones((4, 5, 30), np.float32))
  fewer = Tally(*(count[:3] for count in counts))
  with pytest.raises(DataError, match=r"\(5, 30\) and \(3, 30\) do not compare"):
    exposure_change(counts, fewer)
