"""What is measured on one population's logits: accuracies, losses and attacks, a row per member."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu.audit import influence
from jaxmu.audit.attacks.population_mia import SEED, population_mia_many
from jaxmu.audit.attacks.population_scores import population_scores
from jaxmu.audit.attacks.scores import cross_entropy, usable
from jaxmu.audit.attacks.strongest import ATTACKS, strongest
from jaxmu.audit.attacks.svc_mia import svc_mia
from jaxmu.audit.influence import Influence
from jaxmu.audit.metrics import MEASURED, SETS, accuracy

SVC_LIMIT = 250  # samples a side: an SVC's time grows with their square, hundreds of models wait


class Measured(NamedTuple):
  """One row of metrics per member, and how much each sample moves them: [N] by metric, per member.

  Members without finite metrics have no influences.
  """

  rows: list[dict]
  influences: list[Influence]


def measure(
  logits: np.ndarray,
  labels: np.ndarray,
  original_labels: np.ndarray,
  split: Any,
  *,
  method: str,
  seeds: Sequence[int],
  failed_steps: Sequence[str] | None = None,
  passes: float = np.nan,
  compat: bool = False,
  svc_limit: int = SVC_LIMIT,
) -> Measured:
  """Measure every member, in the order of `seeds`.

  Args:
    logits: eval-mode logits of un-augmented samples, [K, N, C]; may be memory-mapped.
    labels: [N], as trained on.
    original_labels: [N]; TA_clean counts the test samples whose label was kept.
    split: index arrays `retain`, `forget`, `val`, `test`; what needs an empty one is NaN, and
      without validation samples the strongest attack is chosen among test samples.
    failed_steps: per member where training turned non-finite; "" if it did not.
    passes: equivalent sample-passes that one member cost.
    compat: run the paper's attacks exactly as the reference does (spec evaluation 3).
    svc_limit: most samples a side that the SVC of `SVC_MIA` is fitted on; 0 leaves it out.

  A member that failed, or has a logit that means nothing, gets finite=False and NaN metrics. Minus
  infinity for a wrong class is legal.

  Raises:
    DataError: a label is no class, or a set is too small to be attacked.
  """
  failed_steps = failed_steps or [""] * len(seeds)
  if not len(logits) == len(seeds) == len(failed_steps):
    raise ValueError(f"{len(logits)} members, {len(seeds)} seeds, {len(failed_steps)} failures")
  clean = split.test[labels[split.test] == original_labels[split.test]]
  sets = {column: getattr(split, name) for column, name in SETS.items()} | {"TA_clean": clean}
  losses = cross_entropy(logits, labels)
  attacks = _population_attacks(losses, split, compat)
  rows, influences = [], []
  for k, (seed, failure) in enumerate(zip(seeds, failed_steps)):
    finite = bool(np.isfinite(losses[k]).all() and usable(logits[k]).all() and not failure)
    row = {"method": method, "seed": int(seed), "finite": finite, "failed_steps": failure}
    values, moved = dict.fromkeys(MEASURED, np.nan) | {"T_attack": ""}, {}
    if finite:
      member = np.asarray(logits[k])
      values |= {column: float(accuracy(member, labels, index)) for column, index in sets.items()}
      values |= {f"loss_{s}": _mean(losses[k][getattr(split, s)]) for s in SETS.values()}
      values |= {name: float(value) for name, (value, _) in attacks[k].items()}
      right = member.argmax(-1) == labels
      moved = {c: influence.of_mean(right[i], i, len(labels)) for c, i in sets.items()}
      moved |= {name: vector for name, (_, vector) in attacks[k].items()}
      found, moved["T_strongest"] = _strongest(member, labels, split)
      values |= found
      if svc_limit and len(split.retain) > 1:
        values["SVC_MIA"] = _svc(member, labels, split, svc_limit)
    rows.append(row | values | {"passes": float(passes)})
    influences.append(moved)
  return Measured(rows, influences)


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else np.nan


def _population_attacks(losses: np.ndarray, split: Any, compat: bool) -> list[dict]:
  """Run the paper's attack on validation, then on test samples: metric -> (value, influence)."""
  rng = np.random.RandomState(SEED) if compat else None
  found: list[dict] = [{} for _ in losses]
  for prefix, unseen in (("V", split.val), ("T", split.test)):
    if not len(unseen):
      continue
    sets = unseen, split.forget
    results = population_mia_many(
      losses[:, unseen], losses[:, split.forget], compat=compat, rng=rng
    )
    for row, own, result in zip(found, losses, results):
      if result.finite:
        moved = influence.of_guesses((result.unseen, result.forget), sets, len(own))
        row[f"{prefix}_MIA"] = result.accuracy, moved
        row[f"{prefix}_AUC"] = result.auc, influence.of_auc(own, sets)
  return found


def _strongest(logits: np.ndarray, labels: np.ndarray, split: Any) -> tuple[dict, np.ndarray]:
  """Run the attacks of `strongest` on one member; return columns and the chosen's influence."""
  scores = population_scores(logits[None], labels)
  sets = split.forget, split.test
  validation = split.val if len(split.val) else None
  found = strongest(scores, forget=split.forget, unseen=split.test, validation=validation)
  values: dict[str, Any] = {"T_strongest": float(found.accuracy[0]), "T_attack": found.attack[0]}
  values |= {f"T_{name}": float(found.every[name][0]) for name in ATTACKS}
  return values, influence.of_credits((found.forget[0], found.unseen[0]), sets, len(labels))


def _svc(logits: np.ndarray, labels: np.ndarray, split: Any, limit: int) -> float:
  sets = {"retain": split.retain, "test": split.test, "forget": split.forget}
  return svc_mia(logits, labels, **sets, features=("confidence",), limit=limit)["confidence"]
