"""Synthetic U-LiRA studies: what a run directory holds, from numbers that a test chooses."""

import dataclasses
import re

import numpy as np
import pandas as pd

from jaxmu.report import ulira, writers
from jaxmu.report.ulira.ulira_data import from_run
from jaxmu.store import Run, files
from jaxmu.store.groups import Cost
from jaxmu.store.manifest import Device, Manifest
from jaxmu.store.records import Attack, Spread, StudyRecord, StudySizes
from support import manifests, report_cases

SMALL = ("original", "retrained", "ft", "ga")
# U-LiRA accuracy, half width of its interval, confirmed worst, population, net retain-side change,
# held-out accuracy, difference of confidence, models' work
LIKE_CIFAR = {
  "original": (0.640, 0.008, 0.93, 0.561, np.nan, 0.861, 2.5, 4.16e6),
  "retrained": (0.501, 0.004, 0.504, 0.500, 0.002, 0.858, 0.0, 3.74e6),
  "ft": (0.571, 0.006, 0.81, 0.509, -0.12, 0.842, 0.9, 3.1e5),
  "msg": (0.532, 0.005, 0.70, 0.501, 0.001, 0.828, 0.4, 4.4e5),
  "ct": (0.503, 0.005, 0.57, 0.499, 0.003, 0.833, 0.02, 1.9e5),
  "srl": (0.604, 0.007, 0.88, 0.482, 0.002, 0.840, -1.8, 5.2e5),
  "ga": (0.560, 0.020, 0.66, 0.470, 0.004, 0.735, -2.2, 1.2e4),
  "cfw": (0.548, 0.006, 0.75, 0.503, 0.060, 0.829, 0.6, 2.6e5),
}
SPLITS, FORGETS = 16, 4


def statistics(method: str) -> dict[tuple[str, str], tuple[float, float, float]]:
  """Return the statistics of a method: (question, statistic) -> value, low, high."""
  accuracy, half, worst, population, net, held_out, _, _ = LIKE_CIFAR[method]
  excess, none = accuracy - 0.5, np.nan
  around = lambda value, width=half: (value, value - width, value + width)
  found = {
    "accuracy": around(accuracy),
    "sample_mean": around(accuracy),
    "sample_q50": around(0.5 + 0.5 * excess),
    "sample_q95": around(0.58 + 2 * excess),
    "sample_q99": around(0.62 + 2.2 * excess),
    "share_above_0.6": around(0.03 + 1.5 * abs(excess)),
    "auc": around(0.5 + 1.2 * excess),
    "tpr_at_0.1": around(0.1 + 0.8 * abs(excess), half / 3),
    "tpr_at_0.01": around(0.01 + 0.5 * abs(excess), half / 5),
    "tpr_at_0.001": around(0.001 + 0.2 * abs(excess), half / 10),
    "confirmed_worst": around(worst, 0.01),
    "rmia_auc": around(0.5 + 0.8 * excess),
    "kernel_auc": around(0.5 + 1.1 * excess),
    "label_only_auc": around(0.5 + 0.3 * excess),
    "epsilon": (max(0.0, 5 * excess), none, none),
    "epsilon_ceiling": (4.2, none, none),
    "population": around(population, 0.004),
    "klom_q95": (none, none, none) if method == "retrained" else around(1.1 + 30 * excess, 0.1),
  }
  table = {("forgotten", name): entry for name, entry in found.items()}
  seen = {
    "accuracy": 0.66,
    "auc": 0.7,
    "tpr_at_0.1": 0.2,
    "tpr_at_0.01": 0.09,
    "tpr_at_0.001": 0.03,
  }
  table |= {("retained", name): around(value - excess / 9) for name, value in seen.items()}
  if method != "original":
    changed = {"mean": net / 20, "share_more": 0.4 + net / 2, "share_less": 0.4 - net / 2}
    table |= {("retained", f"change_{k}"): around(v) for k, v in (changed | {"net": net}).items()}
  else:
    table |= {("trained", name): around(value + 0.05) for name, value in seen.items()}
  table |= {("vulnerable", name): around(0.5 + 2 * excess) for name in ("accuracy", "auc")}
  table |= {("protected", name): around(0.5, 0.01) for name in ("accuracy", "auc")}
  if method != "original":
    table["update", "auc"] = around(0.5 + 1.5 * excess)
  accuracies = {"retained": min(1.0, held_out + 0.15), "forgotten": held_out, "never": held_out}
  return table | {("model", f"accuracy_{k}"): around(v, 0.002) for k, v in accuracies.items()}


def exposure(methods, changes) -> list[dict]:
  """Return rows of exposure.parquet; `changes`: method -> {"question/statistic": entry or None}."""
  rows = []
  for method in methods:
    table = statistics(method if method in LIKE_CIFAR else "ft")
    for key, entry in changes.get(method, {}).items():
      question, _, name = key.rpartition("/")
      table[question or "forgotten", name] = entry
    rows += [
      {"method": method, "question": q, "statistic": s, **dict(zip(("value", "low", "high"), e))}
      for (q, s), e in table.items()
      if e is not None
    ]
  return rows


