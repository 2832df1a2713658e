"""The metrics of a benchmark: one value each in these files, one line each in the registry.

Whatever lists metrics asks the registry: rows and their columns, intervals, differences, tables and
definitions of reports, the table in docs/runs.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmu.audit.draws import Place, place
from jaxmu.audit.influence import Influence
from jaxmu.audit.metric import EVERY, ROWS, Metric
from jaxmu.audit.metrics import (
  accuracies,
  cost,
  indiscernibility,
  membership,
  parameters,
  retention,
)
from jaxmu.errors import DataError

# Columns that say whose numbers the others are.
IDENTITY = {
  "method": "`original`, `retrained`, or the method's name",
  "seed": "the member's seed",
  "finite": "false where training or logits became NaN or infinite; all numbers of the row are "
  "then NaN, except `passes`",
  "failed_steps": "empty, or phase, epoch and steps in which the training loss became non-finite",
}
# Columns after the seed that only some runs have.
COORDINATES = {
  "draw": "number of the forget set among those of its seed; only where there are several",
  "round": "after which round of a request; only where it comes in rounds",
}
# Every metric, in the order of the columns of rows.parquet.
METRICS: dict[str, Metric] = {
  "RA": accuracies.RA,
  "FA": accuracies.FA,
  "VA": accuracies.VA,
  "TA": accuracies.TA,
  "TA_clean": accuracies.TA_CLEAN,
  "TA_kept": accuracies.TA_KEPT,
  "TA_forgotten": accuracies.TA_FORGOTTEN,
  "J": accuracies.J,
  "FA_all": accuracies.FA_ALL,
  "loss_retain": accuracies.LOSS_RETAIN,
  "loss_forget": accuracies.LOSS_FORGET,
  "loss_val": accuracies.LOSS_VAL,
  "loss_test": accuracies.LOSS_TEST,
  "V_MIA": membership.V_MIA,
  "T_MIA": membership.T_MIA,
  "V_AUC": membership.V_AUC,
  "T_AUC": membership.T_AUC,
  "T_strongest": membership.T_STRONGEST,
  "T_attack": membership.T_ATTACK,
  "T_margin": membership.T_MARGIN,
  "T_entropy": membership.T_ENTROPY,
  "T_modified_entropy": membership.T_MODIFIED_ENTROPY,
  "T_correctness": membership.T_CORRECTNESS,
  "T_histogram": membership.T_HISTOGRAM,
  "T_MIA_first": membership.T_MIA_FIRST,
  "SVC_MIA": membership.SVC_MIA,
  "RR": retention.RR,
  "FR": retention.FR,
  "TR": retention.TR,
  "RetDev": retention.RETDEV,
  "Disc": indiscernibility.DISC,
  "Indisc": indiscernibility.INDISC,
  "V_Indisc": indiscernibility.V_INDISC,
  "gap": retention.GAP,
  "NoMUS": indiscernibility.NOMUS,
  "SAPE_forget": retention.SAPE_FORGET,
  "RTE_work": cost.RTE_WORK,
  "passes": cost.PASSES,
  "l2_original": parameters.L2_ORIGINAL,
  "l2_retrained": parameters.L2_RETRAINED,
  "rel_original": parameters.REL_ORIGINAL,
  "rel_retrained": parameters.REL_RETRAINED,
  "nl2_original": parameters.NL2_ORIGINAL,
  "nl2_retrained": parameters.NL2_RETRAINED,
  "norm": parameters.NORM,
}


def columns() -> tuple[str, ...]:
  """Return the columns that every rows.parquet has, in their order."""
  return (*IDENTITY, *METRICS)


def ordered() -> tuple[str, ...]:
  """Return all columns that a rows.parquet may have, in their order."""
  method, seed, *rest = IDENTITY
  return (method, seed, *COORDINATES, *rest, *METRICS)


def reading(*kinds: str) -> list[Metric]:
  """Return the metrics that read one of `kinds`, in the order of the registry."""
  return [metric for metric in METRICS.values() if metric.reads in kinds]


def shown(table: str) -> list[Metric]:
  """Return the metrics of a table of the report, in the order in which they stand there."""
  found = [metric for metric in METRICS.values() if table in metric.tables]
  return sorted(found, key=lambda metric: metric.tables[table])


def paired(reference: bool) -> list[str]:
  """Name the metrics whose differences get intervals, derived ones first.

  Args:
    reference: whether one of the two methods is the retrained models.
  """
  every = [m for m in METRICS.values() if m.paired == EVERY]
  every.sort(key=lambda metric: metric.reads != ROWS)
  others = [m for m in METRICS.values() if m.paired and m.paired != EVERY]
  return [metric.name for metric in (*every, *(others if reference else ()))]


def ranked() -> list[str]:
  """Name the metrics by which a method can be called best."""
  return [metric.name for metric in METRICS.values() if metric.better]


def of_means() -> list[str]:
  """Name the numbers of `statistics.summarise` that are made of means over seeds and shown."""
  return [f"{metric.name}_of_means" for metric in METRICS.values() if metric.of_means]


def numbers(found: Sequence[str]) -> list[str]:
  """Return which of these columns hold numbers of a model, known metrics and others alike."""
  words = {metric.name for metric in METRICS.values() if metric.word}
  return [name for name in found if name not in IDENTITY | COORDINATES and name not in words]


def averaged() -> list[str]:
  """Name the columns that metrics read which compare a model with the retrained one."""
  derived = reading(ROWS)
  own = {metric.name for metric in derived}
  return list(dict.fromkeys(c for metric in derived for c in metric.needs if c not in own))


def compare(new: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
  """Return the derived metrics of one model beside its retrained model, by name.

  Takes and returns numbers, or arrays of them (means over seeds, bootstrap replicates). Metrics of
  columns that are not given are left out.
  """
  found: dict[str, Any] = {}
  for metric in reading(ROWS):
    known = {**new, **found}
    if all(name in known for name in metric.needs):
      found[metric.name] = metric.of(known, reference)
  return found


def derive(rows: Sequence[Mapping], retrained: Sequence[Mapping]) -> list[dict]:
  """Return `rows` with the metrics that compare each with the retrained model of the same seed.

  Raises:
    DataError: a seed has no retrained model, or more than one.
  """
  references: dict[Place, Mapping] = {}
  for row in retrained:
    if references.setdefault(place(row), row) is not row:
      raise DataError(f"more than one retrained model of seed {row['seed']}")
  none = {metric.name: metric.none for metric in reading(ROWS)}
  derived = []
  for row in rows:
    if place(row) not in references:
      known = ", ".join(dict.fromkeys(str(seed) for seed, _ in sorted(references))) or "none"
      raise DataError(
        f"no retrained model of seed {row['seed']} to compare method '{row['method']}' with;"
        f" retrained seeds: {known}"
      )
    found = compare(row, references[place(row)]) if row["finite"] else {}
    derived.append(dict(row) | none | {name: float(value) for name, value in found.items()})
  return derived


def influences(own: Influence, row: Mapping, other: Influence, reference: Mapping) -> Influence:
  """Return the influences on the derived metrics of one member, by the chain rule.

  Args:
    own, row: the member's influences and metrics.
    other, reference: those of the retrained model of the same seed; `other` is empty if it failed.
  """
  found: Influence = {}
  for metric in reading(ROWS):
    moved = metric.influence and metric.influence({**own, **found}, row, other, reference)
    if moved is not None:
      found[metric.name] = moved
  return found
