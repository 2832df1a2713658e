"""The population membership inference attack: one threshold on the loss, cross-validated."""

import functools
import warnings
from math import ceil
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from jaxmu.audit.attacks.logistic import fit_logistic
from jaxmu.errors import DataError

SEED = 123
MINIMUM = 6  # samples on a side: every fold must train and test on both
_CHUNK = 4_000_000  # floats of one block of regressions, so that hundreds of models fit in memory


class Guesses(NamedTuple):
  """How often each sample of a set was asked about in a test fold, and guessed rightly, [n] each.

  Samples that balancing left out, or that no test fold drew, were asked 0 times.
  """

  asked: np.ndarray
  right: np.ndarray


class MiaResult(NamedTuple):
  """What the attack finds on one model.

  `accuracy` is the mean of `fold_accuracies` [n_splits]; `n` the samples per side after balancing;
  `auc` the chance that a forget loss is below an unseen one, on all samples, ties counting half;
  `unseen` and `forget` hold the guesses sample by sample. Where a loss is not finite, `finite` is
  False and the numbers are NaN.
  """

  accuracy: float
  fold_accuracies: np.ndarray
  n: int
  finite: bool
  auc: float
  unseen: Guesses
  forget: Guesses


def population_mia(unseen_losses, forget_losses, **options) -> MiaResult:
  """Attack one model given its losses on never-seen and on forget samples, [n_a] and [n_b].

  Options as in `population_mia_many`.
  """
  unseen, forget = np.asarray(unseen_losses, float), np.asarray(forget_losses, float)
  return population_mia_many(unseen[None], forget[None], **options)[0]


def population_mia_many(
  unseen_losses: np.ndarray,
  forget_losses: np.ndarray,
  *,
  seed: int = SEED,
  n_splits: int = 10,
  test_size: float = 0.1,
  solver: str | None = None,
  compat: bool = False,
  rng: np.random.RandomState | None = None,
) -> list[MiaResult]:
  """Attack K models with the population attack of spec evaluation 3.

  Both sides are shuffled and cut to equal length; a logistic regression on the raw loss is fitted
  on the training part of each stratified split and scored on the rest. All models share the shuffle
  and the splits, as in the reference, where every evaluation restarts the generator. Test folds
  hold as many forget as unseen samples: with one more of a kind the fitting part has one less of
  it, and a guess comes out below one half. The reference's may be odd, and are so under `compat`.

  Args:
    unseen_losses: [K, n_a], of validation or test samples.
    forget_losses: [K, n_b].
    seed: of the splits, and of the shuffle unless `rng` is given.
    solver: "newton" (exact, all folds at once) or "sklearn" (the reference's); None takes "newton",
      or "sklearn" under `compat`.
    compat: label forget samples 0 and unseen ones 1 as the reference does. To follow it exactly,
      pass one `rng=np.random.RandomState(123)` to the validation attack and then to the test one.

  Raises:
    DataError: fewer than 6 samples on a side.
  """
  unseen, forget = np.asarray(unseen_losses, float), np.asarray(forget_losses, float)
  solver = solver or ("sklearn" if compat else "newton")
  if solver not in ("newton", "sklearn"):
    raise ValueError(f"solver must be 'newton' or 'sklearn', got {solver!r}")
  n = min(unseen.shape[1], forget.shape[1])
  if n < MINIMUM:
    raise DataError(
      f"the population attack needs at least {MINIMUM} samples on each side, got "
      f"{unseen.shape[1]} unseen and {forget.shape[1]} forget samples"
    )
  finite = np.isfinite(unseen).all(1) & np.isfinite(forget).all(1)
  rng = rng or np.random.RandomState(seed)
  chosen = [rng.permutation(side.shape[1])[:n] for side in (unseen, forget)]  # unseen first
  losses = np.concatenate([forget[:, chosen[1]], unseen[:, chosen[0]]], 1)[finite]
  label = _labels(n, compat)
  train, test = _splits(n, compat, n_splits, test_size if compat else _even(test_size, n), seed)
  attack = _newton_guesses if solver == "newton" else _sklearn_guesses
  right = np.full((len(finite), *test.shape), np.nan)
  right[finite] = attack(losses, label, train, test)
  area = np.full(len(finite), np.nan)
  area[finite] = loss_auc(unseen[finite], forget[finite])
  sizes = unseen.shape[1], forget.shape[1]
  found = []
  for guesses, ok, a in zip(right, finite, area):
    folds = guesses.mean(-1)
    sides = _by_sample(guesses, test, chosen, sizes)
    found.append(MiaResult(float(folds.mean()), folds, n, bool(ok), float(a), *sides))
  return found


