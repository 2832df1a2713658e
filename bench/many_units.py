"""A study of very many units whose models cost nothing, worked by several processes at once.

The benchmark's own stages, plan, driver and record, with one member a unit; only training is left
out: a unit commits a few numbers that follow from its seed. Clocks the plan, the work and reading
all rows, and checks that every unit was worked exactly once and that every number is in its place.

  python bench/many_units.py --units=10000 --processes=4
  python bench/many_units.py --units=10000 --processes=8 --seconds=0.1

With --seconds a unit also waits, as if it were trained: what share of the time of all processes is
left for that, is said.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmu.command import config_file
from jaxmu.data import Facts
from jaxmu.data.sizes import dimensions
from jaxmu.errors import UserError
from jaxmu.settings import Settings
from jaxmu.store import files
from jaxmu.store.group_folders import Kept
from jaxmu.store.groups import Cost, GroupRecord, MemberRecord
from jaxmu.store.record import Record
from jaxmu.studies import catalog, plan
from jaxmu.studies.benchmark import BENCHMARK
from jaxmu.studies.driver import Driver
from jaxmu.studies.identity import Identities
from jaxmu.studies.study import Outline, Stages
from jaxmu.studies.units import Unit

CONFIG = Path(__file__).parents[1] / "configs" / "cnn_digits.py"
STAGES = ("original", "retrained", "ft")  # a seed has a unit in each; ft starts from the first


def settings(units: int, folder: str | Path) -> Settings:
  """Return the settings of a benchmark with at least this many units."""
  seeds = -(-units // len(STAGES))
  given = [f"seeds=0..{seeds - 1}", "methods=ft", "dataset=synthetic", "data.random_labels=0"]
  given += ["data.split_per_seed=false", "population.members_at_once=1", f"output_dir={folder}"]
  overrides = [tuple(entry.split("=")) for entry in given]
  return Settings.from_config(config_file.load_config(str(CONFIG), overrides), catalog())


def stages(chosen: Settings) -> Stages:
  """Return the stages of these settings."""
  train, indices, _, classes = dimensions(chosen)
  return BENCHMARK.stages(Outline(chosen, Facts(train, indices), classes))


def numbers(seed: int) -> np.ndarray:
  """Return what a member leaves, float32 [4, 2]."""
  return np.arange(8, dtype=np.float32).reshape(4, 2) + seed


def worker(record: Record, pause: float) -> Callable[[Unit], None]:
  """Return what works a unit: it waits, and commits the numbers of its members."""

  def work(unit: Unit) -> None:
    time.sleep(pause)
    seeds = [member.at["seed"] for member in unit.members]
    members = tuple(
      MemberRecord(known.at, known.identity, "", 1.0, {"number": float(seed)})
      for known, seed in zip(unit.expected, seeds)
    )
    logits = np.stack([numbers(seed) for seed in seeds])
    marker = GroupRecord(unit.stage.name, unit.name, members, Cost(len(seeds)), {})
    record.finish(marker, Kept(None, {}, logits, None, None))

  return work


def drive(units: int, folder: Path, pause: float = 0.0) -> None:
  """Work units together with other processes, until none is left."""
  chosen, record = settings(units, folder), Record(folder)
  log = lambda event: files.append_line(folder / "log.jsonl", f"{event['event']} {_unit(event)}")
  work = worker(record, pause)
  driver = Driver(record, Identities(chosen, None), work, most=1, say=_quiet, log=log)
  driver.run(stages(chosen))


def _unit(event: Mapping[str, Any]) -> str:
  return f"{event['stage']}/{event['unit']}" if "unit" in event else str(event["stage"])


def _quiet(line: str) -> None:
  pass


def check(units: int, folder: Path) -> None:
  """Read everything that the processes left.

  Raises:
    UserError: a unit is missing, was worked twice, or numbers are not in their place.
  """
  record, seeds = Record(folder), settings(units, folder).seeds
  for name in STAGES:
    logits = record.logits(name)
    right = np.stack([numbers(seed) for seed in seeds])
    if [row["seed"] for row in record.rows(name)] != list(seeds) or (logits != right).any():
      raise UserError(f"stage {name} has other rows than it should")
  lines = Counter((folder / "log.jsonl").read_text(encoding="utf-8").split("\n"))
  twice = [line for line, count in lines.items() if line and count != 1]
  if twice or len(lines) - 1 != 2 * len(STAGES) * len(seeds):
    raise UserError(f"{len(twice)} units were not worked exactly once, such as {twice[:1]}")


def clocked(step: Callable[[], object]) -> float:
  """Return the seconds that a step takes."""
  start = time.perf_counter()
  step()
  return time.perf_counter() - start


def share(units: int, processes: int, folder: Path, pause: float = 0.0) -> None:
  """Start processes that work the units, and wait for them.

  Raises:
    UserError: one of them failed.
  """
  command = [
    sys.executable,
    __file__,
    f"--units={units}",
    f"--worker={folder}",
    f"--seconds={pause}",
  ]
  started = [subprocess.Popen(command) for _ in range(processes)]
  codes = [process.wait() for process in started]
  if any(codes):
    raise UserError(f"processes ended with {codes}")


def measure(units: int, processes: int, folder: Path, pause: float = 0.0) -> dict[str, float]:
  """Plan, work and read a study; return the seconds of each.

  Raises:
    UserError: something is not as it should be.
  """
  folder.mkdir()
  planned: list[plan.PlannedUnit] = []
  seconds = {"planned": clocked(lambda: planned.extend(plan.plan(settings(units, folder)).units))}
  seconds["worked"] = clocked(lambda: share(units, processes, folder, pause))
  record = Record(folder)
  seconds["rows read"] = clocked(lambda: [record.rows(name) for name in STAGES])
  seconds["logits read"] = clocked(lambda: [record.logits(name) for name in STAGES])
  check(units, folder)
  expected = len(STAGES) * len(settings(units, folder).seeds)
  if len(planned) != expected:
    raise UserError(f"the plan has {len(planned)} units, expected {expected}")
  return seconds


def main(argv: Sequence[str] | None = None) -> None:
  """Measure, and print a table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--units", type=int, default=10_000)
  parser.add_argument("--processes", type=int, default=4)
  parser.add_argument("--seconds", type=float, default=0.0, help="that a unit waits (default: 0)")
  parser.add_argument("--folder", help="where the record goes (default: a temporary folder)")
  parser.add_argument("--worker", help=argparse.SUPPRESS)
  args = parser.parse_args(argv)
  if args.worker:
    return drive(args.units, Path(args.worker), args.seconds)
  with tempfile.TemporaryDirectory(dir=args.folder) as folder:
    found = measure(args.units, args.processes, Path(folder) / "run", args.seconds)
  units = len(STAGES) * -(-args.units // len(STAGES))
  print(f"| {units:,} units, {args.processes} processes | seconds |\n| :-- | --: |")
  print("\n".join(f"| {name} | {seconds:.1f} |" for name, seconds in found.items()))
  if args.seconds:
    share_left = units * args.seconds / (args.processes * found["worked"])
    print(f"{share_left:.0%} of the time of {args.processes} processes went into the units")
  print("each unit was worked exactly once")
  return None


if __name__ == "__main__":
  main()
