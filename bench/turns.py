"""Programs side by side: each in a process of its own, taking turns, so noise disturbs all alike.

A program is a function `(args, mark)` that calls `mark()` when it has finished its set-up and after
every turn of work; it never returns before the parent has heard enough.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def arguments(parser: argparse.ArgumentParser, given: Sequence[str] | None = None):
  """Add the options that all benchmarks share, and parse."""
  parser.add_argument("--turns", type=int, default=9, help="timed turns per program (default 9)")
  parser.add_argument("--json", metavar="FILE", help="write the rows here")
  parser.add_argument("--worker", help=argparse.SUPPRESS)
  return parser.parse_args(given)


def work(program: Callable, args) -> None:
  """Run one program as a worker: every line on standard input asks for one turn."""
  clock = {}

  def mark():
    if clock:
      wall, cpu = time.perf_counter() - clock["wall"], time.process_time() - clock["cpu"]
      answer = {"wall": wall, "cpu": cpu, "peak_bytes": peak_bytes()}
      print(json.dumps(answer | {"members": getattr(args, "members", 1)}), flush=True)
    if not sys.stdin.readline():
      sys.exit(0)
    clock.update(wall=time.perf_counter(), cpu=time.process_time())

  program(args, mark)


def peak_bytes() -> int:
  """Return the most memory held so far: on the accelerator if there is one, else by the process."""
  if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
    return sys.modules["torch"].cuda.max_memory_allocated()
  if "jax" in sys.modules:
    stats = [device.memory_stats() or {} for device in sys.modules["jax"].local_devices()]
    if all("peak_bytes_in_use" in each for each in stats):
      return max(each["peak_bytes_in_use"] for each in stats)
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(script: str, names: Sequence[str], options: Sequence[str], turns: int):
  """Let the programs `names` of `script` take turns; name -> answers, a first turn left out.

  A program that fails is reported on standard error and has no answers.
  """
  command = [sys.executable, script, *options]
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  start = lambda name: subprocess.Popen([*command, f"--worker={name}"], **pipes)
  workers, answers = {name: start(name) for name in names}, {name: [] for name in names}
  for turn in range(turns + 1):
    for name, worker in list(workers.items()):
      try:
        worker.stdin.write("go\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
      except (BrokenPipeError, json.JSONDecodeError):
        print(f"{name}: failed (see above); left out", file=sys.stderr)
        del workers[name], answers[name]
        continue
      if turn:  # the first turn compiles and warms up
        answers[name].append(answer)
  for worker in workers.values():
    worker.stdin.close()
    worker.wait()
  return answers


def row(answers: Sequence[Mapping[str, float]], units: int, **labels) -> dict:
  """Summarise one program's turns per unit of work: medians and range, in milliseconds."""
  per = 1e3 / units
  median = lambda key: statistics.median(each[key] for each in answers) * per
  return labels | {
    "turns": len(answers),
    "wall_ms_per_member": median("wall"),
    "cpu_ms_per_member": median("cpu"),
    "wall_ms_low": min(each["wall"] for each in answers) * per,
    "wall_ms_high": max(each["wall"] for each in answers) * per,
    "peak_bytes": max(each["peak_bytes"] for each in answers),
  }


def table(rows: Sequence[Mapping], baseline: str) -> str:
  """Lay rows out with their speed relative to the best row whose program starts with `baseline`.

  Where none does, relative to the best of all PyTorch rows; without any, speeds are left out.
  """
  lines = [
    f"{'program':<28}{'wall ms':>9}{'(range)':>18}{'CPU ms':>9}{'speed-up':>10}{'by CPU':>8}"
  ]
  named = lambda start: [r for r in rows if r["program"].startswith(start)]
  base = named(baseline) or named("torch")
  best = lambda key: min((r[key] for r in base), default=float("nan"))
  wall, cpu = best("wall_ms_per_member"), best("cpu_ms_per_member")
  faster = lambda than, own: f"{than / own:.2f}x" if base else "-"
  for r in rows:
    span = f"({r['wall_ms_low']:.4g}-{r['wall_ms_high']:.4g})"
    lines.append(
      f"{r['program']:<28}{r['wall_ms_per_member']:>9.4g}{span:>18}{r['cpu_ms_per_member']:>9.4g}"
      f"{faster(wall, r['wall_ms_per_member']):>10}{faster(cpu, r['cpu_ms_per_member']):>8}"
    )
  return "\n".join(lines)


def write_json(path: str | None, rows: Sequence[Mapping]) -> None:
  if path:
    with open(path, "w", encoding="utf-8") as file:
      json.dump(list(rows), file, indent=1)