def loss_auc(unseen: np.ndarray, forget: np.ndarray) -> np.ndarray:
  """Return the area under the ROC curve of `-loss` as a sign of membership, [K]; ties averaged.

  Losses [K, m] and [K, n] of K models at once; `population_scores.auc` takes scores of one.
  """
  m, n = unseen.shape[1], forget.shape[1]
  ranks = rankdata(np.concatenate([unseen, forget], 1), axis=1)[:, :m]
  return (ranks.sum(1) - m * (m + 1) / 2) / (m * n)


def _labels(n: int, swapped: bool) -> np.ndarray:
  """Return the classes of n forget and n unseen samples; the reference's are swapped."""
  return np.repeat([0, 1] if swapped else [1, 0], n)


def _even(test_size: float, n: int) -> int:
  """Return the samples of a test fold, an even number: the reference's, or one more."""
  return 2 * ceil(ceil(test_size * 2 * n) / 2)


def _by_sample(right, test, chosen, sizes) -> list[Guesses]:
  """Sort one model's guesses [F, n_test] by sample, those of unseen samples first."""
  n = len(chosen[0])
  asked = np.bincount(test.ravel(), minlength=2 * n)
  hits = np.bincount(test.ravel(), right.ravel(), minlength=2 * n)
  found = []
  for index, size, half in zip(chosen, sizes, (slice(n, None), slice(n))):
    of_all = np.zeros((2, size))
    of_all[:, index] = asked[half], hits[half]
    found.append(Guesses(*of_all))
  return found


@functools.lru_cache(maxsize=64)
def _splits(n, swapped, n_splits, test_size: float | int, seed) -> tuple[np.ndarray, np.ndarray]:
  """Return the row indices of every fold, [F, n_train] and [F, n_test].

  Kept, as all models of a run share them: drawing takes longer than many an attack.
  """
  from sklearn.model_selection import StratifiedShuffleSplit

  label = _labels(n, swapped)
  splitter = StratifiedShuffleSplit(n_splits=n_splits, test_size=test_size, random_state=seed)
  train, test = zip(*splitter.split(label[:, None], label))
  return np.stack(train), np.stack(test)


def _newton_guesses(losses, label, train, test) -> np.ndarray:
  """Tell which guesses are right, [K, F, n_test], some models at a time."""
  folds, size = train.shape
  block = max(1, _CHUNK // (folds * size))
  right = np.empty((len(losses), *test.shape))
  for start in range(0, len(losses), block):
    part = losses[start : start + block]
    x = part[:, train]  # [k, F, n_train]
    y = np.broadcast_to(label[train], x.shape)
    w, b = fit_logistic(x.reshape(-1, size), y.reshape(-1, size))
    w, b = w.reshape(-1, folds, 1), b.reshape(-1, folds, 1)
    guess = w * part[:, test] + b > 0
    right[start : start + block] = guess == label[test]
  return right


def _sklearn_guesses(losses, label, train, test) -> np.ndarray:
  """Tell which guesses of the reference's own solver are right, [K, F, n_test]."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  right = np.empty((len(losses), *test.shape))
  with warnings.catch_warnings():
    # Huge losses stop lbfgs early; the reference takes the coefficients as they are.
    warnings.simplefilter("ignore", ConvergenceWarning)
    for k, fold in np.ndindex(right.shape[:2]):
      x, rows = losses[k][:, None], train[fold]
      model = LogisticRegression().fit(x[rows], label[rows])
      right[k, fold] = model.predict(x[test[fold]]) == label[test[fold]]
  return right