def samples(methods, count: int) -> pd.DataFrame:
  """Return samples.parquet: accuracies around the method's, the last sample never attacked."""
  tables = []
  for number, method in enumerate(methods):
    accuracy, _, worst, *_, gap, _ = LIKE_CIFAR.get(method, LIKE_CIFAR["ft"])
    rng = np.random.default_rng(number)
    leak = 2 * (accuracy - 0.5) * rng.exponential(0.5, count)
    values = np.clip(0.5 + leak + 0.05 * rng.standard_normal(count), 0, max(0.65, worst + 0.07))
    values[-1] = np.nan
    never = 2 + 2 * rng.standard_normal(count)
    found = {
      "method": method,
      "sample": 10 * np.arange(count) + 3,
      "label": np.arange(count) % 10,
      "accuracy": values,
      "n_forgotten": 8,
      "n_never": 32,
      "score_forgotten": never + gap * (1 + 0.2 * rng.standard_normal(count)),
      "score_never": never,
    }
    order = np.full(count, -1)
    order[np.argsort(-values)[:12]] = np.arange(12)  # NaN last
    found |= {"confirmed": np.where(order >= 0, values - 0.1, np.nan), "exposed": order}
    tables.append(pd.DataFrame(found))
  return pd.concat(tables, ignore_index=True)


def roc(methods) -> list[dict]:
  """Return rows of roc.parquet: curves that end at the corners, zeros included."""
  rates = np.r_[0.0, np.geomspace(1e-4, 1, 60)]
  rows = []
  for method in methods:
    power = 1 - 1.6 * abs(LIKE_CIFAR.get(method, LIKE_CIFAR["ft"])[0] - 0.5)
    rows += [{"method": method, "fpr": r, "tpr": t} for r, t in zip(rates, rates**power)]
  return rows


def exposed(table: pd.DataFrame, channels: int, top: int = 6) -> tuple[dict, np.ndarray]:
  """Return exposed.json and its images: the `top` samples of every method, one label random."""
  best = [part.nlargest(top, "accuracy")["sample"] for _, part in table.groupby("method")]
  index = sorted(set(np.concatenate(best).tolist()))
  labels = [int(i // 10 % 10) for i in index]
  true = [(label + 1) % 10 if place % 3 == 0 else label for place, label in enumerate(labels)]
  size = np.arange(8)
  waves = [127 + 120 * np.sin(0.1 * i * np.add.outer(size, size * (i % 5))) for i in index]
  images = np.stack(waves)[..., None] * np.ones(channels)
  return {"samples": index, "labels": labels, "original_labels": true}, images.astype(np.uint8)


def study(**changes) -> StudyRecord:
  """Make study.json; `changes` replaces parts."""
  made = StudyRecord(
    attack=Attack(variance="fixed", fit="normal", paired=True, leave_out="split"),
    forgotten_per_sample=Spread(3.2, 1, 8),
    never_per_sample=Spread(32.0, 12, 52),
    splits=SPLITS,
    forgets=FORGETS,
    models=SPLITS * FORGETS,
    originals=SPLITS,
    pool=47500,
    sizes=StudySizes(train=23750, retain=21375, forget=2375, val=2500, held_out=23750),
    failed={},
  )
  return dataclasses.replace(made, **changes)


def manifest(methods=SMALL, **changes) -> Manifest:
  """Make the manifest of a study on one accelerator; `changes` replaces parts."""
  described = {name: manifests.description(name, needs=("retain", "forget")) for name in methods}
  command = "python bin/sweep.py --config=configs/ulira_cifar10.py"
  parts = {"device": Device("gpu", "NVIDIA H100", 1), "chunk": 16, "seeds": (0,)}
  parts |= {"command": command, "methods": described}
  return manifests.manifest(**parts | changes)


def timings(methods) -> dict[str, Cost]:
  return {
    name: Cost(
      models=SPLITS if name == "original" else SPLITS * FORGETS,
      wall_s=3600.0 * (1 + k),
      compile_s=41.0,
      predict_s=300.0,
      passes=LIKE_CIFAR.get(name, LIKE_CIFAR["ft"])[-1],
    )
    for k, name in enumerate(methods)
  }


def save(root, methods=SMALL, *, count=60, channels=3, changes=None, config=None, **parts) -> Run:
  """Store a study; `changes` overrides statistics, `parts` whole files (None: leave it out).

  `config` is what a report says of a config.
  """
  config = config or report_cases.config("study")
  made = parts.pop("manifest", manifest(methods))
  stored = files.plain(config) | {"study": "ulira"}
  run = Run.create(root, "study", "0123abcd", stored, made)
  table = samples(methods, count)
  named, images = exposed(table, channels)
  whole = {
    "exposure": exposure(methods, changes or {}),
    "samples": table.to_dict("records"),
    "roc": roc(methods),
    "study": study(),
    "timings": timings(methods),
    "exposed": named,
    "images": images,
  }
  with run.writing_results():
    for name, part in (whole | parts).items():
      if part is None:
        continue
      if name == "images":
        run.write_array("exposed", part)
      elif name in ("study", "timings", "exposed"):
        run.write_json(f"{name}.json", part)
      else:
        run.write_table(name, part)
  return run


def data(root, *arguments, **parts):
  return from_run(save(root, *arguments, **parts))


def texts(made) -> dict[str, str]:
  """Write a report."""
  return writers.texts(ulira.compose(made))


def markdown(made) -> str:
  """Write a report as Markdown, without any figure."""
  return writers.markdown.document(ulira.compose(made))


def tables(markdown):
  """Read the tables back: section, of any level -> label -> column -> text."""
  found = {}
  for part in re.split(r"\n#{2,4} ", markdown)[1:]:
    rows = [
      [cell.strip() for cell in line.strip("|").split("|")]
      for line in part.splitlines()
      if line.startswith("|")
    ]
    found[part.splitlines()[0]] = {row[0]: dict(zip(rows[0], row)) for row in rows[2:]}
  return found
