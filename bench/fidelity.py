"""Run every method against the reference implementation's numbers and print the differences.

  JAXMU_GOLDEN_DIR=path/to/golden python bench/fidelity.py float64
  JAXMU_GOLDEN_DIR=path/to/golden python bench/fidelity.py float32 ga ft

Prints the tables of docs/fidelity.md: one line per golden case, with the largest differences of
logits, losses, parameter norms and BatchNorm statistics, and the tolerance of the tests.
"""

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("precision", choices=("float64", "float32"))
  parser.add_argument("cases", nargs="*", help="golden cases; all where none is given")
  args = parser.parse_args()

  from jaxmu import runtime

  runtime.configure(2)
  sys.path[:0] = [str(TESTS), str(TESTS / "golden")]
  import jax
  import numpy as np
  import test_methods

  wide = args.precision == "float64"
  last = "" if wide else " logits: reference's own gap | ratio |"
  print(f"| case | method | steps | logits | losses | parameter norms | BatchNorm norms |{last}")
  print("|---|---|--:|--:|--:|--:|--:|" + ("" if wide else "--:|--:|"))
  for case in args.cases or test_methods.CASES:
    with jax.enable_x64(wide):
      found = test_methods.differences(case, np.float64 if wide else np.float32)
    values = [found[key] for key in ("logits", "losses", "parameter norms", "BatchNorm norms")]
    cells = [case, test_methods.CASES[case], str(found["steps"])]
    cells += ["–" if value is None else f"{value:.1e}" for value in values]
    if not wide:
      cells += [f"{found['own gap']:.1e}", f"{found['logits'] / found['own gap']:.1f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main()
