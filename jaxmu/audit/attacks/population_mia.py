"""The population membership inference attack: one threshold on the loss, cross-validated."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from jaxmu.audit.attacks.logistic import fit_logistic
from jaxmu.errors import DataError

SEED = 123
MINIMUM = 6  # samples on a side: every fold must train and test on both
_CHUNK = 4_000_000  # floats of one block of regressions, so that hundreds of models fit in memory


class MiaResult(NamedTuple):
  """What the attack finds on one model.

  `accuracy` is the mean of `fold_accuracies` [n_splits]; `n` the samples per side after balancing;
  `auc` the chance that a forget loss is below an unseen one, on all samples, ties counting half.
  Where a loss is not finite, `finite` is False and the others are NaN.
  """

  accuracy: float
  fold_accuracies: np.ndarray
  n: int
  finite: bool
  auc: float


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
  and the splits, as in the reference, where every evaluation restarts the generator.

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
  losses = _balanced(unseen, forget, n, rng or np.random.RandomState(seed))[finite]
  label = np.repeat([0, 1] if compat else [1, 0], n)
  train, test = _splits(label, n_splits, test_size, seed)
  attack = _newton_accuracies if solver == "newton" else _sklearn_accuracies
  folds = np.full((len(finite), n_splits), np.nan)
  folds[finite] = attack(losses, label, train, test)
  area = np.full(len(finite), np.nan)
  area[finite] = auc(unseen[finite], forget[finite])
  return [
    MiaResult(float(f.mean()), f, n, bool(ok), float(a)) for f, ok, a in zip(folds, finite, area)
  ]


def auc(unseen: np.ndarray, forget: np.ndarray) -> np.ndarray:
  """Return the area under the ROC curve of `-loss` as a sign of membership, [K]; ties averaged."""
  m, n = unseen.shape[1], forget.shape[1]
  ranks = rankdata(np.concatenate([unseen, forget], 1), axis=1)[:, :m]
  return (ranks.sum(1) - m * (m + 1) / 2) / (m * n)


def _balanced(unseen, forget, n, rng) -> np.ndarray:
  """Shuffle each side, unseen first as in the reference, and join n of each: [K, 2n]."""
  order_unseen, order_forget = np.arange(unseen.shape[1]), np.arange(forget.shape[1])
  rng.shuffle(order_unseen)
  rng.shuffle(order_forget)
  return np.concatenate([forget[:, order_forget[:n]], unseen[:, order_unseen[:n]]], 1)


def _splits(label, n_splits, test_size, seed) -> tuple[np.ndarray, np.ndarray]:
  """Return the row indices of every fold, [F, n_train] and [F, n_test]."""
  from sklearn.model_selection import StratifiedShuffleSplit

  splitter = StratifiedShuffleSplit(n_splits=n_splits, test_size=test_size, random_state=seed)
  train, test = zip(*splitter.split(label[:, None], label))
  return np.stack(train), np.stack(test)


def _newton_accuracies(losses, label, train, test) -> np.ndarray:
  """Return the fold accuracies, [K, F], some models at a time."""
  folds, size = train.shape
  block = max(1, _CHUNK // (folds * size))
  accuracies = np.empty((len(losses), folds))
  for start in range(0, len(losses), block):
    part = losses[start : start + block]
    x = part[:, train]  # [k, F, n_train]
    y = np.broadcast_to(label[train], x.shape)
    w, b = fit_logistic(x.reshape(-1, size), y.reshape(-1, size))
    w, b = w.reshape(-1, folds, 1), b.reshape(-1, folds, 1)
    guess = w * part[:, test] + b > 0
    accuracies[start : start + block] = (guess == label[test]).mean(-1)
  return accuracies


def _sklearn_accuracies(losses, label, train, test) -> np.ndarray:
  """Return the fold accuracies with the reference's own solver, [K, F]."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  accuracies = np.empty((len(losses), len(train)))
  with warnings.catch_warnings():
    # Huge losses stop lbfgs early; the reference takes the coefficients as they are.
    warnings.simplefilter("ignore", ConvergenceWarning)
    for k, fold in np.ndindex(accuracies.shape):
      x, rows = losses[k][:, None], train[fold]
      model = LogisticRegression().fit(x[rows], label[rows])
      accuracies[k, fold] = model.score(x[test[fold]], label[test[fold]])
  return accuracies
