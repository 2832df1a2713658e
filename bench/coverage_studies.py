"""Do 95 % intervals of U-LiRA studies hold the truth, and are they as narrow as they can be?

Every study is simulated: a score is the sample's level (SD 2), an effect of the split (0.3), one of
split and sample (0.5, common to the models that share a training half) and noise (1), all in units
of the sample's own SD (log-normal, 0.3). A design is splits x forget sets x samples; each split
trains on a random half of the samples and each forget set is a tenth of that. Kinds:

  null    nothing is shifted; the truth of accuracies and areas is one half
  shift   forgotten samples are shifted by 1; the truth is the mean over the studies
  change  exposure to two sets of scores that differ by noise (correlation 0.5); `mean` and `net`
          are 0 in truth
  tail    one sample in a hundred is shifted by 0, 2, 3 or 5: how often is `confirmed_worst` above
          one half and above that of retrained models, which nothing shifts?

Quantiles over samples are lumpy: their truth is the median over the studies. `width` is the mean
width over that of an interval with the true SD, `2 t SD`.

  OMP_NUM_THREADS=1 python bench/coverage_studies.py
  OMP_NUM_THREADS=1 python bench/coverage_studies.py --studies=50 --designs 16x2x400 --kinds null
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from jaxmu.audit.attacks.changes import exposure_change
from jaxmu.audit.attacks.exposure import exposure, tally
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, RETAINED
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.audit.attacks.worst import confirmed_worst

DESIGNS = ("32x4x300", "16x2x400", "8x4x300", "32x4x1000")
KINDS = ("null", "shift", "change", "tail")
HALVES = ("accuracy", "sample_mean", "auc", "confirmed_worst")  # one half if nothing leaks
CHANGES = ("mean", "net")  # 0 if nothing changes
CORRELATION = 0.5  # of scores before and after
DISTANCES = (0.0, 2.0, 3.0, 5.0)  # of a tail
HEAD = ("statistic", "mean", "coverage", "SE", "low > truth", "high < truth", "width")
TAIL_HEAD = ("design", "shift", "confirmed_worst", "raised", "SE")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--studies", type=int, default=200, help="of each design and kind (200)")
  parser.add_argument(
    "--designs", nargs="+", default=DESIGNS, help="splits x forget sets x samples"
  )
  parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
  parser.add_argument("--variance", default="fixed", help="of the attack's fits (fixed)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  args = parser.parse_args()
  rows, tails = [], []
  for design in args.designs:
    shape = tuple(int(number) for number in design.split("x"))
    for kind in args.kinds:
      start = time.perf_counter()
      simulate = STUDIES[kind]
      rngs = [np.random.default_rng([*shape, k]) for k in range(args.studies)]
      found = [simulate(shape, rng, args.variance) for rng in rngs]
      if kind == "tail":
        tails += [{"design": design} | row for row in alarms(found)]
      else:
        rows += [{"design": design, "kind": kind} | row for row in judged(found, shape, kind)]
      print(f"{design} {kind}: {time.perf_counter() - start:.0f} s", flush=True)
  for head, lines in ((("design", "kind", *HEAD), rows), (TAIL_HEAD, tails)):
    if lines:
      print(f"\n{table(head, lines)}")
  if args.json:
    with open(args.json, "w") as file:
      json.dump({"coverage": rows, "tails": tails}, file, default=float)


def null(shape: tuple[int, int, int], rng, variance: str, shift: float = 0.0) -> dict[str, tuple]:
  """Return the statistics of one study with their intervals."""
  roles, splits = drawn_roles(shape, rng)
  phi = next(scores(shape, roles, np.full(shape[2], shift), rng))
  found = exposure(ulira(phi, roles, splits, variance=variance, paired=True), roles, splits)
  return found.statistics | {"confirmed_worst": confirmed_worst(phi, roles, splits).interval}


def shift(shape: tuple[int, int, int], rng, variance: str) -> dict[str, tuple]:
  """Return the statistics of a study whose forgotten samples are all shifted by one."""
  return null(shape, rng, variance, 1.0)


def tail(shape: tuple[int, int, int], rng, _) -> dict[str, tuple]:
  """Return the accuracy on the most exposed samples by distance, and that of retrained models."""
  roles, splits = drawn_roles(shape, rng)
  found = {}
  for name in ("retrained", *DISTANCES):
    distance = np.zeros(shape[2])
    distance[: shape[2] // 100] = 0 if name == "retrained" else name
    phi = next(scores(shape, roles, distance, rng))
    found[name] = confirmed_worst(phi, roles, splits).interval
  return found


def change(shape: tuple[int, int, int], rng, _) -> dict[str, tuple]:
  """Ask what changed between two sets of scores when nothing did."""
  roles, splits = drawn_roles(shape, rng)
  sides = {"positive": RETAINED, "negative": NEVER}
  tallies = []
  for phi, _ in zip(scores(shape, roles, np.zeros(shape[2]), rng), range(2)):
    ratios = ulira(phi, roles, splits, paired=True, **sides)
    tallies.append(tally(ratios, roles, splits, **sides))
  return exposure_change(*tallies)[1]


def drawn_roles(shape: tuple[int, int, int], rng) -> tuple[np.ndarray, np.ndarray]:
  """Return roles [M, N] and splits [M]: a random half for each split, a tenth of it forgotten."""
  splits, forgets, samples = shape
  roles = np.full((splits, forgets, samples), NEVER, np.int8)
  for split in roles:
    train = rng.permutation(samples)[: samples // 2]
    split[:, train] = RETAINED
    for model in split:
      model[rng.permutation(train)[: samples // 20]] = FORGOTTEN
  return roles.reshape(-1, samples), np.repeat(np.arange(splits), forgets)


def scores(shape, roles: np.ndarray, distance: np.ndarray, rng) -> Iterator[np.ndarray]:
  """Yield scores [M, N] of the same samples again and again, correlated."""
  splits, forgets, samples = shape

  def noise():
    split = 0.3 * rng.normal(size=(splits, 1, 1)) + 0.5 * rng.normal(size=(splits, 1, samples))
    return (split + rng.normal(size=(splits, forgets, samples))).reshape(-1, samples)

  level, scale = 2 * rng.normal(size=samples), np.exp(0.3 * rng.normal(size=samples))
  common = noise()
  while True:
    own = np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * noise()
    yield ((level + own + distance * (roles == FORGOTTEN)) * scale).astype(np.float32)


def judged(found: list[dict], shape: tuple[int, int, int], kind: str) -> list[dict]:
  """Return per statistic: mean, share of intervals that hold the truth, misses, and width."""
  rows, quantile = [], stats.t.ppf(0.975, shape[0] - 1)
  for name in found[0]:
    values = np.array([one[name] for one in found])
    values = values[np.isfinite(values).all(1)]
    few = f" ({len(values)})" if 0 < len(values) < len(found) else ""
    row = {"statistic": name + few}
    if len(values) > 1:
      value, low, high = values.T
      held = np.mean((low <= (true := truth(name, kind, value))) & (true <= high))
      row |= {"mean": value.mean(), "coverage": held, "SE": error(held, len(values))}
      row |= {"low > truth": np.mean(low > true), "high < truth": np.mean(high < true)}
      row |= {"width": (high - low).mean() / (2 * quantile * value.std(ddof=1))}
    rows.append(row)
  return rows


def truth(name: str, kind: str, values: np.ndarray) -> float:
  """Return what a statistic is in truth, or its centre over the studies."""
  if kind == "null" and name in HALVES:
    return 0.5
  if kind == "change" and name in CHANGES:
    return 0.0
  return float(np.median(values) if name.startswith("sample_q") else values.mean())


def alarms(found: list[dict]) -> list[dict]:
  """Return how often the most exposed samples are above one half and above retraining."""
  rows = []
  for distance in DISTANCES:
    value = np.mean([one[distance].value for one in found])
    raised = np.mean([one[distance].low > max(0.5, one["retrained"].high) for one in found])
    row = {"shift": distance, "confirmed_worst": value, "raised": raised}
    rows.append(row | {"SE": error(raised, len(found))})
  return rows


def error(share: float, count: int) -> float:
  return float(np.sqrt(share * (1 - share) / count))


def table(head: Sequence[str], rows: list[dict]) -> str:
  """Return the rows as a Markdown table, dashes where there is no interval."""
  write = lambda x: f"{x:.4f}" if isinstance(x, float) else str(x)
  lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
  lines += [f"| {' | '.join(write(row.get(name, '—')) for name in head)} |" for row in rows]
  return "\n".join(lines)


STUDIES = {"null": null, "shift": shift, "change": change, "tail": tail}

if __name__ == "__main__":
  main()
