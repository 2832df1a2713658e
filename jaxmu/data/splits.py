"""Which samples are trained on, forgotten, held out and tested: index arrays into a `Dataset`.

`fixed_split` is the reference's split (spec data_models 3.1), the U-LiRA functions are those of
spec evaluation 9.1. All are exact: the same seeds name the same images on every machine.
"""

import functools
import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields

import numpy as np

from jaxmu.errors import DataError

REDRAW_STREAM = 2  # apart from other uses of the same seed
PARTS = ("train", "retain", "forget", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
  """Hold int64 index arrays: train is retain with forget, all others are disjoint.

  `control` are the unseen samples that attacks compare with the forget set; None: those of `test`.
  It may share samples with `test`, and with no other part. `access` are the samples of `retain`
  that a method may read, while all of them are measured; None: all. Where a request comes in
  rounds, `earlier` are the samples of the rounds before, in no other part, and `first` those of the
  first one; None: there is one round. `val_control` are the unseen samples that a search compares
  with the forget set; None: those of `val`. It may share samples with `val`, and with no other
  part.
  """

  train: np.ndarray
  retain: np.ndarray
  forget: np.ndarray
  val: np.ndarray
  test: np.ndarray
  control: np.ndarray | None = None
  access: np.ndarray | None = None
  earlier: np.ndarray | None = None
  first: np.ndarray | None = None
  val_control: np.ndarray | None = None

  @functools.cached_property
  def sizes(self) -> dict[str, int]:
    """Count the samples of each part."""
    return {name: len(part) for name, part in self._parts()}

  @property
  def trained(self) -> dict[str, np.ndarray]:
    """Return the sets that a method may read, by name."""
    retain = self.retain if self.access is None else self.access
    return {"retain": retain, "forget": self.forget, "val": self.val}

  @functools.cached_property
  def trained_sizes(self) -> dict[str, int]:
    """Count the samples that a method may read, and those of all other parts."""
    return self.sizes | {name: len(part) for name, part in self.trained.items()}

  @property
  def unseen(self) -> np.ndarray:
    """What attacks compare with the forget set."""
    return self.test if self.control is None else self.control

  @property
  def val_unseen(self) -> np.ndarray:
    """What the attack of a search compares with the forget set."""
    return self.val if self.val_control is None else self.val_control

  @property
  def sha256(self) -> str:
    """Give the SHA-256 over all arrays (little-endian int64, in the order of the fields)."""
    digest = hashlib.sha256()
    for name, part in self._parts():
      array = np.ascontiguousarray(part, "<i8")
      digest.update(f"{name}:{len(array)}:".encode())
      digest.update(array.data)
    return digest.hexdigest()

  def _parts(self) -> list[tuple[str, np.ndarray]]:
    named = [(field.name, getattr(self, field.name)) for field in fields(self)]
    return [(name, part) for name, part in named if part is not None]


def widths(splits: Iterable[Split], needs: Collection[str]) -> dict[str, int]:
  """Return the size of the largest of each set that a method needs; empty where all are equal.

  How samples are shuffled depends on it, so it belongs to all members of a stage.
  """
  sizes = {tuple(sorted(own.items())) for own in (one.trained_sizes for one in splits)}
  read = [{name: n for name, n in own if name in needs} for own in sizes]
  if all(own == read[0] for own in read):
    return {}
  return {name: max(own[name] for own in read) for name in read[0]}


def fixed_split(
  num_train: int,
  num_total: int,
  *,
  val_fraction: float = 0.15,
  forget_fraction: float = 0.10,
  seed: int = 123,
) -> Split:
  """Split the official train part into train and val, then train into retain and forget.

  Uniform and not stratified; the test part is the official one. Equals scikit-learn's
  `train_test_split` with `random_state=seed` (spec data_models 3.1). Raises `DataError` where a
  part would be empty.
  """
  _check_fraction("val_fraction", val_fraction)
  _check_fraction("forget_fraction", forget_fraction)
  dev = np.arange(num_train, dtype=np.int64)
  train, val = _hold_out(dev, val_fraction, seed)
  retain, forget = _hold_out(train, forget_fraction, seed)
  split = Split(train, retain, forget, val, np.arange(num_train, num_total, dtype=np.int64))
  _refuse_empty(split, f"{num_train} training and {num_total - num_train} test samples")
  return split


def listed_split(
  forget: np.ndarray,
  num_train: int,
  num_total: int,
  *,
  val_fraction: float = 0.15,
  seed: int = 123,
  control: np.ndarray | None = None,
) -> Split:
  """Split what a given forget set leaves of the official train part into val and retain.

  `forget` holds positions in the train part. The validation samples are the first others of the
  permutation that `fixed_split` draws with this seed, as many as there: with the forget set of
  `fixed_split`, validation and retain sets are its own, too. The test part is the official one.
  Training samples of `control` are in neither of them. Raises `DataError` where a part would be
  empty.
  """
  _check_fraction("val_fraction", val_fraction)
  order = np.random.RandomState(seed).permutation(num_train).astype(np.int64)
  apart = forget if control is None else np.concatenate([forget, control[control < num_train]])
  rest = order[~np.isin(order, apart)]
  size = math.ceil(val_fraction * num_train)
  if len(rest) <= size:
    raise DataError(
      f"{len(forget)} of {num_train} training samples are to be forgotten"
      + (f", {len(apart) - len(forget)} to be control" if len(apart) > len(forget) else "")
      + f" and {size} held out for validation, which leaves none to retain; expected fewer: "
      "shorten the list, or give a smaller config.data.val_fraction"
    )
  val, retain = rest[:size], rest[size:]
  train = np.concatenate([retain, forget])
  test = np.arange(num_train, num_total, dtype=np.int64)
  split = Split(train, retain, forget, val, test)
  _refuse_empty(split, f"{num_train} training and {num_total - num_train} test samples")
  return split


def redrawn_split(num_train: int, num_total: int, *, seed: int, **fractions: float) -> Split:
  """Draw all parts anew, the test part too, with the sizes of `fixed_split`.

  Where every member of a population has such a split of its own, the spread over members includes
  the choice of samples, and no part is special: an attack on a retrained model is at one half on
  average. Only for data whose official parts are exchangeable.
  """
  order = np.random.default_rng((seed, REDRAW_STREAM)).permutation(num_total)
  base = fixed_split(num_train, num_total, seed=seed, **fractions)
  return Split(*(order[getattr(base, part)] for part in PARTS))


def custom_split(
  *,
  retain: np.ndarray,
  forget: np.ndarray,
  val: np.ndarray,
  test: np.ndarray,
  num_total: int,
  train: np.ndarray | None = None,
) -> Split:
  """Check a user's own index arrays into a data set of `num_total` samples; return a `Split`.

  `train` defaults to retain followed by forget, and must hold the same samples. Raises `DataError`
  where a part is empty, out of range, has duplicates, or overlaps another one.
  """
  given = {"retain": retain, "forget": forget, "val": val, "test": test}
  parts = {name: _check_indices(name, value, num_total) for name, value in given.items()}
  owner = np.full(num_total, -1)
  for number, (name, indices) in enumerate(parts.items()):
    taken = indices[owner[indices] >= 0]
    if len(taken):
      other = list(parts)[owner[taken[0]]]
      raise DataError(
        f"the {other} and {name} sets overlap: {len(taken)} samples are in both, the first is "
        f"{taken[0]}; expected disjoint sets: drop them from one"
      )
    owner[indices] = number
  union = np.concatenate([parts["retain"], parts["forget"]])
  if train is None:
    train = union
  else:
    train = _check_indices("train", train, num_total)
    if not np.array_equal(np.sort(train), np.sort(union)):
      raise DataError(
        f"the train set has {len(train)} samples that are not retain ({len(parts['retain'])}) "
        f"together with forget ({len(parts['forget'])}); expected their union: leave train out"
      )
  return Split(train=train, **parts)


def ulira_pool(num_train: int = 50_000, *, seed: int = 123) -> tuple[np.ndarray, np.ndarray]:
  """Return the U-LiRA pool (95 % of the train part) and the validation set that all splits share.

  Both int64; the validation set is never trained on (spec evaluation 9.1, step 1).
  """
  order = np.random.default_rng(seed).permutation(num_train)
  size = num_train - num_train // 20
  if size == num_train:
    raise DataError(f"U-LiRA needs at least 20 training samples; got {num_train}: use more data")
  return order[:size], order[size:]


def ulira_split(pool: np.ndarray, split: int) -> tuple[np.ndarray, np.ndarray]:
  """Return train and held-out half of the pool for a shadow split (spec evaluation 9.1, step 2)."""
  order = np.random.default_rng(split).permutation(pool)
  return order[: len(pool) // 2], order[len(pool) // 2 :]


def ulira_attempt(train: np.ndarray, attempt: int) -> tuple[np.ndarray, np.ndarray]:
  """Return retain (90 %) and forget (10 %) for one attempt on a split's train half.

  The forget sets of different attempts overlap: they are no partition (spec evaluation 9.1, step
  3).
  """
  order = np.random.default_rng(attempt).permutation(train)
  size = len(train) - len(train) // 10
  if size == len(train):
    raise DataError(f"U-LiRA needs at least 10 samples per train half; got {len(train)}")
  return order[:size], order[size:]


def _hold_out(x: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Return the first part and ceil(fraction * n) held-out samples; the generator starts anew."""
  size = math.ceil(fraction * len(x))
  order = np.random.RandomState(seed).permutation(len(x))  # the reference's generator
  return x[order[size:]], x[order[:size]]


def _check_fraction(name: str, value: float) -> None:
  if not 0 < value < 1:
    raise DataError(f"{name} is {value}; expected a number between 0 and 1, such as 0.1")


def _refuse_empty(split: Split, source: str) -> None:
  for name, size in split.sizes.items():
    if size == 0:
      raise DataError(
        f"the {name} set is empty (of {source}); expected at least one sample: use more data or "
        "another val_fraction or forget_fraction"
      )


def _check_indices(name: str, value: np.ndarray, num_total: int) -> np.ndarray:
  try:
    indices = np.asarray(value)
  except ValueError as error:  # lists of different lengths
    raise DataError(f"the {name} set is no flat list; expected sample indices") from error
  if indices.ndim != 1 or indices.dtype.kind not in "iu" or len(indices) == 0:
    kind = "is empty" if indices.size == 0 else f"has dtype {indices.dtype}, shape {indices.shape}"
    raise DataError(f"the {name} set {kind}; expected a list of at least one sample index")
  bad = indices[(indices < 0) | (indices >= num_total)]
  if len(bad):
    raise DataError(
      f"the {name} set contains index {bad[0]}; expected 0..{num_total - 1}, positions in the data"
    )
  indices = indices.astype(np.int64)  # after the check: large unsigned numbers would wrap
  values, counts = np.unique(indices, return_counts=True)
  if counts.max() > 1:
    raise DataError(
      f"the {name} set contains index {values[counts.argmax()]} {counts.max()} times; expected "
      "each sample at most once: remove the duplicates"
    )
  return indices
