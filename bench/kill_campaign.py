"""Kill studies at random moments, again and again, and compare what they end with, bit for bit.

A tiny benchmark, one in rounds, a U-LiRA study and a search (synthetic data, width 4, all saved)
are run once undisturbed. Then rounds: one process, or three on one folder, are started, and one of
them gets a signal at a random moment; it is started again, until the study ends by itself.
Everything that is a number must then equal the undisturbed run's, nothing may be left over, no
finished unit may be trained again, and a process must go on from the epoch that was saved. After
SIGTERM a process must end by itself with code 75, and say how to go on. Of three processes the
others finish the study.

Rounds are noted in FOLDER/rounds.jsonl: the same command goes on where it stopped.

  python bench/kill_campaign.py /tmp/kills                       # 100 SIGKILLs, 30 SIGTERMs
  python bench/kill_campaign.py /tmp/kills --table               # print the table so far
  python bench/kill_campaign.py /tmp/few --kills=4 --terms=2 --processes 1 --studies benchmark
"""

import argparse
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kill_rounds import STUDIES, Play, Reference, Round


def main(argv: Sequence[str] | None = None) -> int:
  """Play rounds until enough signals were sent; print a table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", type=Path)
  parser.add_argument("--kills", type=int, default=100, help="SIGKILLs altogether (100)")
  parser.add_argument("--terms", type=int, default=30, help="SIGTERMs altogether (30)")
  parser.add_argument("--processes", type=int, nargs="+", default=[1, 3])
  parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--table", action="store_true", help="print the table so far, and end")
  args = parser.parse_args(argv)
  args.folder.mkdir(parents=True, exist_ok=True)
  # All processes share what they compile and measure.
  os.environ["XDG_CACHE_HOME"] = str(args.folder.absolute() / "cache")
  cells = [(study, count) for study in args.studies for count in args.processes]
  if not args.table:
    for name, total in (("SIGKILL", args.kills), ("SIGTERM", args.terms)):
      for k, (study, count) in enumerate(cells):
        share = total // len(cells) + (k < total % len(cells))
        campaign(study, count, name, share, args.folder, args.seed)
  rounds = tally(args.folder)
  print(table(rounds))
  return int(any(each.faults for each in rounds))


def campaign(study: str, processes: int, name: str, total: int, folder: Path, seed: int) -> None:
  """Play rounds of one kind until `total` signals were sent."""
  of_kind = lambda: [
    r for r in tally(folder) if (r.study, r.processes, r.signal) == (study, processes, name)
  ]
  reference = Reference(study, folder)
  while (sent := sum(sum(r.signals.values()) for r in of_kind())) < total:
    key = f"{seed} {study} {processes} {name} {len(of_kind())}"
    made = play(reference, Round(study, processes, name), folder, key, total - sent)
    with (folder / "rounds.jsonl").open("a") as file:
      file.write(json.dumps(vars(made)) + "\n")
    print(f"{key}: {dict(made.signals)} {made.faults or 'bit-identical'}", flush=True)


def play(reference: Reference, made: Round, folder: Path, key: str, most: int) -> Round:
  """Play one round in a folder of its own, which stays where there are faults."""
  place = folder / reference.study / key.replace(" ", "-")
  shutil.rmtree(place, ignore_errors=True)
  place.mkdir(parents=True)
  Play(reference, made, place, random.Random(key)).go(most)
  if not made.faults:
    shutil.rmtree(place)
  return made


def tally(folder: Path) -> list[Round]:
  """Return the rounds that were played."""
  path = folder / "rounds.jsonl"
  lines = path.read_text().splitlines() if path.exists() else []
  rounds = [Round(**json.loads(line)) for line in lines]
  for each in rounds:
    each.signals, each.codes = Counter(each.signals), Counter(each.codes)
  return rounds


def table(rounds: Sequence[Round]) -> str:
  """Lay the rounds out, a row per kind, as Markdown."""
  kinds = list(dict.fromkeys((r.signal, r.study, r.processes) for r in rounds))
  heads = ("signal", "study", "processes", "sent", "while", "exit codes", "saved", "resumed")
  lines = [" | ".join(("", *heads, "runs", "bit-identical", "faults", "")).strip()]
  lines.append("| :-- | :-- | --: | --: | :-- | :-- | --: | --: | --: | --: | --: |")
  for kind in kinds:
    own = [r for r in rounds if (r.signal, r.study, r.processes) == kind]
    where, codes = (sum((getattr(r, n) for r in own), Counter()) for n in ("signals", "codes"))
    words = [
      ", ".join(f"{count} {name}" for name, count in c.most_common()) for c in (where, codes)
    ]
    counts = [sum(each) for each in zip(*((r.saved, r.resumed, 1, not r.faults) for r in own))]
    cells = (*kind, where.total(), *words, *counts, sum(len(r.faults) for r in own))
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return "\n".join(lines)


if __name__ == "__main__":
  sys.exit(main())
