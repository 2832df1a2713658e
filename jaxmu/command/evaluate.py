"""Judge unlearning by logits in a file, or verify the evidence of an evaluation.

  jaxmu evaluate logits.npz
  jaxmu evaluate logits.npz --report deletion --max-attack=0.55
  jaxmu evaluate deletion/evidence.json --verify

The .npz holds logits [n, C] (or [K, n, C] of K seeds) as "original/retain", "original/forget",
"original/unseen", the same for "unlearned" and "retrained" (optional), and labels as
"labels/retain" ...; or logits of all samples as "original", "unlearned", "retrained" beside
"labels" and the positions "retain", "forget", "unseen". "validation" may be there as well.
"""

import argparse
import sys
from typing import Any

from jaxmu.command import cli
from jaxmu.data import npz_file
from jaxmu.errors import DataError, closest
from jaxmu.settings.entries import declared
from jaxmu.settings.sections import ReportSettings

KIND = npz_file.Kind(
  "file of logits", "", '**{"original/retain": logits, "labels/retain": labels, ...}'
)


def main(args: argparse.Namespace) -> int:
  """Print the evaluation of a file, or how it was verified; 1 where that found a mismatch."""
  if args.verify:
    from jaxmu.evaluation import verify

    found = verify(args.file)
    print(found)
    return 0 if found.sound else 1
  from jaxmu.evaluation import evaluate, extras

  if args.report:
    extras.reports()  # or it is not worth beginning
  thresholds = {name: getattr(args, name) for name in _thresholds()}
  given = arguments(npz_file.read(args.file, KIND), args.file)
  evaluation = evaluate(**given, **thresholds)
  print(evaluation)
  if args.report:
    print("\n".join(map(str, evaluation.report(args.report))))
  if args.evidence:
    print("\n".join(map(str, evaluation.evidence(args.evidence))))
  return 0


def arguments(arrays: dict[str, Any], path: str) -> dict[str, Any]:
  """Return the arrays of a file as arguments of `jaxmu.evaluate`.

  Raises:
    DataError: an array is missing, or has a name that nothing reads.
  """
  from jaxmu.evaluation.inputs import MODELS, SETS

  by_set = [name for name in arrays if "/" in name]
  whole = (*MODELS, "labels", *SETS)
  known = [f"{one}/{part}" for one in (*MODELS, "labels") for part in SETS] if by_set else whole
  for name in arrays:
    if name not in known:
      raise DataError(f"{path} holds '{name}', which is not read; {closest(name, known)}")
  parts = lambda one: {part: arrays[f"{one}/{part}"] for part in SETS if f"{one}/{part}" in arrays}
  if not by_set:
    found = dict(arrays)
  else:
    found = {one: parts(one) for one in MODELS if parts(one)} | parts("labels")
  needed = ("original", "unlearned", *SETS[:3], *(() if by_set else ("labels",)))
  for name in needed:
    if name not in found:
      raise DataError(f"{path} holds no {name}; see --help for what it must hold")
  return found


def _thresholds() -> dict[str, str]:
  from jaxmu.evaluation.verdict import THRESHOLDS

  fields = {field.name: field.entry for field in declared(ReportSettings)}
  return {name: entry.meaning for name in THRESHOLDS if (entry := fields[name])}


def flags() -> cli.Parser:
  """Return the program's parser."""
  made = cli.parser(__doc__ or "", config=False)
  made.add_argument("file", metavar="FILE", help=".npz of logits; with --verify evidence.json")
  made.add_argument(
    "--verify",
    action="store_true",
    help="compute the numbers of an evidence.json again and compare; exit code 1 on a mismatch",
  )
  made.add_argument("--report", metavar="FOLDER", help="write report and evidence there")
  made.add_argument("--evidence", metavar="FOLDER", help="write the evidence alone there")
  for name, meaning in _thresholds().items():
    made.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=meaning)
  return made


def run() -> None:
  """Entry point."""
  sys.exit(cli.run(main, flags()))


if __name__ == "__main__":
  run()
