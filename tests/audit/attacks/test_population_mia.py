"""The population attack: against scikit-learn, analytic cases, golden data and chance."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from support import golden_rules

from jaxmu.audit.attacks import population_mia as mia
from jaxmu.audit.attacks.population_mia import population_mia, population_mia_many
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)


def losses(n, members=2, ratio=0.6):
  """Forget losses are shorter by `ratio`; sizes differ on purpose."""
  return RNG.exponential(1, (members, n + 30)), RNG.exponential(ratio, (members, n))


def naive_accuracies(unseen, forget, seed=123, **options):
  """The attack with scikit-learn's classifier, one fold after another."""
  rng = np.random.RandomState(seed)
  unseen, forget = unseen.copy(), forget.copy()
  rng.shuffle(unseen)
  rng.shuffle(forget)
  n = min(len(unseen), len(forget))
  x, y = np.concatenate([forget[:n], unseen[:n]])[:, None], np.repeat([1, 0], n)
  found = []
  for train, test in StratifiedShuffleSplit(10, test_size=0.1, random_state=seed).split(x, y):
    model = LogisticRegression(**options).fit(x[train], y[train])
    found.append(model.score(x[test], y[test]))
  return np.array(found)


@pytest.mark.parametrize("ratio", [1.0, 0.9, 0.6, 1e-3])
def test_newton_equals_the_exact_solver_of_scikit_learn(ratio):
  unseen, forget = losses(400, 1, ratio)
  expected = naive_accuracies(unseen[0], forget[0], solver="newton-cholesky", tol=1e-12)
  found = population_mia(unseen[0], forget[0])
  np.testing.assert_allclose(found.fold_accuracies, expected, atol=1e-12)
  assert found.accuracy == pytest.approx(expected.mean())


@pytest.mark.parametrize("n", [150, 1000])
def test_newton_is_within_two_test_points_of_the_reference_solver(n):
  unseen, forget = losses(n, 1)
  point = 1 / np.ceil(0.1 * 2 * n)
  expected = naive_accuracies(unseen[0], forget[0])
  found = population_mia(unseen[0], forget[0]).fold_accuracies
  assert np.abs(found - expected).max() <= 2.01 * point
  same = population_mia(unseen[0], forget[0], solver="sklearn").fold_accuracies
  np.testing.assert_array_equal(same, expected)


def test_identical_distributions_are_at_chance():
  results = population_mia_many(RNG.exponential(1, (20, 1000)), RNG.exponential(1, (20, 1000)))
  accuracies = np.array([r.accuracy for r in results])
  assert abs(accuracies.mean() - 0.5) < 0.01
  assert np.abs(accuracies - 0.5).max() < 0.06
  assert abs(np.mean([r.auc for r in results]) - 0.5) < 0.01


@pytest.mark.parametrize("forget_shift", [-5.0, 5.0])
def test_disjoint_distributions_are_told_apart(forget_shift):
  unseen = RNG.uniform(0, 1, 500)
  found = population_mia(unseen, RNG.uniform(0, 1, 500) + forget_shift)
  assert found.accuracy == 1.0
  assert found.auc == (1.0 if forget_shift < 0 else 0.0)
  assert found.n == 500


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_gaussian_losses_give_the_analytic_accuracy_and_auc(distance):
  found = population_mia(RNG.normal(distance, 1, 4000), RNG.normal(0, 1, 4000))
  assert found.accuracy == pytest.approx(norm.cdf(distance / 2), abs=0.02)
  assert found.auc == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.02)


def test_auc_equals_scikit_learn_with_ties():
  unseen, forget = RNG.integers(0, 9, (3, 50)) / 3, RNG.integers(0, 6, (3, 70)) / 3
  member = np.repeat([0, 1], [50, 70])
  for k, found in enumerate(mia.loss_auc(unseen, forget)):
    expected = roc_auc_score(member, -np.concatenate([unseen[k], forget[k]]))
    assert found == pytest.approx(expected, abs=1e-12)


