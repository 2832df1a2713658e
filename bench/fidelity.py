"""Run every method against the reference implementation's numbers and print the differences.

  JAXMU_GOLDEN_DIR=path/to/golden python bench/fidelity.py float64
  JAXMU_GOLDEN_DIR=path/to/golden python bench/fidelity.py float32 ga ft

Prints the tables of docs/fidelity.md, one line per golden case. float64: the largest differences of
logits, losses, parameter norms and BatchNorm statistics. float32: the distance to the reference's
float64 results of its own float32 run, and typical (geometric mean) and largest distance of copies
of ours that start within rounding of each other, with plain sums of products and as users get it.
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
  parser.add_argument("--copies", type=int, default=16, help="of a float32 run (default: 16)")
  parser.add_argument("--each", action="store_true", help="list every copy's distance of logits")
  args = parser.parse_args()

  from jaxmu.engine import runtime

  runtime.configure(2)
  sys.path[:0] = [str(TESTS)]
  import golden_cases

  names = args.cases or golden_cases.CASES
  if args.precision == "float64":
    float64(names)
  else:
    float32(names, args.copies, args.each)


def float64(names) -> None:
  import golden_cases as cases
  import jax
  import numpy as np

  measures = ("logits", "losses", "parameter norms", "BatchNorm norms")
  print(f"| case | method | steps | {' | '.join(measures)} |\n|---|---|--:|--:|--:|--:|--:|")
  for name in names:
    with jax.enable_x64(True):
      found = cases.run(name, np.float64)
    distances = cases.distances(name, found)
    cells = [f"{distances[each][0]:.1e}" if each in distances else "–" for each in measures]
    print_row(name, cases.CASES[name], str(found.golden["steps"]), *cells)


def float32(names, copies, each_copy) -> None:
  import golden_cases as cases
  import numpy as np

  measures = ("logits", "parameter norms")
  columns = [f"{each}: {of}" for each in measures for of in ("reference", "plain sums", "ours")]
  print(f"| case | {' | '.join(columns)} |\n|---|" + "--:|" * len(columns))
  for name in names:
    plain = cases.distances(name, cases.run(name, np.float32, copies, lowering="canonical"))
    found = cases.run(name, np.float32, copies)
    own, cells = cases.own_gaps(found), []
    distances = (plain, cases.distances(name, found))
    for measure in measures:
      spread = lambda values: f"{cases.typical(values):.1e} to {values.max():.1e}"
      cells += [f"{own[measure]:.1e}", *(spread(each[measure]) for each in distances)]
    print_row(name, *cells)
    if each_copy:
      for how, values in zip(("plain sums", "ours"), distances):
        print(f"{how}:", *(f"{value:.1e}" for value in np.sort(values["logits"])))


def print_row(*cells) -> None:
  print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  main()
