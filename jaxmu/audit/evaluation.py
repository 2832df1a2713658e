"""What is measured on one population's logits: accuracies, losses and attacks, a row per member."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxmu.audit.attacks.population_mia import SEED, population_mia_many
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.audit.metrics import MEASURED, SETS, accuracy


def evaluate(
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
) -> list[dict]:
  """Return one row of measured metrics per member, in the order of `seeds`.

  Args:
    logits: eval-mode logits of un-augmented samples, [K, N, C]; may be memory-mapped.
    labels: [N], as trained on.
    original_labels: [N]; TA_clean counts the test samples whose label was kept.
    split: index arrays `retain`, `forget`, `val`, `test`.
    failed_steps: per member where training turned non-finite; "" if it did not.
    passes: equivalent sample-passes that one member cost.
    compat: run the attacks exactly as the reference does (spec evaluation 3).

  A member that failed, or has a non-finite logit, gets finite=False and NaN metrics.
  """
  failed_steps = failed_steps or [""] * len(seeds)
  if not len(logits) == len(seeds) == len(failed_steps):
    raise ValueError(f"{len(logits)} members, {len(seeds)} seeds, {len(failed_steps)} failures")
  clean = split.test[labels[split.test] == original_labels[split.test]]
  sets = {column: getattr(split, name) for column, name in SETS.items()} | {"TA_clean": clean}
  losses = cross_entropy(logits, labels)
  attacks = _attacks(losses, split, compat)
  rows = []
  for k, (seed, failure) in enumerate(zip(seeds, failed_steps)):
    finite = bool(np.isfinite(losses[k]).all() and np.isfinite(logits[k]).all() and not failure)
    row = {"method": method, "seed": int(seed), "finite": finite, "failed_steps": failure}
    values = dict.fromkeys(MEASURED, np.nan)
    if finite:
      member = np.asarray(logits[k])
      values |= {column: float(accuracy(member, labels, index)) for column, index in sets.items()}
      values |= {f"loss_{s}": float(losses[k][getattr(split, s)].mean()) for s in SETS.values()}
      values |= attacks[k]
    rows.append(row | values | {"passes": float(passes)})
  return rows


def _attacks(losses: np.ndarray, split: Any, compat: bool) -> list[dict]:
  """Run the validation attack, then the test attack, on every member."""
  rng = np.random.RandomState(SEED) if compat else None
  found: list[dict] = [{} for _ in losses]
  for prefix, unseen in (("V", split.val), ("T", split.test)):
    results = population_mia_many(
      losses[:, unseen], losses[:, split.forget], compat=compat, rng=rng
    )
    for row, result in zip(found, results):
      row |= {f"{prefix}_MIA": result.accuracy, f"{prefix}_AUC": result.auc}
  return found
