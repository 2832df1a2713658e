"""The shadow models of a U-LiRA study: who trains on what, and who is to forget what.

`splits.py` holds the three draws of spec evaluation 9.1; here they become the list of models of one
study, in an order that keeps its beginning when splits are added.
"""

from dataclasses import dataclass

import numpy as np

from jaxmu.data.splits import Split, ulira_attempt, ulira_pool, ulira_split
from jaxmu.errors import DataError

SPLITS, ATTEMPTS = 64, 10  # the reference's protocol: 640 models


@dataclass(frozen=True, eq=False)
class ShadowStudy:
  """Hold the pool [P] and validation set [V] of a study, int64 indices into the data set.

  Model (s, f) trains on one half of the pool, drawn by split s, and forgets a tenth of that half,
  drawn by attempt f. Forget sets of one split overlap; the validation set is never trained on.
  """

  pool: np.ndarray
  val: np.ndarray
  splits: int = SPLITS
  attempts: int = ATTEMPTS

  @property
  def models(self) -> np.ndarray:
    """List (split, attempt) of every model, int64 [splits * attempts, 2], split by split.

    A study with more splits starts with the same models.
    """
    grid = np.meshgrid(np.arange(self.splits), np.arange(self.attempts), indexing="ij")
    return np.stack(grid, -1).reshape(-1, 2)

  def halves(self, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the train and held-out half of the pool, [P // 2] and [P - P // 2]."""
    _refuse_outside("split", split, self.splits)
    return ulira_split(self.pool, split)

  def split(self, split: int, attempt: int) -> Split:
    """Return what model (split, attempt) retains and forgets; `test` is the held-out half.

    `train` is retain followed by forget, as the reference orders it.
    """
    train, held_out = self.halves(split)
    _refuse_outside("attempt", attempt, self.attempts)
    retain, forget = ulira_attempt(train, attempt)
    return Split(np.concatenate([retain, forget]), retain, forget, self.val, held_out)


def shadow_study(
  num_train: int,
  *,
  splits: int = SPLITS,
  attempts: int = ATTEMPTS,
  pool: int | None = None,
  seed: int = 123,
) -> ShadowStudy:
  """Draw the pool of a U-LiRA study from the first `num_train` samples (spec evaluation 9.1).

  The defaults are the reference's protocol on CIFAR-10: 64 random halves of 47,500 samples, 10
  forget draws from each. A smaller profile takes fewer splits and attempts, and the first `pool`
  samples of the pool, which is in random order.

  Raises:
    DataError: too few samples, splits or attempts.
  """
  if splits < 2 or attempts < 1:
    raise DataError(
      f"a U-LiRA study has {splits} splits and {attempts} attempts; expected at least 2 and 1: "
      "only models of other splits never saw a sample"
    )
  drawn, val = ulira_pool(num_train, seed=seed)
  size = len(drawn) if pool is None else pool
  if not 20 <= size <= len(drawn):
    raise DataError(
      f"the U-LiRA pool has {size} samples; expected 20..{len(drawn)}, of {num_train} training "
      "samples"
    )
  return ShadowStudy(drawn[:size], val, splits, attempts)


def _refuse_outside(name: str, value: int, count: int) -> None:
  if not 0 <= value < count:
    raise DataError(f"{name} {value} is not in this study; expected 0..{count - 1}")
