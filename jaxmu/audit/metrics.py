"""Metrics of single models and of models beside the retrained one, per seed and paired by seed."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from jaxmu.audit.attacks.population_mia import SEED, population_mia_many
from jaxmu.audit.attacks.scores import cross_entropy
from jaxmu.errors import DataError

SETS = {"RA": "retain", "FA": "forget", "VA": "val", "TA": "test"}
MEASURED = (
  *("RA", "FA", "VA", "TA", "TA_clean"),
  *("loss_retain", "loss_forget", "loss_val", "loss_test"),
  *("V_MIA", "T_MIA", "V_AUC", "T_AUC"),
)
_BLOCK = 1 << 15  # weights at a time
DERIVED = (*("RR", "FR", "TR", "RetDev", "Disc", "Indisc", "V_Indisc", "SAPE_forget", "RTE_work"),)


def accuracy(logits: np.ndarray, labels: np.ndarray, index: np.ndarray | slice = slice(None)):
  """Return the fraction of the samples `index` whose largest logit is their label.

  `logits` [..., N, C], `labels` [N]; the result has the leading shape, NaN for an empty index.
  """
  index = np.arange(len(labels))[index]
  if not index.size:
    return np.full(logits.shape[:-2], np.nan)[()]
  return (logits[..., index, :].argmax(-1) == labels[index]).mean(-1)


def retention(value, reference):
  """Return the accuracy ratio value / reference (spec evaluation 2); NaN where reference is 0.

  Raises:
    ValueError: one of the accuracies lies outside [0, 1].
  """
  value, reference = np.asarray(value, float), np.asarray(reference, float)
  for name, x in (("value", value), ("reference", reference)):
    if np.any((x < 0) | (x > 1 + 1e-9)):  # a mean of ones may exceed one by round-off
      raise ValueError(f"{name} must be an accuracy in [0, 1], got {x}")
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(reference > 0, value / reference, np.nan)[()]


def retention_deviation(rr, fr, tr):
  """Return `|RR - 1| + |FR - 1| + |TR - 1|`; 0 is ideal (spec evaluation 2)."""
  return abs(rr - 1) + abs(fr - 1) + abs(tr - 1)


def discernibility(mia):
  """Return `|2 MIA - 1|`: an attack below one half counts like one above (spec evaluation 2)."""
  return abs(2 * mia - 1)


def indiscernibility(mia):
  """Return `1 - Disc`, 1 where the attack is at chance (spec evaluation 2)."""
  return 1 - discernibility(mia)


def sape(a, b):
  """Return `100 |b - a| / (|a| + |b|)`, per cent; 0 for two zeros (spec evaluation 2)."""
  a, b = np.asarray(a, float), np.asarray(b, float)
  total = np.abs(a) + np.abs(b)
  return np.where(total == 0, 0.0, 100 * np.abs(b - a) / np.where(total == 0, 1, total))[()]


def rte(time, retrain_time):
  """Return retraining time / unlearning time; above 1 is faster than retraining."""
  time, retrain_time = np.asarray(time, float), np.asarray(retrain_time, float)
  with np.errstate(divide="ignore", invalid="ignore"):
    return (retrain_time / time)[()]


def equivalent_passes(trained: float, forward: float = 0) -> float:
  """Return the work in sample-passes: 3 per sample trained on, 1 per forward pass only.

  `rte` of two such numbers is the machine-independent RTE_work (spec evaluation 5).
  """
  return 3.0 * trained + forward


def search_objective(unlearned: Mapping[str, float], retrained: Mapping[str, float]) -> np.ndarray:
  """Return the four values a search minimises, [4]; all inf if one of them is not finite.

  Thirds of the absolute differences of RA, FA, VA, then Disc of V_MIA (spec evaluation 6.1).
  """
  gaps = [abs(unlearned[key] - retrained[key]) / 3 for key in ("RA", "FA", "VA")]
  values = np.array([*gaps, discernibility(unlearned["V_MIA"])], float)
  return values if np.isfinite(values).all() else np.full(4, np.inf)


def search_score(values: np.ndarray) -> float:
  """Return the Euclidean norm of the four values; the smallest is chosen (spec evaluation 6.4)."""
  return float(np.sqrt(np.square(values).sum()))


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


def derive(rows: Sequence[Mapping], retrained: Sequence[Mapping]) -> list[dict]:
  """Return `rows` with the metrics that compare each with the retrained model of the same seed.

  Raises:
    DataError: a seed has no retrained model, or more than one.
  """
  references: dict[int, Mapping] = {}
  for row in retrained:
    if references.setdefault(row["seed"], row) is not row:
      raise DataError(f"more than one retrained model of seed {row['seed']}")
  derived = []
  for row in rows:
    if row["seed"] not in references:
      known = ", ".join(map(str, sorted(references))) or "none"
      raise DataError(
        f"no retrained model of seed {row['seed']} to compare method '{row['method']}' with;"
        f" retrained seeds: {known}"
      )
    values = compare(row, references[row["seed"]])
    derived.append(
      dict(row) | {key: float(v) if row["finite"] else np.nan for key, v in values.items()}
    )
  return derived


def compare(new: Mapping, reference: Mapping) -> dict:
  """Return the derived metrics of one model beside its retrained model, by name.

  Takes and returns numbers, or arrays of them (means over seeds, bootstrap replicates).
  """
  ratios = [retention(new[key], reference[key]) for key in ("RA", "FA", "TA")]
  values = (
    *ratios,
    retention_deviation(*ratios),
    discernibility(new["T_MIA"]),
    indiscernibility(new["T_MIA"]),
    indiscernibility(new["V_MIA"]),
    sape(new["FA"], reference["FA"]),
    rte(new["passes"], reference["passes"]),
  )
  return dict(zip(DERIVED, values))


def distances(params: Any, reference: Any) -> dict[str, np.ndarray]:
  """Return l2, norm, rel and nl2 between two populations, each [K] (spec evaluation 4).

  Both are (nested) dicts or lists of arrays with a leading member axis, trainable parameters only.
  `norm` is of `params`, and `rel` is l2 / norm.
  """
  sums = sum(_squares(a, b) for a, b in zip(_leaves(params), _leaves(reference), strict=True))
  norm, other, l2 = np.sqrt(sums)
  with np.errstate(divide="ignore", invalid="ignore"):
    # |a/|a| - b/|b||^2 = (|a - b|^2 - (|a| - |b|)^2) / (|a| |b|): no second pass over the weights.
    nl2 = np.sqrt(np.maximum(l2**2 - (norm - other) ** 2, 0) / (norm * other))
    return {"l2": l2, "norm": norm, "rel": l2 / norm, "nl2": nl2}


def add_distances(rows: Sequence[Mapping], params: Any, **references: Any) -> list[dict]:
  """Return `rows` with `norm` and, for each reference (original=, retrained=), its distances.

  The members of `params` and of every reference are in the order of `rows`.
  """
  columns = {}
  for name, reference in references.items():
    found = distances(params, reference)
    columns |= {f"{key}_{name}": found[key] for key in ("l2", "rel", "nl2")}
    columns["norm"] = found["norm"]
  return [
    dict(row) | {key: float(v[k]) if row["finite"] else np.nan for key, v in columns.items()}
    for k, row in enumerate(rows)
  ]


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


def _leaves(tree: Any) -> Iterator[np.ndarray]:
  """Yield the leaves as [K, size], dictionary keys in sorted order."""
  if isinstance(tree, Mapping):
    tree = [tree[key] for key in sorted(tree)]
  if isinstance(tree, list | tuple):
    for child in tree:
      yield from _leaves(child)
  else:
    leaf = np.asarray(tree)
    yield leaf.reshape(len(leaf), -1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Return the sums of squares of a, b and a - b [K, size], [3, K] in float64.

  In blocks that stay in the cache; the same blocks and NumPy's sums always give the same bits.
  """
  if a.shape != b.shape:
    raise ValueError(f"populations have different leaves: {a.shape} and {b.shape}")
  total = np.zeros((3, len(a)))
  with np.errstate(over="ignore", invalid="ignore"):
    for k, start in product(range(len(a)), range(0, a.shape[1], _BLOCK)):
      x, y = (leaf[k, start : start + _BLOCK].astype(np.float64) for leaf in (a, b))
      total[:, k] += [np.square(v).sum() for v in (x, y, x - y)]
  return total