def test_many_models_equal_one_after_another(monkeypatch):
  unseen, forget = losses(200, 5)
  unseen[3, 7] = np.nan
  alone = [population_mia(a, b) for a, b in zip(unseen, forget)]
  for chunk in (10**9, 1):
    monkeypatch.setattr(mia, "_CHUNK", chunk)
    for one, other in zip(alone, population_mia_many(unseen, forget)):
      np.testing.assert_array_equal(one.fold_accuracies, other.fold_accuracies)
      assert (one.finite, one.n) == (other.finite, other.n)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_non_finite_losses_are_flagged_not_raised(bad, side):
  sides = [RNG.exponential(1, 50), RNG.exponential(1, 50)]
  sides[side][4] = bad
  found = population_mia(*sides)
  assert not found.finite
  assert np.isnan([found.accuracy, found.auc, *found.fold_accuracies]).all()


def test_global_random_state_is_neither_read_nor_changed():
  unseen, forget = losses(100, 1)
  first = population_mia(unseen[0], forget[0]).fold_accuracies
  np.random.seed(5)  # noqa: NPY002
  np.testing.assert_array_equal(population_mia(unseen[0], forget[0]).fold_accuracies, first)
  drawn = np.random.random()  # noqa: NPY002
  assert drawn == np.random.RandomState(5).random_sample()


def test_compat_swaps_labels_and_continues_the_stream():
  unseen, forget = losses(100, 1)
  rng = np.random.RandomState(123)
  first = population_mia(unseen[0], forget[0], compat=True, rng=rng)
  second = population_mia(unseen[0], forget[0], compat=True, rng=rng)
  assert not np.array_equal(first.fold_accuracies, second.fold_accuracies)
  fresh = population_mia(unseen[0], forget[0], compat=True)
  np.testing.assert_array_equal(first.fold_accuracies, fresh.fold_accuracies)
  sane = population_mia(unseen[0], forget[0])
  assert not np.array_equal(fresh.fold_accuracies, sane.fold_accuracies)
  assert fresh.auc == sane.auc


def test_compat_reproduces_the_reference_exactly():
  golden = golden_rules.load("eval_scalar")
  rng = np.random.RandomState(123)
  row = dict(zip(golden["model_eval_columns"], golden["model_eval_row"]))
  for name, column in (("val", "Val MIA"), ("test", "Test MIA")):
    found = population_mia(
      golden[f"model_eval_losses_{name}"], golden["model_eval_losses_forget"], compat=True, rng=rng
    )
    assert found.accuracy == pytest.approx(row[column], abs=1e-12)


def test_too_few_samples_and_unknown_solver_are_named():
  with pytest.raises(DataError, match="at least 6 samples on each side, got 5 unseen and 8 forget"):
    population_mia(np.ones(5), np.ones(8))
  with pytest.raises(ValueError, match="'newton' or 'sklearn', got 'lbfgs'"):
    population_mia(np.ones(9), np.ones(9), solver="lbfgs")


@pytest.mark.parametrize("n", [15, 25, 95])
def test_odd_tenths_do_not_move_noise_off_one_half(n):
  """Audit D9: a test fold with one more of a kind leaves one less to fit with: .436 at n = 15."""
  rng = np.random.default_rng(n)
  even = population_mia_many(*rng.exponential(1, (2, 30_000 // n, n)))
  assert np.mean([one.accuracy for one in even]) == pytest.approx(0.5, abs=0.012)
  odd = population_mia_many(*rng.exponential(1, (2, 600, n)), compat=True, solver="newton")
  assert np.mean([one.accuracy for one in odd]) < (0.47 if n < 20 else 0.497)


def test_guesses_are_those_of_the_accuracy():
  rng = np.random.default_rng(0)
  found = population_mia(rng.exponential(1, 90), rng.exponential(0.7, 60))
  assert found.forget.asked.shape == (60,) and found.unseen.asked.shape == (90,)
  assert found.forget.asked.sum() == found.unseen.asked.sum() == 60
  assert (found.unseen.asked > 0).sum() <= 60  # thirty were left out by balancing
  right = found.forget.right.sum() + found.unseen.right.sum()
  assert found.accuracy == pytest.approx(right / 120)


@pytest.mark.filterwarnings("error")
def test_huge_losses_are_no_trouble():
  rng = np.random.default_rng(1)
  forget, unseen = rng.exponential(1, (2, 50))
  forget[:20], unseen[:20] = 1e300, -1e300
  found = population_mia(unseen, forget)
  assert found.finite and 0.5 < found.accuracy <= 1
