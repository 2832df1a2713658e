"""Do 95 % intervals of the benchmark's attacks hold the truth, and are equal methods called equal?

    python bench/coverage.py --studies=200

Every simulated study is measured as a real one: logits of K members on a forget set of 450, 675
validation and 900 test samples, ten classes, through `evaluation.measure` and `comparison.tables`.
A sample's logits are correlated between members (0: as if every seed drew its own samples; 0.8:
one split for all seeds, as in the paper's protocol). Truth is one half without a shift, and the
mean over studies under one. Two methods that are equal share half of what members share.
"""

import argparse
import time
from types import SimpleNamespace

import numpy as np

from jaxmu.audit import comparison, evaluation, metrics

SETS = {"forget": 450, "val": 675, "test": 900, "retain": 300}
CLASSES = 10
SHOWN = ("T_MIA", "T_strongest", "T_AUC")
SHIFT = 0.6  # standard deviations of a logit, on the label's logit of forget samples
METHODS = ("one", "other")


def split() -> SimpleNamespace:
  """Return the sets as index arrays."""
  ends = np.cumsum([*SETS.values()])
  return SimpleNamespace(**{n: np.arange(e - SETS[n], e) for n, e in zip(SETS, ends)})


def logits(shared: np.ndarray, labels, correlation: float, shift: float, members: int, rng):
  """Draw logits [K, N, C] around what members share."""
  noise = rng.normal(size=(members, *shared.shape))
  found = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * noise
  found[:, np.arange(len(labels)), labels] += 2
  found[:, : SETS["forget"], :][:, np.arange(SETS["forget"]), labels[: SETS["forget"]]] += shift
  return 1.5 * found


def study(correlation: float, shift: float, members: int, rng) -> comparison.Tables:
  """Measure two equal methods beside retrained models that never saw anything."""
  size, sets = sum(SETS.values()), split()
  labels = rng.integers(0, CLASSES, size)
  common = rng.normal(size=(size, CLASSES))
  measured = {}
  for name in (*METHODS, "retrained"):
    own = np.sqrt(0.5) * (common + rng.normal(size=common.shape))
    drawn = logits(own, labels, correlation, shift * (name != "retrained"), members, rng)
    measured[name] = evaluation.measure(
      drawn, labels, labels, sets, method=name, seeds=range(members), svc_limit=0
    )
  rows = {n: metrics.derive(m.rows, measured["retrained"].rows) for n, m in measured.items()}
  return comparison.tables(rows, {n: m.influences for n, m in measured.items()})


def cell(correlation: float, shift: float, members: int, studies: int) -> list[str]:
  """Return the lines of a design."""
  rng = np.random.default_rng([int(10 * correlation), int(10 * shift), members])
  found: dict = {name: [] for name in SHOWN}
  different: dict = {name: [] for name in metrics.paired(reference=False)}
  for _ in range(studies):
    tables = study(correlation, shift, members, rng)
    for row in tables.intervals:
      if row["metric"] in SHOWN and row["method"] in METHODS[:1]:
        found[row["metric"]].append((row["value"], row["low"], row["high"]))
    for row in tables.differences:
      if {row["method"], row["other"]} == set(METHODS):
        different[row["metric"]].append(not row["low"] <= 0 <= row["high"])
  lines = []
  for name, rows in found.items():
    value, low, high = np.array(rows).T
    truth = value.mean() if shift else 0.5
    held = ((low <= truth) & (truth <= high)).mean()
    ideal = 2 * 1.96 * value.std(ddof=1)
    lines.append(
      f"| {correlation} | {members} | {'shift' if shift else 'null'} | {name} | {value.mean():.4f} "
      f"| {held:.3f} | {(high - low).mean() / ideal:.2f} |"
    )
  called = ", ".join(f"{name} {np.mean(hits):.3f}" for name, hits in different.items())
  return [*lines, f"<!-- equal methods called different: {called} -->"]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--studies", type=int, default=200, help="per design")
  parser.add_argument("--members", default="3,10")
  parser.add_argument("--correlations", default="0,0.5,0.8")
  options = parser.parse_args()
  print("| correlation | seeds | forget set | attack | mean | coverage | width / ideal |")
  print("|---|---|---|---|---|---|---|")
  for correlation in map(float, options.correlations.split(",")):
    for members in map(int, options.members.split(",")):
      for shift in (0.0, SHIFT):
        start = time.perf_counter()
        for line in cell(correlation, shift, members, options.studies):
          print(line, flush=True)
        print(f"<!-- {time.perf_counter() - start:.0f} s -->", flush=True)


if __name__ == "__main__":
  main()
