"""Trials of a search as one population, one population each, and one process each.

  python bench/search_trials.py --trials=24

Runs the same trials of one method on the digits three times and prints wall and CPU seconds of the
trials alone: originals are trained, and programs compiled, before. The results of all three are
compared bit for bit.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
STAGE = ".1/"


def command(folder: Path, args: argparse.Namespace, *more: str) -> list[str]:
  """Return the command of a search of one method."""
  given = (
    f"--config={ROOT / 'configs' / 'search_digits.py'}",
    f"--config.methods={args.method}",
    "--config.seeds=0",
    f"--config.search.trials={args.trials}",
    f"--config.search.batch={args.trials}",
    "--config.search.robust=0",
    "--config.search.robust_seeds=,",
    "--config.search.check_seeds=,",
    f"--config.output_dir={folder}",
  )
  return [sys.executable, str(ROOT / "bin" / "search.py"), *given, *more]


def run(words: list[str]) -> tuple[float, float]:
  """Run a command; return its wall and CPU seconds."""
  start, before = time.perf_counter(), os.times()
  subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
  after = os.times()
  used = after.children_user + after.children_system
  used -= before.children_user + before.children_system
  return time.perf_counter() - start, used


def units(folder: Path, args: argparse.Namespace, *more: str) -> list[str]:
  """Name the units of the trials."""
  words = command(folder, args, *more, "--plan", "--json")
  said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
  return [unit["key"] for unit in json.loads(said)["units"] if STAGE in unit["key"]]


def one_by_one(folder: Path, args: argparse.Namespace) -> tuple[float, float]:
  """Work every trial in a process of its own, one after another."""
  single = "--config.population.members_at_once=1"
  times = [
    run(command(folder, args, single, f"--unit={key}")) for key in units(folder, args, single)
  ]
  return sum(wall for wall, _ in times), sum(cpu for _, cpu in times)


def main(args: argparse.Namespace) -> None:
  """Run all three, twice, and print the second time of each."""
  single = "--config.population.members_at_once=1"
  ways = {
    "one population": lambda f: run(command(f, args, "--only-units")),
    "one population each": lambda f: run(command(f, args, single, "--only-units")),
    "one process each": lambda f: one_by_one(f, args),
  }
  with tempfile.TemporaryDirectory() as name:
    ready = Path(name) / "ready"
    run(command(ready, args, "--prepare"))
    for stage in ("original", "retrained"):
      for key in [k for k in _all(ready, args) if k.startswith(f"{stage}/")]:
        run(command(ready, args, f"--unit={key}"))
    results, base = {}, 0.0
    for turn in range(2):  # the first one compiles
      for way, work in ways.items():
        folder = Path(name) / f"{way}-{turn}".replace(" ", "-")
        shutil.copytree(ready, folder)
        wall, cpu = work(folder)
        run(command(folder, args))
        results[way] = wall, cpu, trials(folder)
    base = results["one population"][0]
    for way, (wall, cpu, table) in results.items():
      same = table.equals(results["one population"][2])
      print(
        f"{way:<20} {wall:7.1f} s wall, {cpu:7.1f} s CPU, {wall / base:5.1f} x, same bits: {same}"
      )


def _all(folder: Path, args: argparse.Namespace) -> list[str]:
  words = command(folder, args, "--plan", "--json")
  said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
  return [unit["key"] for unit in json.loads(said)["units"]]


def trials(folder: Path) -> pd.DataFrame:
  """Read what the trials achieved."""
  (path,) = folder.glob("*/trials.parquet")
  return pd.read_parquet(path)


if __name__ == "__main__":
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument("--trials", type=int, default=24)
  flags.add_argument("--method", default="ft")
  main(flags.parse_args())
