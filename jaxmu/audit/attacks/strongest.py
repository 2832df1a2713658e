"""The strongest of several attacks on one model: chosen on validation data, measured on test data.

One threshold on the loss sees a method that leaves losses too low. It is blind to one that flattens
its forget set: those losses are neither low nor high, yet all alike. Hence several attacks, each
with one rule for all samples, and a choice that is paid for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.errors import DataError

FOLDS = 5
_CHUNK = 4_000_000  # numbers of one [K, folds, samples] array


class Attack(NamedTuple):
  """One rule for all samples.

  Attributes:
    score: which of `population_scores` it looks at.
    rule: guesses from merged scores, giving the credit of each place, [K, 2n] -> [K, 2n].
    short: what it looks at, in a word or two.
    words: the same in running text, as what the attacker uses.
  """

  score: str
  rule: Callable[["_Merged"], np.ndarray]
  short: str
  words: str


class Strongest(NamedTuple):
  """The attack on K members.

  Attributes:
    accuracy: balanced accuracy of the attack that was chosen, [K].
    attack: which one, the name that most folds chose, K names of `ATTACKS`.
    every: accuracies [K] of all attacks by name, none of them chosen.
    forget, unseen: credit for each sample, [K, n_forget] and [K, n_unseen]: 1 guessed rightly, 0
      wrongly, one half where the attack had no opinion, NaN where balancing left the sample out.
    credits: the same (forget, unseen) of all attacks by name, none of them chosen.
  """

  accuracy: np.ndarray
  attack: list[str]
  every: dict[str, np.ndarray]
  forget: np.ndarray
  unseen: np.ndarray
  credits: dict[str, tuple[np.ndarray, np.ndarray]]


def strongest(
  scores: Mapping[str, np.ndarray],
  *,
  forget: np.ndarray,
  unseen: np.ndarray,
  validation: np.ndarray | None = None,
  seed: int = 123,
) -> Strongest:
  """Attack K members with every attack of `ATTACKS`, and measure the strongest of them honestly.

  Forget and unseen samples are balanced and dealt into five folds. For each fold, all attacks are
  tried by cross-validation on the other folds' forget samples against validation samples; the best
  is fitted on those forget samples against the other folds' unseen samples, and measured on the
  fold. What measures has neither fitted nor chosen: noise gives one half (Song & Mittal 2021, arXiv
  2003.10595, for the scores; an addition to the specification). A threshold may say "member" on
  either side; the histogram on margins says so in any bin with more forget than unseen samples.

  Args:
    scores: of `population_scores`, [K, N] by name; infinite ones can be ranked, NaN not.
    forget, unseen, validation: index arrays into N. Without validation samples the attacks are
      tried against the other folds' unseen samples.
    seed: of the folds, which all members share.

  Raises:
    DataError: fewer than 6 samples on a side, or a score is NaN.
  """
  sides = {"forget": forget, "unseen": unseen}
  if validation is not None:
    sides["validation"] = validation
  _check(scores, sides)
  rng = np.random.default_rng(seed)
  n = min(len(forget), len(unseen))
  order = [rng.permutation(len(side))[:n] for side in (forget, unseen)]
  members, others = np.asarray(forget)[order[0]], np.asarray(unseen)[order[1]]
  rest = None if validation is None else rng.permutation(validation)
  fold = np.arange(n) % FOLDS
  credits = _attacks(scores, members[None], others[None], fold)[:, :, 0]
  choice = _choose(scores, *_other_folds(members, others, rest, fold))  # [folds, K]
  chosen = np.take_along_axis(credits, choice.T[None, :, fold, None], 0)[0]  # [K, n, 2]
  known = list(ATTACKS)
  names = [known[np.bincount(row, minlength=len(known)).argmax()] for row in choice.T]
  sizes = len(forget), len(unseen)
  every = {name: credit.mean((1, 2)) for name, credit in zip(ATTACKS, credits)}
  single = {name: _by_side(credit, order, sizes) for name, credit in zip(ATTACKS, credits)}
  return Strongest(chosen.mean((1, 2)), names, every, *_by_side(chosen, order, sizes), single)


def _by_side(
  credit: np.ndarray, order: Sequence[np.ndarray], sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Give balanced credits [K, n, 2] back to all samples of both sides; NaN to those left out."""
  found = tuple(np.full((len(credit), size), np.nan) for size in sizes)
  for side, (of_all, index) in enumerate(zip(found, order)):
    of_all[:, index] = credit[..., side]
  return found


def _check(scores: Mapping[str, np.ndarray], sides: Mapping[str, np.ndarray]) -> None:
  for name, index in sides.items():
    if len(index) < MINIMUM:
      raise DataError(
        f"the attacks need at least {MINIMUM} {name} samples, got {len(index)}; use more data"
      )
    if any(np.isnan(score[:, index]).any() for score in scores.values()):
      raise DataError(f"scores of {name} samples are NaN; leave failed models out")


def _other_folds(members, others, validation, fold) -> tuple[np.ndarray, np.ndarray]:
  """Return, for every fold, the samples that may choose its attack: indices [folds, m] a side."""
  outside = [np.flatnonzero(fold != f) for f in range(FOLDS)]
  size = min(map(len, outside))
  if validation is not None:
    size = min(size, len(validation))
  pick = lambda side: np.stack([side[index[:size]] for index in outside])
  if validation is None:
    return pick(members), pick(others)
  return pick(members), np.tile(validation[:size], (FOLDS, 1))


