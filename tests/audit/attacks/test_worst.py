"""The most exposed samples: a naive selection, noise that must not look exposed, and a tail."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NEVER, RETAINED
from jaxmu.audit.attacks.worst import confirmed_worst
from jaxmu.errors import DataError


def study(rng, splits=16, forgets=4, samples=300, shifted=0, shift=0.0):
  """Scores of a study whose first samples are shifted when forgotten."""
  roles = np.full((splits, forgets, samples), NEVER, np.int8)
  for split in roles:
    train = rng.permutation(samples)[: samples // 2]
    split[:, train] = RETAINED
    for model in split:
      model[rng.permutation(train)[: samples // 20]] = FORGOTTEN
  phi = 0.3 * rng.normal(size=(splits, 1, 1)) + 0.5 * rng.normal(size=(splits, 1, samples))
  phi = phi + rng.normal(size=roles.shape) + 2 * rng.normal(size=samples)
  phi += shift * (roles == FORGOTTEN) * (np.arange(samples) < shifted)
  phi *= np.exp(0.3 * rng.normal(size=samples))
  return phi.reshape(-1, samples), roles.reshape(-1, samples), np.repeat(np.arange(splits), forgets)


def naive(phi, roles, splits, share, shown):
  """Choose on one half and measure on the other, one sample at a time."""
  chosen, said_by = [], []
  halves = [splits % 2 == parity for parity in (0, 1)]
  for half, other in (halves, halves[::-1]):
    pick = lambda rows, i, role: phi[rows & (roles[:, i] == role), i]
    numbers = range(phi.shape[1])
    sides = {i: (pick(half, i, FORGOTTEN), pick(half, i, NEVER)) for i in numbers}
    outside = {i: (pick(other, i, FORGOTTEN), pick(other, i, NEVER)) for i in numbers}
    squares = {i: [((x - x.mean()) ** 2).sum() if len(x) else 0 for x in sides[i]] for i in numbers}
    freedom = {i: [max(len(x) - 1, 0) for x in sides[i]] for i in numbers}
    common = sum(map(sum, squares.values())) / sum(map(sum, freedom.values()))
    found, lines = {}, {}
    for i, (member, rest) in sides.items():
      if not all(map(len, (member, rest, *outside[i]))):
        continue
      variance = (sum(squares[i]) + 8 * common) / (sum(freedom[i]) + 8)
      count = [len(set(splits[half & (roles[:, i] == role)])) for role in (FORGOTTEN, NEVER)]
      gap = member.mean() - rest.mean()
      t = gap / np.sqrt(variance * (1 / count[0] + 1 / count[1]))
      middle = (member.mean() + rest.mean()) / 2
      lines[i] = middle, np.sign(gap)
      said = [(x - middle) * np.sign(gap) > 0 for x in outside[i]]
      found[i] = abs(t), (said[0].mean() + 1 - said[1].mean()) / 2
    said_by.append(lambda i, r, lines=lines: (phi[r, i] - lines[i][0]) * lines[i][1] > 0)
    order = sorted(found, key=lambda i: -found[i][0])
    count = max(1, round(share * len(found)))
    chosen.append((order[:count], {i: found[i] for i in order[: max(count, shown)]}))
  mean = np.mean([[measured[i][1] for i in top] for top, measured in chosen])
  entries = [item for _, measured in chosen for item in measured.items()]
  samples = sorted({i for i, _ in entries}, key=lambda i: -max(v[0] for j, v in entries if j == i))
  accuracy = [np.mean([v[1] for j, v in entries if j == i]) for i in samples]
  return mean, np.sqrt(naive_variance(said_by, roles, splits, chosen)), samples, accuracy


def naive_variance(said_by, roles, splits, chosen):
  """Sum what every answer adds by split, by sample and by both."""
  sums = {"split": {}, "sample": {}, "cell": {}}
  for parity, (top, _) in enumerate(chosen):
    for role, right in ((FORGOTTEN, True), (NEVER, False)):
      rows = {i: np.flatnonzero((splits % 2 != parity) & (roles[:, i] == role)) for i in top}
      hits = {i: said_by[parity](i, rows[i]) == right for i in top}
      common = np.mean([hits[i].mean() for i in top])
      for i in top:
        for row, hit in zip(rows[i], hits[i]):
          part = (hit - common) / len(rows[i]) / len(top) / 4
          for key, name in (("split", splits[row]), ("sample", i), ("cell", (splits[row], i))):
            sums[key][name] = sums[key].get(name, 0) + part
  square = {key: sum(x**2 for x in parts.values()) for key, parts in sums.items()}
  split, sample = (n / (n - 1) for n in (len(set(splits)), len(sums["sample"])))
  return split * square["split"] + max(0, sample * square["sample"] - square["cell"])


@pytest.mark.parametrize(("share", "shown"), [(0.1, 12), (0.2, 3)])
def test_equals_a_naive_selection(share, shown):
  phi, roles, splits = study(np.random.default_rng(0), 9, 3, 100, 30, 2.0)
  phi, roles, splits = (np.repeat(x, 20, axis=0) for x in (phi, roles, splits))  # far from certain
  found = confirmed_worst(phi, roles, splits, share=share, shown=shown)
  mean, error, samples, accuracy = naive(phi, roles, splits, share, shown)
  assert found.interval.value == pytest.approx(mean, abs=1e-6)
  assert found.interval.low == pytest.approx(mean - stats.t.ppf(0.975, 8) * error, abs=1e-5)
  np.testing.assert_array_equal(found.samples, samples)
  np.testing.assert_allclose(found.accuracy, accuracy, atol=1e-6)


def test_noise_is_at_one_half_and_seldom_raises_an_alarm():
  """Also where samples are listed: their accuracy is not the one that chose them."""
  rng, studies = np.random.default_rng(1), 80
  found = [confirmed_worst(*study(rng)) for _ in range(studies)]
  value, low, high = np.array([one.interval for one in found]).T
  error = value.std() / np.sqrt(studies)
  assert abs(value.mean() - 0.5) < 3.5 * error
  assert ((low <= 0.5) & (high >= 0.5)).mean() > 0.88
  assert (low > np.maximum(0.5, np.roll(high, 1))).mean() < 0.04
  assert np.mean([one.accuracy[:12].mean() for one in found]) == pytest.approx(0.5, abs=0.02)


def test_a_tail_of_few_samples_is_found():
  """One in a hundred, shifted by 5: on average samples look as never seen."""
  rng = np.random.default_rng(2)
  for _ in range(10):
    exposed = confirmed_worst(*study(rng, 32, 4, 1000, 10, 5.0))
    retrained = confirmed_worst(*study(rng, 32, 4, 1000))
    assert exposed.interval.low > max(0.5, retrained.interval.high)
    assert exposed.interval.high < 1.01
    assert (exposed.samples[:6] < 10).all()
    assert exposed.accuracy[:6].mean() > 0.9


@pytest.mark.slow
def test_a_tail_is_found_in_nearly_all_studies_and_nothing_in_few():
  rng, alarms = np.random.default_rng(3), []
  for _ in range(100):
    tail, nothing, retrained = (
      confirmed_worst(*study(rng, 32, 4, 1000, 10, shift)).interval for shift in (5.0, 0.0, 0.0)
    )
    bar = max(0.5, retrained.high)
    alarms.append((tail.low > bar, nothing.low > bar))
  tail, nothing = np.mean(alarms, 0)
  assert tail > 0.95
  assert nothing <= 0.03


def test_few_models_do_not_win_by_chance():
  """Two forgetting models lie together or far out by luck; their samples are chosen no more often.

  With each sample's own variances, nearly all chosen samples would be those of two.
  """
  rng = np.random.default_rng(4)
  roles = np.full((40, 1000), NEVER, np.int8)
  roles[:4, :500] = FORGOTTEN
  roles[:20, 500:] = FORGOTTEN
  chosen = [
    confirmed_worst(rng.normal(size=roles.shape), roles, np.arange(40), share=0.02).samples
    for _ in range(20)
  ]
  assert np.mean(np.concatenate(chosen) < 500) == pytest.approx(0.5, abs=0.1)


def test_all_answers_right_is_no_certainty():
  """Four splits, one sample: at most as sure as four cases of each kind allow."""
  roles = np.array([FORGOTTEN, NEVER] * 4)[:, None]
  phi = np.where(roles == FORGOTTEN, 9.0, 0.0)
  found = confirmed_worst(phi, roles, np.repeat(np.arange(4), 2)).interval
  assert found[::2] == (1, 1)
  assert found.low < 0.9


def test_other_roles_may_hold_anything():
  phi, roles, splits = study(np.random.default_rng(5), 8, 2, 60)
  expected = confirmed_worst(phi, roles, splits)
  phi[roles == RETAINED] = np.nan
  phi[-1], roles[-1] = np.inf, EXCLUDED
  found = confirmed_worst(phi, roles, splits)
  assert np.isfinite(found.interval).all()
  assert len(found.samples)
  same = confirmed_worst(phi[:-1], roles[:-1], splits[:-1])
  assert found.interval == same.interval
  assert found.interval != expected.interval


def test_extreme_scores_give_no_warning():
  phi, roles, splits = study(np.random.default_rng(6), 8, 2, 60, 60, 1.0)
  assert np.isfinite(confirmed_worst(phi * 1e200, roles, splits).interval).all()
  assert confirmed_worst(np.zeros_like(phi), roles, splits).interval.value == 0.5


def test_nothing_to_confirm():
  """One split, or no sample that both halves can attack."""
  phi, roles, splits = study(np.random.default_rng(7), 6, 2, 20)
  for found in (
    confirmed_worst(phi, roles, np.zeros(12)),
    confirmed_worst(phi, np.where(splits[:, None] % 2, NEVER, roles), splits),
  ):
    assert np.isnan(found.interval).all()
    assert len(found.samples) == len(found.accuracy) == 0


def test_mistakes_are_named():
  phi, roles, splits = study(np.random.default_rng(8), 6, 2, 20)
  with pytest.raises(
    DataError, match=r"roles \(12, 20\) and splits \(11,\) do not belong together"
  ):
    confirmed_worst(phi, roles, splits[:-1])
  phi[3, roles[3] == NEVER] = np.inf
  with pytest.raises(DataError, match="model 3 has scores that are not finite"):
    confirmed_worst(phi, roles, splits)
