"""A first run with nothing compiled before: its wall time, CPU time and memory, on and off.

  python bench/cold_start.py --turns=3
  python bench/cold_start.py --turns=3 --other=../before --methods=ft,msg

Runs of a benchmark take turns, so that noise disturbs all alike: this checkout compiling ahead in
the background, and without that; or this checkout and another one. Each has its own empty caches.
Whether they agree on the rows of results, bit for bit, is printed, too.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--turns", type=int, default=3, help="runs of each (default 3)")
  parser.add_argument("--config", default="configs/cnn_digits.py", help="what to run")
  parser.add_argument("--methods", default="", help="only these methods, as a,b,c")
  parser.add_argument("--threads", default="0,2", help="background threads to compare (0,2)")
  parser.add_argument("--other", default="", help="a checkout to compare with, instead")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  return parser.parse_args()


def programs(args) -> dict[str, tuple[Path, str]]:
  """Return name -> (checkout, number of background threads; "" for its own)."""
  if args.other:
    return {"other": (Path(args.other).resolve(), ""), "this": (ROOT, "")}
  return {f"{count} ahead": (ROOT, count) for count in args.threads.split(",")}


def run(args, checkout: Path, threads: str) -> dict:
  """Run once in a folder of its own; return seconds, bytes, and a hash of the results."""
  with tempfile.TemporaryDirectory() as folder:
    caches = {"XDG_CACHE_HOME": folder, "JAX_COMPILATION_CACHE_DIR": f"{folder}/xla"}
    caches["JAXMU_SHARED_CACHE"] = ""
    chosen = {"JAXMU_COMPILE_AHEAD": threads} if threads else {}
    environment = {**os.environ, **caches, **chosen, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "bin/sweep.py", f"--config={args.config}"]
    command += [f"--config.output_dir={folder}/runs"]
    command += [f"--config.methods={args.methods}"] if args.methods else []
    start, quiet = time.perf_counter(), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=quiet, stderr=quiet)
    _, status, after = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      raise SystemExit(f"{checkout}: exit code {process.returncode}")
    return {
      "wall_s": time.perf_counter() - start,
      "cpu_s": after.ru_utime + after.ru_stime,
      "peak_bytes": after.ru_maxrss * 1024,
      "results": results(Path(folder) / "runs"),
    }


def results(folder: Path) -> str:
  """Hash the rows and all logits of the one run in a folder, wherever its version keeps them."""
  (rows,) = folder.glob("*/rows.parquet")
  logits = [*rows.parent.glob("stages/*/*/logits.npy"), *rows.parent.glob("logits/*.npy")]
  stage = lambda path: path.parent.parent.name if path.stem == "logits" else path.stem
  found = hashlib.sha256(rows.read_bytes())
  for path in sorted(logits, key=stage):
    found.update(f"{stage(path)}:".encode() + path.read_bytes())
  return found.hexdigest()


def main() -> None:
  args = parse()
  known = programs(args)
  answers: dict[str, list[dict]] = {name: [] for name in known}
  for _ in range(args.turns):
    for name, (checkout, threads) in known.items():
      answers[name].append(run(args, checkout, threads))
      print(name, json.dumps(answers[name][-1]), file=sys.stderr, flush=True)
  middle = lambda name, key: statistics.median(each[key] for each in answers[name])
  keys = ("wall_s", "cpu_s", "peak_bytes")
  rows = [{"program": name} | {key: middle(name, key) for key in keys} for name in known]
  first = rows[0]
  print(f"{'program':<12}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'wall':>7}{'CPU':>7}{'peak':>7}")
  for row in rows:
    ratios = "".join(f"{row[key] / first[key]:>7.2f}" for key in keys)
    peak = row["peak_bytes"] / 1e6
    print(f"{row['program']:<12}{row['wall_s']:>9.1f}{row['cpu_s']:>9.1f}{peak:>9.0f}{ratios}")
  hashes = {each["results"] for runs in answers.values() for each in runs}
  print("results are bit-identical" if len(hashes) == 1 else "RESULTS DIFFER")
  if args.json:
    Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
  main()