def _choose(scores, members: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Return which attack tells the sides apart best, cross-validated, as numbers [R, K].

  `members` and `others` are R rows of samples, [R, m] each.
  """
  fold = np.arange(members.shape[1]) % min(FOLDS, members.shape[1])
  return _attacks(scores, members, others, fold).mean((3, 4)).argmax(0).T


def _attacks(scores, members: np.ndarray, others: np.ndarray, fold: np.ndarray) -> np.ndarray:
  """Return the credit of every attack for every sample, [attacks, K, R, m, 2].

  Each sample of a row is judged by rules fitted on the other folds of its row.
  """
  found = {}
  for score in dict.fromkeys(attack.score for attack in ATTACKS.values()):
    names = [name for name, attack in ATTACKS.items() if attack.score == score]
    rules = [ATTACKS[name].rule for name in names]  # scores are sorted once for all of them
    found |= dict(zip(names, _by_rules(scores[score], members, others, fold, rules)))
  return np.stack([found[name] for name in ATTACKS])


def _by_rules(
  values: np.ndarray, members, others, fold, rules: Sequence[Callable[["_Merged"], np.ndarray]]
) -> np.ndarray:
  """Return the credit by each rule, [rules, K, R, m, 2], some members at a time."""
  rows, m = members.shape
  size = max(1, _CHUNK // (2 * m * rows * (fold.max() + 1)))
  parts = []
  for start in range(0, len(values), size):
    block = values[start : start + size]
    both = np.concatenate([block[:, members], block[:, others]], 2)  # [K, R, 2m]
    merged = _Merged(both.reshape(-1, 2 * m), fold)
    credit = np.empty((len(rules), *merged.order.shape))
    for one, rule in zip(credit, rules):
      np.put_along_axis(one, merged.order, rule(merged), 1)
    parts.append(credit.reshape(len(rules), len(block), rows, 2, m).swapaxes(3, 4))
  return np.concatenate(parts, 1)


class _Merged:
  """Scores of members and others in one ascending row per model, 2n columns.

  Attributes:
    order: [K, 2n], the sample in each place; `order < n` are members.
    sign: [K, 2n], 1 for members and -1 for others.
    own: [K, 2n], the fold of the sample in each place.
    train: [K, F, 2n], 1 where it belongs to another fold than F.
    first: [K, 2n], the first place with the same score.
  """

  def __init__(self, values: np.ndarray, fold: np.ndarray):
    self.order = values.argsort(1, kind="stable")
    ordered = np.take_along_axis(values, self.order, 1)
    self.sign = np.where(self.order < len(fold), 1, -1)
    self.own = np.concatenate([fold, fold])[self.order]
    folds = np.arange(fold.max() + 1)
    self.train = (self.own[:, None] != folds[:, None]).astype(np.int32)
    new = np.ones(values.shape, bool)
    new[:, 1:] = ordered[:, 1:] > ordered[:, :-1]
    places = np.arange(values.shape[1])
    self.first = np.maximum.accumulate(np.where(new, places, 0), axis=1)

  def of_own_fold(self, by_fold: np.ndarray) -> np.ndarray:
    """Pick, for every place, what was fitted without its fold: [K, F, 2n] -> [K, 2n]."""
    return np.take_along_axis(by_fold, self.own[:, None], 1)[:, 0]


def _threshold(merged: _Merged) -> np.ndarray:
  """Guess by the threshold, and the side of it, with the highest balanced accuracy."""
  # The balance below each score, ties excluded: others minus members of the other folds.
  below = np.cumsum(-merged.train * merged.sign[:, None], -1) + merged.train * merged.sign[:, None]
  below = np.take_along_axis(below, merged.first[:, None].repeat(below.shape[1], 1), -1)
  best = np.abs(below).argmax(-1)[..., None]  # scores from here on are "above"
  side = np.sign(np.take_along_axis(below, best, -1))  # 1: members lie above; 0: no opinion
  above = np.where(
    merged.first[:, None] >= np.take_along_axis(merged.first, best[..., 0], 1)[..., None], 1, -1
  )
  return (1 + merged.of_own_fold(above * side) * merged.sign) / 2


def _histogram(merged: _Merged) -> np.ndarray:
  """Guess by bins that hold equally many scores: "member" where members are in the majority.

  A likelihood ratio that may rise and fall. The number of bins grows with the cube root of the
  sample, so that a bin's majority is no accident and a bump is not averaged away.
  """
  train = merged.train
  total = train.sum(-1).min()
  bins = int(np.clip(np.round(1.5 * np.cbrt(total)), 4, 32))
  before = np.cumsum(train, -1) - train
  before = np.take_along_axis(before, merged.first[:, None].repeat(train.shape[1], 1), -1)
  place = np.minimum(before * bins // train.sum(-1, keepdims=True), bins - 1)
  cell = np.arange(place.shape[0] * place.shape[1]).reshape(*place.shape[:2], 1) * bins + place
  weight = (train * merged.sign[:, None]).ravel()
  majority = np.bincount(cell.ravel(), weight, minlength=place.shape[0] * place.shape[1] * bins)
  guess = merged.of_own_fold(np.sign(majority)[cell])
  return (1 + guess * merged.sign) / 2


# The first of equally strong ones is chosen. Loss, confidence and margin rank samples alike, so a
# free threshold on one is one on all three.
ATTACKS = {
  "margin": Attack(
    "margin", _threshold, "confidence", "a threshold on the confidence in the label"
  ),
  "entropy": Attack(
    "entropy",
    _threshold,
    "certainty",
    "a threshold on how certain the prediction is, whatever it says (entropy)",
  ),
  "modified_entropy": Attack(
    "modified_entropy",
    _threshold,
    "both",
    "a threshold on certainty and label together (modified entropy)",
  ),
  "correctness": Attack(
    "correctness", _threshold, "right or wrong", "whether the prediction is right"
  ),
  "histogram": Attack(
    "margin",
    _histogram,
    "bands",
    "bands of confidence that forgotten samples fill more than unseen ones",
  ),
}
