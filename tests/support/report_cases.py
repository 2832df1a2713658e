"""Synthetic runs that look like real ones: ten seeds, numbers near spec evaluation 11.2."""

import dataclasses

import numpy as np
import pandas as pd

from jaxmu.audit.breakdown import CLASS_COLUMNS, ROC_COLUMNS
from jaxmu.audit.metrics import columns, derive
from jaxmu.report import benchmark, writers
from jaxmu.report.benchmark.benchmark_data import CURVE_COLUMNS, Judged, ReportData, judge
from jaxmu.report.source import ReportedConfig, ReportedEvaluation, ReportedLabels, ReportedModel
from jaxmu.store import Run, files
from jaxmu.store.groups import Cost
from jaxmu.store.run import RESULTS
from support.manifests import manifest

# mean RA, FA, VA, TA, V-MIA, T-MIA, their common SD, sample-passes
LIKE_CIFAR = {
  "original": (1.0, 0.999, 0.875, 0.872, 0.612, 0.610, 0.004, 27846.0),
  "retrained": (0.9993, 0.8734, 0.8712, 0.8687, 0.4984, 0.5008, 0.004, 25061.0),
  "ft": (0.9990, 0.8480, 0.8289, 0.8280, 0.5121, 0.5030, 0.004, 1830.0),
  "ga": (0.8656, 0.8519, 0.7820, 0.7805, 0.4250, 0.4210, 0.010, 64.0),
  "srl": (0.9920, 0.9304, 0.8437, 0.8401, 0.4963, 0.4990, 0.005, 5330.0),
  "ngplus": (0.9638, 0.8579, 0.8444, 0.8426, 0.4843, 0.4890, 0.005, 10440.0),
  "msg": (0.9884, 0.8239, 0.8079, 0.8086, 0.5088, 0.5074, 0.006, 3390.0),
  "ct": (0.9953, 0.8224, 0.8137, 0.8136, 0.5034, 0.5020, 0.005, 1134.0),
  "kde": (0.9680, 0.8415, 0.8425, 0.7958, 0.5066, 0.5233, 0.012, 7160.0),
  "ff": (0.0991, 0.0960, 0.1067, 0.1000, 0.5000, 0.5000, 0.001, 368.0),
}
EPOCHS = {"original": 60, "retrained": 60, "ga": 1}


def rows(methods=tuple(LIKE_CIFAR), seeds=range(10), **means) -> pd.DataFrame:
  """Make result rows; `means` overrides values of a method: ft={"FA": 0.97}."""
  measured = []
  for number, method in enumerate(methods):
    *centre, spread, passes = LIKE_CIFAR[method]
    for seed in seeds:
      rng = np.random.default_rng([number, seed])
      values = np.array(centre) + spread * rng.standard_normal(6)
      named = dict(zip(("RA", "FA", "VA", "TA", "V_MIA", "T_MIA"), np.clip(values, 0, 1).tolist()))
      shift = {key: v + 0.001 * rng.standard_normal() for key, v in means.get(method, {}).items()}
      measured.append(
        {"method": method, "seed": int(seed), "finite": True, "failed_steps": ""}
        | named
        | _further(named | shift, rng)
        | shift
        | {"passes": passes}
      )
  references = [row for row in measured if row["method"] == "retrained"]
  return pd.DataFrame(derive(measured, references))


def _further(named, rng):
  distance = {
    f"{key}_{to}": float(rng.uniform(1, 5))
    for key in ("l2", "rel", "nl2")
    for to in ("original", "retrained")
  }
  losses = {
    f"loss_{name}": float(rng.uniform(0.01, 1)) for name in ("retain", "forget", "val", "test")
  }
  tries = {f"T_{n}": named["T_MIA"] for n in ("margin", "entropy", "correctness", "histogram")}
  strongest = named["T_MIA"] if named["T_MIA"] > 0.45 else 1 - named["T_MIA"]
  attacks = {"T_strongest": strongest, "T_attack": "margin", "SVC_MIA": named["FA"] - 0.7}
  return (
    attacks
    | tries
    | {
      "TA_clean": named["TA"] + 0.02,
      "V_AUC": named["V_MIA"],
      "T_AUC": named["T_MIA"],
      "norm": 40.0,
    }
    | losses
    | distance
  )


def fail(table: pd.DataFrame, method: str, seeds, steps="epoch 3 (steps 40-59)") -> pd.DataFrame:
  """Turn members non-finite, as evaluation.measure writes them."""
  hit = (table["method"] == method) & table["seed"].isin(list(seeds))
  words = ("method", "seed", "finite", "failed_steps", "T_attack")
  numbers = [c for c in table.columns if c not in words]
  table = table.copy()
  table.loc[hit, "finite"] = False
  table.loc[hit, "failed_steps"] = steps
  table.loc[hit, numbers] = np.nan
  return table


