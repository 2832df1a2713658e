"""Time and memory per member as a population grows: do many models cost what one costs, each?

For every K a process of its own trains K members through the engine, and then one process per
PyTorch memory format trains 2 models, one after another (their time per model does not depend on
K). Memory is what the process holds beyond the libraries (peak resident set); `state` is what
parameters, BatchNorm statistics and momentum of K members take.

  python bench/population.py --model=cnn
  python bench/population.py --model=resnet18 --batch=64 --members=1,2,4,8,16 --json=rows.json

With --figure=FILE.svg it draws the scaling curve (needs matplotlib).
"""

import argparse
import sys
from pathlib import Path

import problems
import turns

TORCH = ("torch-eager", "torch-eager-channels-last")
POWERS = "1,2,4,8,16,32,64"


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", default="cnn", choices=sorted(problems.IMAGES))
  parser.add_argument("--members", default=POWERS, help=f"numbers of members (default {POWERS})")
  parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
  parser.add_argument("--steps", type=int, default=10, help="steps per epoch (default 10)")
  parser.add_argument("--figure", metavar="FILE", help="draw the curve here (svg, png, pdf)")
  return turns.arguments(parser)


def measure(args) -> list[dict]:
  """Measure every K in turn, and PyTorch."""
  step = str(Path(__file__).with_name("train_step.py"))
  sizes = [int(k) for k in args.members.split(",")]
  rows = []
  for programs, members in [(("jaxmu",), k) for k in sizes] + [(TORCH, 2)]:
    options = [f"--{n}={getattr(args, n)}" for n in ("model", "batch", "steps", "turns")]
    answers = turns.measure(step, programs, [*options, f"--members={members}"], args.turns)
    labels = {"model": args.model, "batch": args.batch, "members": members}
    for name, times in answers.items():
      rows.append(turns.row(times, args.steps * members, program=name, **labels))
      print(line(rows[-1]), flush=True)
  return rows


def line(row) -> str:
  return (
    f"{row['program']:<28}{row['members']:>5}{row['wall_ms_per_member']:>11.4g}"
    f"{row['cpu_ms_per_member']:>11.4g}{row['peak_bytes'] / 2**20:>11.0f}"
  )


def fit(rows) -> tuple[float, float]:
  """Return bytes of the process without members, and per member, by least squares."""
  import numpy as np

  points = [(r["members"], r["peak_bytes"]) for r in rows if r["program"] == "jaxmu"]
  members, peak = np.array(points, float).T
  each, base = np.polyfit(members, peak, 1) if len(points) > 1 else (0.0, peak[0])
  return float(base), float(each)


def draw(rows, path) -> None:
  """Draw milliseconds per member and step against K."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
  mine = [r for r in rows if r["program"] == "jaxmu"]
  members = [r["members"] for r in mine]
  axes.plot(members, [r["wall_ms_per_member"] for r in mine], "o-", label="jaxmu, wall")
  axes.plot(members, [r["cpu_ms_per_member"] for r in mine], "s--", label="jaxmu, CPU")
  others = [r for r in rows if r["program"] != "jaxmu"]
  if others:
    best = min(r["wall_ms_per_member"] for r in others)
    axes.axhline(best, color="0.4", linestyle=":", label="PyTorch eager, wall")
  axes.set(xscale="log", xlabel="members K", ylabel="ms per step and member", ylim=(0, None))
  axes.set_xticks(members, [str(k) for k in members])
  axes.minorticks_off()
  axes.legend()
  figure.savefig(path)


def main() -> None:
  args = parse()
  print(f"{args.model}, batch {args.batch}, {args.steps} steps an epoch")
  print(f"{'program':<28}{'K':>5}{'wall ms':>11}{'CPU ms':>11}{'peak MiB':>11}")
  rows = measure(args)
  base, each = fit(rows)
  print(f"memory: {base / 2**20:.0f} MiB + {each / 2**20:.1f} MiB per member")
  if args.figure:
    draw(rows, args.figure)
  turns.write_json(args.json, rows)


if __name__ == "__main__":
  sys.exit(main())
