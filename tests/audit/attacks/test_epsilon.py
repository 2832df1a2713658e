"""Bounds on epsilon: against SciPy, integrals, the public auditor, and a loop over everything."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.stats import norm

from jaxmu.audit.attacks import epsilon_pairs
from jaxmu.audit.attacks.epsilon import (
  DIRECTIONS,
  clopper_pearson,
  epsilon_bound,
  epsilon_ceiling,
  epsilon_of_rates,
  gdp_delta,
  gdp_epsilon,
  gdp_mu,
)
from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NEVER, RETAINED
from jaxmu.errors import DataError

pytestmark = pytest.mark.filterwarnings("error")

# jax-privacy 2.0.0 with dp_accounting 0.6.0: epsilon_clopper_pearson(1 - level, delta,
# one_sided=False) at threshold 0.5 of scores 0 and 1, and epsilon_from_gdp(1 - level, delta).
# Members above, members, others above, others, level, delta, epsilon, epsilon_from_gdp.
PUBLIC = [
  (90, 100, 20, 100, 0.95, 0, 1.39091830, None),
  (90, 100, 20, 100, 0.95, 0.01, 1.37669650, 3.48454841),
  (16, 16, 0, 16, 0.95, 0, 1.34977466, None),
  (999, 1000, 300, 800, 0.9, 0.001, 4.83343216, 11.50682182),
  (10, 300, 0, 500, 0.95, 0, 0.78392214, None),
  (50, 100, 50, 100, 0.95, 0, 0.0, None),
  (40, 64, 1, 64, 0.99, 1e-5, 1.41960478, 4.24114051),
]


def upper_bounds(above, members, false, others, level):
  fnr = clopper_pearson(members - above, members, level)[1]
  return clopper_pearson(false, others, level)[1], fnr


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 11), (1, 1), (250, 1000)])
def test_bounds_of_counts_equal_exact_binomial_tests(hits, n):
  for level in (0.8, 0.95, 0.999):
    expected = stats.binomtest(hits, n).proportion_ci(level, "exact")
    np.testing.assert_allclose(clopper_pearson(hits, n, level), expected, rtol=1e-9, atol=1e-15)


def test_bounds_of_fractions_lie_between_those_of_counts():
  n = np.array([[4.0], [7.25]])
  low, high = clopper_pearson(np.array([0, 0.5, 1, 1.5]), n)
  assert low.shape == high.shape == (2, 4)
  assert (np.diff(low) > 0).all() and (np.diff(high) > 0).all()
  assert (high[:, 0] > 0).all() and not low[:, 0].any()
  np.testing.assert_allclose(clopper_pearson(4.0, 4.0)[1], 1)
  assert clopper_pearson(0, 0) == (0, 1)
  assert 0 < clopper_pearson(0, 1e9)[1] < 1e-8
  assert clopper_pearson(1e-9, 0.01)[1] > 0.99


@pytest.mark.parametrize("case", PUBLIC)
def test_equals_the_public_auditor(case):
  above, members, false, others, level, delta, bound, of_gdp = case
  rates = upper_bounds(above, members, false, others, level)
  assert epsilon_of_rates(*rates, delta) == pytest.approx(bound, abs=1e-6)
  if of_gdp is not None:
    # It pays for its three thresholds, of which only the middle one tells anything.
    rates = upper_bounds(above, members, false, others, 1 - (1 - level) / 3)
    assert gdp_epsilon(gdp_mu(*rates), delta) == pytest.approx(of_gdp, abs=1e-6)


def test_equals_the_public_auditor_itself():
  auditing = pytest.importorskip("jax_privacy.auditing")
  rng = np.random.default_rng(0)
  for _ in range(30):
    members, others = rng.normal(rng.uniform(-1, 3), 1, rng.integers(20, 300)), rng.normal(size=150)
    threshold, level = rng.normal(), rng.uniform(0.6, 0.99)
    delta = rng.choice([0.001, 0.1])
    auditor = auditing.CanaryScoreAuditor(members, others)
    found = epsilon_of_rates(
      *upper_bounds(
        (members >= threshold).sum(), len(members), (others >= threshold).sum(), 150, level
      ),
      delta,
    )
    expected = auditor.epsilon_clopper_pearson(
      1 - level, delta, False, threshold_strategy=auditing.Explicit(threshold)
    )
    assert found == pytest.approx(expected, abs=1e-6)
    fn, tn = auditor._fn_counts, auditor._tn_counts
    each = 1 - (1 - level) / len(fn)
    fpr, fnr = (clopper_pearson(c, c.max(), each)[1] for c in (150 - tn, fn))
    usable = np.maximum(fpr, fnr) < 1 - delta
    mu = np.abs(-norm.ppf(fpr[usable]) - norm.ppf(fnr[usable])).max(initial=0)
    if (1 - level) / 2 < 0.25:
      expected = auditor.epsilon_from_gdp(1 - level, delta, 1e-9)
      assert gdp_epsilon(mu, delta) == pytest.approx(expected, abs=1e-6)


def test_epsilon_of_rates_by_hand_and_at_the_edges():
  assert epsilon_of_rates(0.1, 0.4) == pytest.approx(np.log(6))
  assert epsilon_of_rates(0.4, 0.1, 0.05) == pytest.approx(np.log(0.55 / 0.1))
  rates = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5], [0.0, 0.96]])
  found = epsilon_of_rates(*rates.T, 0.05)
  np.testing.assert_array_equal(found, [np.inf, 0, 0, 0, 0, 0])
  assert epsilon_of_rates(1.0, 0.0) == 0  # "always positive" tells nothing
  np.testing.assert_array_equal(gdp_mu(*rates.T), [np.inf, 0, 0, 0, 0, np.inf])


@pytest.mark.parametrize(("n", "expected"), [(16, 1.35), (64, 2.82), (512, 4.93), (0, 0)])
def test_ceiling_of_few_cases(n, expected):
  assert epsilon_ceiling(n, n) == pytest.approx(expected, abs=0.005)


def test_ceiling_lets_either_side_carry_the_bound():
  few, many = (clopper_pearson(0, n)[1] for n in (20, 2000))
  expected = np.log(1 - few - 0.01) - np.log(many)
  np.testing.assert_allclose(epsilon_ceiling([20, 2000], [2000, 20], 0.95, 0.01), expected)


@pytest.mark.parametrize(
  ("mu", "e"), [(0.3, 0.1), (1, 0), (1, 2.318), (2, 5.998), (5, 3), (40, 700)]
)
def test_gaussian_delta_is_the_integral_of_what_exceeds(mu, e):
  excess = lambda x: np.exp(norm.logpdf(x, mu)) - np.exp(e + norm.logpdf(x))
  start = e / mu + mu / 2  # the likelihood ratio is exp(epsilon) there
  expected = integrate.quad(excess, start, mu + 40, points=[max(mu, start)], epsabs=1e-14)[0]
  assert gdp_delta(mu, e) == pytest.approx(expected, abs=1e-10)
  assert gdp_epsilon(mu, gdp_delta(mu, e)) == pytest.approx(e, abs=1e-7)


def test_gaussian_epsilon_at_its_edges():
  assert gdp_epsilon(1, 0.01) == pytest.approx(2.318, abs=5e-4)
  assert gdp_epsilon(0, 0) == gdp_epsilon(0.01, 0.1) == 0
  assert gdp_epsilon(1, 0) == gdp_epsilon(np.inf, 0.1) == gdp_epsilon(1e200, 0.1) == np.inf
  assert gdp_delta(0, 1) == gdp_delta(1, np.inf) == gdp_delta(1e-320, 1) == 0
  assert gdp_delta(np.inf, 1) == 1
  assert gdp_epsilon(1e6, 1e-300) == pytest.approx(5e11, rel=1e-4)


def test_mu_of_rates_inverts_the_trade_off_curve():
  fpr, mu = np.array([1e-4, 0.1, 0.5]), np.array([0.5, 2, 6])
  np.testing.assert_allclose(gdp_mu(fpr, norm.cdf(norm.isf(fpr) - mu)), mu, rtol=1e-9)
  assert gdp_mu(0.6, 0.6) == 0


def crossed(seed=0, splits=6, samples=26, shift=2.0):
  """One model per split, with split and sample effects and scores that are missing."""
  rng = np.random.default_rng(seed)
  roles = rng.choice([FORGOTTEN, NEVER, RETAINED], (splits, samples), p=[0.4, 0.5, 0.1])
  scores = rng.normal(size=roles.shape) + 0.5 * rng.normal(size=(splits, 1))
  scores += 0.5 * rng.normal(size=samples) + shift * (roles == FORGOTTEN)
  scores[rng.random(scores.shape) < 0.05] = np.nan
  return scores, roles.astype(np.int8), np.array([f"split {s}" for s in range(splits)])


def effective_by_loops(cells, threshold, level):
  """Weighted pairs (score, split, sample, weight): effective number and share above, one by one."""
  total = sum(w for *_, w in cells)

  def effect(inside):
    share = sum(w for x, _, _, w in cells if inside(x)) / total
    residual = {(s, i): w * (inside(x) - share) for x, s, i, w in cells}
    alone = sum(r * r for r in residual.values())
    value = 1
    for axis in (0, 1):
      sums = {}
      for key, r in residual.items():
        sums[key[axis]] = sums.get(key[axis], 0) + r
      squares = sum(x * x for x in sums.values())
      value += max(0, len(sums) / (len(sums) - 1) * squares / alone - 1) if alone else 0
    return share, value

  share, value = effect(lambda x: x > threshold)
  ordered = sorted(x for x, *_ in cells)
  hits = sum(x > threshold for x in ordered)
  few = min(hits, len(cells) - hits)
  rank = min(max(30, 2 * few), len(cells) // 2)
  if hits < len(cells) - hits:
    value = max(value, effect(lambda x: x >= ordered[-rank])[1])
  else:
    value = max(value, effect(lambda x: x > ordered[rank - 1])[1])
  kish = total**2 / sum(w * w for *_, w in cells)
  tail = (1 + level) / 2
  splits = len({s for _, s, _, _ in cells})
  return share, kish / value * (norm.ppf(tail) / stats.t.ppf(tail, splits - 1)) ** 2


def bounds_by_loops(members, others, threshold, level, delta):
  """The bound of each direction, by the definition of Clopper and Pearson."""
  sides = []
  for cells in (members, others):
    share, n = effective_by_loops(cells, threshold, level)
    k, tail = share * n, (1 - level) / 2
    low = stats.beta.ppf(tail, k, n - k + 1) if k > 0 else 0.0
    high = stats.beta.ppf(1 - tail, k + 1, n - k) if n - k > 1e-9 else 1.0
    sides.append((low, high))
  (a_low, a_high), (b_low, b_high) = sides
  pairs = [(a_low, b_high), (1 - b_high, 1 - a_low), (1 - a_high, 1 - b_low), (b_low, a_high)]
  return [np.log(more - delta) - np.log(less) if more > delta else -np.inf for more, less in pairs]


def cells_by_loops(scores, roles):
  """Weighted pairs of both roles of samples that have both."""
  here = lambda i, role: [
    s for s in range(len(roles)) if roles[s, i] == role and scores[s, i] == scores[s, i]
  ]
  sides = [], []
  for i in range(roles.shape[1]):
    member, other = here(i, FORGOTTEN), here(i, NEVER)
    if member and other:
      sides[0].extend((scores[s, i], s, i, 1.0) for s in member)
      sides[1].extend((scores[s, i], s, i, len(member) / len(other)) for s in other)
  return sides


@pytest.mark.parametrize(("shift", "delta"), [(2.0, 0.01), (-3.0, 0.0)])
def test_one_half_chooses_what_the_other_measures(shift, delta, monkeypatch):
  monkeypatch.setattr(epsilon_pairs, "_RANKS", 5000)  # every score is a candidate
  scores, roles, splits = crossed(shift=shift)
  members, others = cells_by_loops(scores, roles)
  of = lambda cells, half: [c for c in cells if c[1] in half]
  expected = {}
  for half in itertools.combinations(range(6), 3):
    rest = set(range(6)) - set(half)
    chosen = [of(members, half), of(others, half)]
    best = (-np.inf,)
    for threshold in sorted({c[0] for cells in chosen for c in cells}):
      bounds = bounds_by_loops(*chosen, threshold, 0.8, delta)
      best = max(best, (max(bounds), threshold, int(np.argmax(bounds))))
    measured = bounds_by_loops(of(members, rest), of(others, rest), best[1], 0.8, delta)
    expected[half] = (max(0.0, measured[best[2]]), best[1], DIRECTIONS[best[2]])
  seen = set()
  for seed in range(12):
    found = epsilon_bound(scores, roles, splits, level=0.8, delta=delta, seed=seed)
    equal = [
      half
      for half, (low, threshold, direction) in expected.items()
      if (threshold, direction) == (found.threshold, found.direction)
      and low == pytest.approx(found.low, abs=1e-9)
    ]
    assert equal, found
    seen.update(equal)
  assert len(seen) > 5


def two_roles(rng, splits=40, samples=60, each=1):
  """Independent roles of equal shares, [splits * each, samples]."""
  roles = rng.choice(np.array([FORGOTTEN, NEVER], np.int8), (splits * each, samples))
  return roles, np.repeat(np.arange(splits), each)


@pytest.mark.parametrize(
  ("sign", "role", "direction"),
  [
    (1, FORGOTTEN, "positives above"),
    (-1, FORGOTTEN, "positives below"),
    (1, NEVER, "negatives above"),
    (-1, NEVER, "negatives below"),
  ],
)
def test_direction_says_who_shows_the_event(sign, role, direction):
  """A tenth of one role lies far out on one side: nothing else tells the roles apart."""
  rng = np.random.default_rng(0)
  roles, splits = two_roles(rng)
  far = (roles == role) & (rng.random(roles.shape) < 0.1)
  found = epsilon_bound(sign * (rng.normal(size=roles.shape) + 9 * far), roles, splits)
  assert found.direction == direction and found.low > 1
  missed, wrong = (found.fnr, found.fpr) if role == FORGOTTEN else (found.fpr, found.fnr)
  assert missed == pytest.approx(0.9, abs=0.03) and wrong < 0.02


def test_bound_names_its_counts_and_stays_below_its_ceiling():
  rng = np.random.default_rng(1)
  roles, splits = two_roles(rng, each=3)
  scores = rng.normal(size=roles.shape) + 30 * (roles == FORGOTTEN)
  found = epsilon_bound(scores, roles, splits, delta=0.001)
  assert (found.fpr, found.fnr) == (0, 0) and 0.9 * found.ceiling < found.low <= found.ceiling
  # 20 splits, 60 samples, three models: 7 of 8 pairs have a model of the role.
  assert found.members == pytest.approx(1050, abs=40) and found.others == pytest.approx(
    1050, abs=40
  )
  assert found.effective_members <= found.members and found.effective_others <= found.others
  assert found.effective_members > 0.6 * found.members
  high = [clopper_pearson(0, n)[1] for n in (found.effective_others, found.effective_members)]
  assert found.mu == pytest.approx(gdp_mu(*high)) and found.mu > 5
  assert found.epsilon_gdp == pytest.approx(gdp_epsilon(found.mu, 0.001)) and found.epsilon_gdp > 9
  assert np.isnan(epsilon_bound(scores, roles, splits).epsilon_gdp)
  mirrored = epsilon_bound(-scores, roles, splits, delta=0.001)
  assert mirrored.mu == pytest.approx(found.mu, rel=0.05)


def test_tied_scores_count_each_split_once():
  """Errorless guesses of 0 or 1 do not show whether errors would come in whole splits."""
  roles, splits = two_roles(np.random.default_rng(2))
  found = epsilon_bound((roles == FORGOTTEN).astype(float), roles, splits)
  assert (found.effective_members, found.effective_others) == (20, 20)
  assert found.low == pytest.approx(epsilon_ceiling(20, 20))
  assert epsilon_bound(np.zeros(roles.shape), roles, splits).low == 0


def test_infinite_scores_and_float32_are_scores():
  rng = np.random.default_rng(3)
  roles, splits = two_roles(rng)
  scores = rng.normal(size=roles.shape).astype(np.float32) + (roles == FORGOTTEN)
  plain = epsilon_bound(scores, roles, splits)
  scores[scores > 2.8], scores[scores < -1.8] = np.inf, -np.inf
  assert epsilon_bound(scores, roles, splits).low == pytest.approx(plain.low, abs=0.4)


def test_strata_leave_the_other_samples_out():
  rng = np.random.default_rng(4)
  roles, splits = two_roles(rng)
  scores = rng.normal(size=roles.shape)
  scores[:, :20] += 3 * (roles[:, :20] == FORGOTTEN)
  mask = np.arange(60) < 20
  weak, strong = (epsilon_bound(scores, roles, splits, samples=s) for s in (~mask, mask))
  assert strong.low > 1.5 and weak.low == 0
  assert epsilon_bound(scores, roles, splits, samples=np.arange(20)) == pytest.approx(
    strong, nan_ok=True
  )
  assert strong.members < 250


def test_missing_scores_and_other_roles_say_nothing():
  rng = np.random.default_rng(5)
  roles, splits = two_roles(rng, each=2)
  scores = rng.normal(size=roles.shape) + (roles == FORGOTTEN)
  silent = rng.random(roles.shape) < 0.3
  blank, dropped = np.where(silent, np.nan, scores), np.where(silent, EXCLUDED, roles)
  noisy = np.where(silent, 50.0, scores)
  first, second = epsilon_bound(blank, roles, splits), epsilon_bound(noisy, dropped, splits)
  assert first[:3] == second[:3] and first.members == second.members
  assert epsilon_bound(scores, roles, splits, positive=NEVER, negative=FORGOTTEN).low > 0.3


def test_samples_with_more_members_do_not_pass_for_a_leak():
  """Some samples are forgotten more often and have wider scores, in both roles: epsilon is 0.

  Pooled without weights, far-out scores would be likelier for the forgotten role.
  """
  bounds = []
  for seed in range(20):
    rng = np.random.default_rng(seed)
    often = np.arange(80) < 40
    roles = np.where(rng.random((24, 80)) < np.where(often, 0.6, 0.1), FORGOTTEN, NEVER)
    scores = rng.normal(size=roles.shape) * np.where(often, 3, 1)
    bounds.append(epsilon_bound(scores, roles, np.arange(24), seed=seed).low)
  assert np.mean(np.array(bounds) > 0) <= 0.05


def test_mistakes_are_named():
  scores, roles, splits = crossed()
  with pytest.raises(
    DataError, match=r"scores \(6, 25\), roles \(6, 26\) and splits \(6,\) do not"
  ):
    epsilon_bound(scores[:, :-1], roles, splits)
  with pytest.raises(DataError, match=r"splits \(5,\) do not belong together; expected \[M, N\]"):
    epsilon_bound(scores, roles, splits[:-1])
  with pytest.raises(DataError, match="role 'forgotten' has scores in 1 splits of one half; expec"):
    epsilon_bound(scores[:3], roles[:3], splits[:3])
  with pytest.raises(DataError, match="role 'forgotten' has scores in 0 splits of one half"):
    epsilon_bound(scores, roles, splits, samples=np.array([], int))
  with pytest.raises(
    DataError, match=r"in 0 splits of one half; .* more samples that have both rol"
  ):
    epsilon_bound(scores, np.full_like(roles, NEVER), splits)
  with pytest.raises(ValueError, match="level must lie between 0 and 1, got 1"):
    epsilon_bound(scores, roles, splits, level=1)
  with pytest.raises(ValueError, match=r"delta must be at least 0 and below 1, got -0\.1"):
    epsilon_bound(scores, roles, splits, delta=-0.1)
  with pytest.raises(ValueError, match=r"hits must be counts in \[0, n\], got hits 3.0 of n 2.0"):
    clopper_pearson(3, 2)
  with pytest.raises(ValueError, match="mu and epsilon must be at least 0, got -1 and 0"):
    gdp_delta(-1, 0)
