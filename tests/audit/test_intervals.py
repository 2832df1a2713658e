"""Two-way intervals: formulas by naive sums, and coverage where truth is known."""

import numpy as np
import pytest
from scipy import stats

from jaxmu.audit import comparison, influence
from jaxmu.audit.intervals import EXACT, Fitting, Interval, over_members, two_way

NAN = float("nan")


def crossed(rng, members, samples, of_members=0.0, of_samples=0.0):
  """Draw a table member x sample whose mean has expectation 0."""
  return (
    of_members * rng.normal(size=(members, 1))
    + of_samples * rng.normal(size=samples)
    + rng.normal(size=(members, samples))
  )


def ask(table, **options) -> Interval:
  """Return the interval of a mean over a table: values and influences of its rows."""
  values = table.mean(1)
  return two_way(values, (table - values[:, None]) / table.shape[1], **options)


def test_variances_add_up_as_naive_sums_do():
  table = crossed(np.random.default_rng(0), 5, 40, 0.6, 0.5)
  members, samples = table.shape
  centred = table - table.mean(1, keepdims=True)
  over_samples = sum(centred[:, i].sum() ** 2 for i in range(samples)) / (members * samples) ** 2
  cells = sum(v**2 for row in centred for v in row) / (members * samples) ** 2
  spread = table.mean(1).var(ddof=1) / members
  more = max(0, spread - cells)
  variance = over_samples + more
  freedom = variance**2 / (more**2 / (members - 1))
  found = ask(table)
  reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
  assert more > 0
  np.testing.assert_allclose(found, (table.mean(), table.mean() - reach, table.mean() + reach))


@pytest.mark.parametrize(
  "members, of_members", [(2, 0.0), (3, 0.0), (10, 0.0), (10, 0.1), (10, 1.0)]
)
@pytest.mark.parametrize("of_samples", [0.0, 1.0, 2.0])
def test_intervals_over_samples_and_members_cover(members, of_members, of_samples):
  rng = np.random.default_rng([members, int(10 * of_members), int(of_samples)])
  held = [
    found.low <= 0 <= found.high
    for found in (ask(crossed(rng, members, 100, of_members, of_samples)) for _ in range(400))
  ]
  assert 0.92 <= np.mean(held) <= 0.99


def test_two_or_three_members_hardly_show_their_own_spread():
  """As far as it goes: a spread as large as the noise of the samples costs some coverage."""
  rng = np.random.default_rng(7)
  found = [ask(crossed(rng, 3, 100, 0.1, 0.0)) for _ in range(400)]
  assert 0.85 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.95


def test_an_interval_over_members_alone_does_not_cover_where_they_share_samples():
  rng = np.random.default_rng(1)
  tables = [crossed(rng, 10, 100, 0, 1.0) for _ in range(200)]
  alone = [over_members(table.mean(1)) for table in tables]
  assert np.mean([one.low <= 0 <= one.high for one in alone]) < 0.6


def test_one_member_has_an_interval_over_samples():
  table = crossed(np.random.default_rng(2), 1, 400)
  found = ask(table)
  reach = stats.norm.ppf(0.975) * table.std() / 20
  np.testing.assert_allclose((found.low, found.high), (table.mean() - reach, table.mean() + reach))


def test_members_of_other_samples_are_independent_evidence():
  """With a split per seed the samples do not overlap: the interval is that of K n samples."""
  rng = np.random.default_rng(3)
  values, influence = np.empty(4), np.zeros((4, 400))
  for k in range(4):
    drawn = rng.normal(size=100)
    values[k] = drawn.mean()
    influence[k, 100 * k : 100 * k + 100] = (drawn - drawn.mean()) / 100
  found = two_way(values, influence)
  width = (found.high - found.low) / 2
  assert width == pytest.approx(1.96 / 20, rel=0.5) and width > 1.8 / 20


def test_what_fitting_adds_widens_near_chance_only():
  table = crossed(np.random.default_rng(4), 1, 400)
  wide = Fitting(4.0, 1.0)
  plain, off = ask(table + 5), ask(table + 5, fitting=wide, chance=0.0)
  np.testing.assert_allclose(off, plain)
  centred = table - table.mean()
  plain, near = ask(centred), ask(centred, fitting=wide, chance=0.0)
  assert near.high - near.low == pytest.approx(2 * (plain.high - plain.low))
  assert ask(table + 5, fitting=wide) != plain  # without a chance it always widens
  assert Fitting(1.0, 1.0) == EXACT


def test_failed_members_are_left_out_and_none_at_all_has_no_value():
  table = crossed(np.random.default_rng(5), 4, 50)
  values = table.mean(1)
  influence = (table - values[:, None]) / 50
  broken = two_way(np.append(values, NAN), np.vstack([influence, np.full(50, NAN)]))
  assert broken == two_way(values, influence)
  assert np.isnan(two_way(np.array([NAN]), np.zeros((1, 3)))).all()
  assert np.isnan(over_members(np.array([0.3]))[1:]).all()
  assert np.isnan(over_members(np.array([])).value)


def test_members_alone_have_the_t_interval():
  values = np.random.default_rng(6).normal(size=7)
  low, high = stats.t.interval(0.9, 6, values.mean(), stats.sem(values))
  np.testing.assert_allclose(over_members(values, 0.9), (values.mean(), low, high))


def test_equal_members_and_samples_have_an_interval_of_no_width():
  found = two_way(np.full(3, 0.7), np.zeros((3, 10)))
  np.testing.assert_allclose(found, (0.7, 0.7, 0.7))


def interval_of(right, groups=None):
  """Return the interval of the accuracy of one model on samples, by the tables of a benchmark."""
  moved = influence.of_mean(right, np.arange(len(right)), len(right))
  row = {"method": "ft", "seed": 0, "finite": True, "FA": float(right.mean())}
  compared = comparison.Comparison(groups=groups)
  compared.add("ft", [row], [{"FA": moved}])
  (found,) = compared.tables().intervals
  return found["low"], found["high"]


def test_samples_of_a_group_that_are_alike_count_once():
  persons = np.random.default_rng(0).random(40) < 0.7
  of_samples = np.repeat(persons, 12)  # twelve images of each, right or wrong together
  groups = np.repeat(np.arange(40), 12)
  np.testing.assert_allclose(interval_of(of_samples, groups), interval_of(persons), rtol=1e-5)
  low, high = interval_of(of_samples)
  assert high - low < 0.35 * np.diff(interval_of(persons))  # as if there were 480


def test_intervals_over_groups_cover_where_groups_were_drawn():
  rng, held, naive = np.random.default_rng(1), [], []
  groups = np.repeat(np.arange(30), 10)
  for _ in range(400):
    rates = rng.beta(2, 1, 30)  # mean 2/3
    right = (rng.random((30, 10)) < rates[:, None]).reshape(-1)
    for found, known in ((held, groups), (naive, None)):
      low, high = interval_of(right, known)
      found.append(low <= 2 / 3 <= high)
  assert np.mean(held) > 0.91
  assert np.mean(naive) < 0.80