def texts(made: ReportData) -> dict[str, str]:
  """Write a report; its page draws every figure, which takes a second."""
  return writers.texts(benchmark.compose(made))


def markdown(made: ReportData) -> str:
  """Write a report as Markdown, without any figure."""
  return writers.markdown.document(benchmark.compose(made))


def judged(made: ReportData) -> Judged:
  """Aggregate and judge."""
  return judge(made)


def concat(*tables: pd.DataFrame) -> pd.DataFrame:
  return pd.concat(tables, ignore_index=True)


def replace(made: ReportData, **changes) -> ReportData:
  return dataclasses.replace(made, **changes)


def save(root, made: ReportData):
  """Store report data as the run directory that a sweep leaves behind."""
  stored = files.plain(made.config) | {"study": "benchmark"}
  run = Run.create(root, made.title, "0123abcd", stored, made.manifest)
  with run.writing_results():
    run.write_rows(made.rows.to_dict("records"), columns())
    run.write_table("curves", made.curves.to_dict("records"))
    run.write_json("timings.json", dict(made.timings))
  return run


def replace_result(run, name, content):
  """Let a run's result hold other bytes, as if the run had written those."""
  path, listed = run.path / name, files.read_sealed(run.path / RESULTS)
  path.write_bytes(content)
  files.write_sealed(run.path / RESULTS, listed | {name: (len(content), files.sha256(path))})


def curves(methods, seeds) -> pd.DataFrame:
  """Make curves; KDE has two phases."""
  table = []
  for stage in methods:
    if stage == "ff":
      continue  # an edit of the weights has no epochs
    phases = (
      (("warm-up", 3), ("distil", 9)) if stage == "kde" else (("train", EPOCHS.get(stage, 12)),)
    )
    for phase, epochs in phases:
      for seed in seeds:
        rng = np.random.default_rng([len(stage), seed])
        for epoch in range(1, epochs + 1):
          loss = 2.3 * np.exp(-epoch / 8) * (1 + 0.1 * rng.standard_normal()) + 1e-3
          table.append((stage, phase, int(seed), epoch, loss, 1 - loss / 3, 0.1))
  return pd.DataFrame(table, columns=list(CURVE_COLUMNS))


def data(methods=tuple(LIKE_CIFAR), seeds=range(10), table=None, **changes) -> ReportData:
  """Make a report's data; `changes` replaces fields."""
  seeds = list(seeds)
  made = ReportData(
    config=config(),
    manifest=manifest(methods),
    rows=rows(methods, seeds) if table is None else table,
    curves=curves(methods, seeds),
    classes=classes(methods, seeds),
    roc=roc(methods, seeds),
    timings={
      m: Cost(wall_s=12.5 + k, compile_s=3.1, predict_s=0.4, steps=1200 + k)
      for k, m in enumerate(methods)
    },
  )
  return dataclasses.replace(made, **changes)


def config(name="resnet18_cifar10", random_labels=0.0) -> ReportedConfig:
  """Make what a report says of a config."""
  return ReportedConfig(
    name=name,
    data=ReportedLabels(random_labels),
    model=ReportedModel("resnet18", 32, "auto"),
    training={"num_epochs": 60, "batch_size": 256, "learning_rate": 0.1},
    evaluation=ReportedEvaluation(bootstrap=500),
  )


def classes(methods, seeds, count=10) -> pd.DataFrame:
  """Make accuracies by class around those of a method."""
  rows = []
  for method in methods:
    like = LIKE_CIFAR.get(method, LIKE_CIFAR["ft"])
    for seed in seeds:
      rng = np.random.default_rng([len(method), seed])
      for part, centre in (("forget", like[1]), ("test", like[3])):
        values = np.clip(centre + 0.05 * rng.standard_normal(count), 0, 1)
        rows += [(method, seed, part, k, 100, float(v)) for k, v in enumerate(values)]
  return pd.DataFrame(rows, columns=list(CLASS_COLUMNS))


def roc(methods, seeds) -> pd.DataFrame:
  """Make ROC curves that lie above the diagonal as far as a method's attack does."""
  rates = np.geomspace(1e-3, 1, 30)
  rows = [
    (
      method,
      seed,
      float(x),
      float(x ** (1 - 2 * abs(LIKE_CIFAR.get(method, LIKE_CIFAR["ft"])[5] - 0.5))),
    )
    for method in methods
    for seed in seeds
    for x in rates
  ]
  return pd.DataFrame(rows, columns=list(ROC_COLUMNS))
