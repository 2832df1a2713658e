"""Seconds and memory of U-LiRA at the reference protocol's size: 640 models, 47,500 samples.

Scores are drawn, not trained: Gaussians that a forgotten sample shifts by half a standard
deviation, so the AUC should be 0.64. Splits and roles are those of the protocol.

  python bench/attacks.py
  python bench/attacks.py --splits=16 --forgets=4 --samples=10000
"""

import argparse
import json
import resource
import time

import numpy as np
from scipy.stats import norm

from jaxmu.audit.attacks.exposure import exposure
from jaxmu.audit.attacks.roles import FORGOTTEN, role_matrix
from jaxmu.audit.attacks.ulira import ulira
from jaxmu.data.shadow_splits import shadow_study


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--splits", type=int, default=64, help="random halves (default 64)")
  parser.add_argument("--forgets", type=int, default=10, help="forget sets of each (default 10)")
  parser.add_argument("--samples", type=int, default=47_500, help="samples of the pool")
  parser.add_argument("--json", metavar="FILE", help="write the numbers here")
  args = parser.parse_args()
  study = shadow_study(50_000, splits=args.splits, attempts=args.forgets, pool=args.samples)
  parts = [study.split(*model) for model in study.models.tolist()]
  roles = role_matrix([p.retain for p in parts], [p.forget for p in parts], study.pool)
  phi = np.random.default_rng(0).standard_normal(roles.shape, np.float32)
  phi += np.float32(0.5) * (roles == FORGOTTEN)
  seconds = {}
  start = time.perf_counter()
  scores = ulira(phi, roles, study.models[:, 0])
  seconds["scores"] = time.perf_counter() - start
  found = exposure(scores, roles, study.models[:, 0])
  seconds["all"] = time.perf_counter() - start
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  auc = found.statistics["auc"]
  print(f"{len(phi)} models, {phi.shape[1]:,} samples: scores {seconds['scores']:.1f} s,")
  print(f"with rates and intervals {seconds['all']:.1f} s; peak {peak:.2f} GiB")
  print(f"AUC {auc.value:.4f} [{auc.low:.4f}, {auc.high:.4f}], ideal {norm.cdf(0.5 / 2**0.5):.4f}")
  if args.json:
    with open(args.json, "w") as file:
      json.dump({"seconds": seconds, "peak_gib": peak, "auc": auc.value}, file)


if __name__ == "__main__":
  main()
