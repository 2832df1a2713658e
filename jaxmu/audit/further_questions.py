"""More questions to stored scores: other attackers, other pairs of roles, other samples, a bound.

M models, N samples. Nothing is trained for them. All answers are tables: statistic -> value with
its interval over splits, as in `questions`.
"""

import numpy as np

from jaxmu.audit.attacks.crossed import Interval
from jaxmu.audit.attacks.epsilon import epsilon_bound
from jaxmu.audit.attacks.exposure import exposure
from jaxmu.audit.attacks.kernel import kernel_ratios
from jaxmu.audit.attacks.label_only import label_only
from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NEVER, RETAINED, trained_roles
from jaxmu.audit.attacks.strata import (
  PROTECTED,
  VULNERABLE,
  apart,
  restrict,
  strata,
  within_halves,
)
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.audit.questions import Attacker, Case, Table
from jaxmu.errors import DataError

KEPT = ("accuracy", "auc", "tpr_at_0.01")  # of an exposure
DELTA = 1e-5  # of the epsilon bounds
MOST_KERNELS = 5000  # samples


def other_attackers(case: Case, attacker: Attacker) -> Table:
  """Ask forgotten against never-seen with labels alone, and with kernel densities as RULI does."""
  sides = {"positive": FORGOTTEN, "negative": NEVER, "paired": attacker.paired}
  labels = label_only(case.correct, case.roles, case.splits, **sides)
  few = case.columns(_some(case.phi.shape[1]))
  kernels = kernel_ratios(few.phi, few.roles, few.splits, **sides)
  found = _named("label_only", _rates(labels, case), ("auc",))
  return found | _named("kernel", _rates(kernels, few), ("auc",))


def update_leakage(case: Case, before: Case, attacker: Attacker) -> Table:
  """Ask what the change of a score gives away: U-LiRA on after minus before.

  Who holds both models may see in the difference what neither shows (Chen et al. 2021, arXiv
  2005.02205; Gaussians per sample instead of their classifier). `auc` and `accuracy` tell forgotten
  from never seen, `retained_auc` and `retained_accuracy` forgotten from retained.

  Args:
    before: the original models, the k-th being the one that the k-th of `case` came from.
  """
  excluded = (case.roles == EXCLUDED) | (before.roles == EXCLUDED)
  roles = np.where(excluded, np.int8(EXCLUDED), case.roles)
  change = np.where(excluded, 0, np.asarray(case.phi, float) - np.asarray(before.phi, float))
  moved = Case(change, case.correct, roles, case.splits)
  found = {}
  for prefix, negative in (("", NEVER), ("retained_", RETAINED)):
    sides = {"positive": FORGOTTEN, "negative": negative}
    scores = attacker.ratios(moved, sides, attacker.of_few)
    rates = _rates(scores, moved, **sides)
    found |= {f"{prefix}{name}": rates[name] for name in ("accuracy", "auc") if name in rates}
  return found


def groups(original: Case) -> np.ndarray | None:
  """Sort samples by their exposure to the original models, [2, N]; None for fewer than 4 splits."""
  if len(np.unique(original.splits[original.alive])) < 4:
    return None
  # Diverged models stay in: without them splits would fall into other halves than elsewhere.
  return strata(original.phi, trained_roles(original.roles), original.splits)


def privacy_game(case: Case, sorted_by: np.ndarray, attacker: Attacker) -> dict[str, Table]:
  """Ask forgotten against never seen for vulnerable and for protected samples apart.

  Attacked within each half of the splits, as the other half chose the samples.
  """
  options = {"variance": attacker.of_few, "fit": attacker.fit, "paired": attacker.paired}
  scores = within_halves(ulira, case.phi, case.roles, case.splits, **options)
  found = {}
  for name, stratum in (("vulnerable", VULNERABLE), ("protected", PROTECTED)):
    asked = restrict(scores, case.splits, sorted_by, stratum)
    asked, roles = apart(asked, case.roles, case.splits)
    halves = case._replace(roles=roles)
    found[name] = _named("", _rates(asked, halves), KEPT)
    if name == "vulnerable":
      found[name] |= epsilon(asked, halves)
  return found


def efficacy_game(case: Case, retrained: Case, sorted_by: np.ndarray | None) -> dict[str, Table]:
  """Ask whether a model unlearned the sample or was retrained without it (RULI's efficacy game).

  Kernel densities of the method's models against the retrained models of the same forget sets.
  """
  some = _some(case.phi.shape[1])
  pairs = zip(case.columns(some), retrained.columns(some))
  both = Case(*(np.concatenate(pair) for pair in pairs))
  forgot = both.roles == FORGOTTEN
  own = np.arange(len(both.roles)) < len(case.roles)
  roles = np.where(forgot, np.where(own[:, None], FORGOTTEN, NEVER), EXCLUDED).astype(np.int8)
  asked = both._replace(roles=roles)
  scores = within_halves(kernel_ratios, asked.phi, roles, asked.splits, paired=True)
  found = {"forgotten": _named("efficacy", _rates(scores, asked), ("accuracy", "auc"))}
  if sorted_by is not None:
    for name, stratum in (("vulnerable", VULNERABLE), ("protected", PROTECTED)):
      rates = _rates(restrict(scores, asked.splits, sorted_by[:, some], stratum), asked)
      found[name] = _named("efficacy", rates, ("accuracy", "auc"))
  return found


def epsilon(scores: np.ndarray, case: Case) -> Table:
  """Return a lower bound on epsilon, 95 %, with the ceiling that the number of cases allows.

  Empty where too few splits are there for one half to choose and one to measure.
  """
  try:
    bound = epsilon_bound(scores, case.roles, case.splits, delta=DELTA)
  except DataError:
    return {}
  plain = lambda value: Interval(float(value), np.nan, np.nan)
  return {"epsilon": plain(bound.low), "epsilon_ceiling": plain(bound.ceiling)}


def _some(samples: int) -> np.ndarray:
  """Return the samples that kernel densities are asked about: all, or a random part of many.

  Densities of every model at every score are M times as much work as Gaussians.
  """
  order = np.random.default_rng(0).permutation(samples)
  return np.sort(order[:MOST_KERNELS])


def _rates(scores, case: Case, **sides) -> Table:
  """Return the statistics of an exposure; empty where no sample has scores of both roles."""
  sides = {"positive": FORGOTTEN, "negative": NEVER} | sides
  known = np.isfinite(scores)
  both = [(known & (case.roles == role)).any(0) for role in sides.values()]
  if not (both[0] & both[1]).any():
    return {}
  return exposure(scores, case.roles, case.splits, **sides).statistics


def _named(prefix: str, table: Table, wanted: tuple[str, ...]) -> Table:
  return {f"{prefix}_{n}".strip("_"): table[n] for n in wanted if n in table}
