"""From scores to tables: the same questions to every stage of a study."""

from collections.abc import Sequence

import numpy as np

from jaxmu.audit import questions
from jaxmu.audit.attacks.exposure import most_exposed
from jaxmu.audit.attacks.population_scores import roc_points
from jaxmu.audit.attacks.roles import FORGOTTEN, NEVER, exclude, role_counts, role_matrix
from jaxmu.audit.questions import Attacker, Case, Table
from jaxmu.errors import DataError
from jaxmu.shadows.lab import Lab
from jaxmu.shadows.models import models, original_of, splits_of
from jaxmu.shadows.scores import Model
from jaxmu.unlearning import ANCHORS

SHOWN = 12  # most exposed samples of a method that the report shows


def write(lab: Lab, names: Sequence[str]) -> None:
  """Attack all stages and write the tables that the report reads.

  Raises:
    DataError: the study has too few models for any sample to be attacked.
  """
  every = models(lab.study, lab.settings, "retrained")
  splits = splits_of(lab.study, every)
  drawn = role_matrix(
    [split.retain for split in splits], [split.forget for split in splits], lab.study.pool
  )
  cases = {name: _case(lab, name, every, drawn) for name in names}
  roles, groups = cases["retrained"].roles, cases["retrained"].splits
  attacker = questions.choose(lab.settings.ulira.fit, lab.settings.ulira.variance, roles, groups)
  bootstrap = lab.settings.evaluation.bootstrap
  rows, samples, rocs, original = [], [], [], None
  for name, case in cases.items():
    forgot = questions.forgotten(case, attacker, cases["retrained"], bootstrap)
    _refuse_too_few(name, forgot)
    kept = questions.retained(case, attacker, original, bootstrap)
    rows += _rows(name, "forgotten", forgot.table) + _rows(name, "retained", kept.table)
    if case.alive.any():
      rows += _rows(name, "model", questions.model(case))
    if name == "original":
      original = kept
      once = questions.trained(_once(lab, case), attacker, bootstrap)
      rows += _rows(name, "trained", once.table)
    accuracy = forgot.exposure.accuracy if forgot.exposure else np.full(case.phi.shape[1], np.nan)
    samples += _samples(lab, name, case, accuracy)
    rocs += _roc(name, forgot.scores, case.roles)
  lab.run.write_table("exposure", rows)
  lab.run.write_table("samples", samples)
  lab.run.write_table("roc", rocs)
  _write_images(lab, samples, names)
  lab.run.write_json("timings.json", {name: lab.scores(name).cost for name in names})
  lab.run.write_json("study.json", _facts(lab, attacker, cases))


def _refuse_too_few(name: str, answer: questions.Answer) -> None:
  if name in ANCHORS and answer.exposure is None:
    raise DataError(
      f"{name}: no sample was forgotten by enough models to be attacked; run the same command with "
      "more config.ulira.splits or forgets, which adds models"
    )


def _case(lab: Lab, name: str, every: list[Model], drawn: np.ndarray) -> Case:
  """Read a stage; a shared original stands once for every model that was unlearned from it."""
  scores = lab.scores(name)
  stored = [original_of(m, lab.settings) for m in every] if name == "original" else every
  roles = exclude(drawn, scores.failed(stored))
  groups = np.array([split for split, _ in every])
  return Case(scores.phi(stored), scores.correct(stored), roles, groups)


def _once(lab: Lab, case: Case) -> Case:
  """Return the case of the original models, each of them once."""
  every = models(lab.study, lab.settings, "retrained")
  own = models(lab.study, lab.settings, "original")
  return case.rows([every.index(model) for model in own])


def _rows(method: str, question: str, table: Table) -> list[dict]:
  return [
    {"method": method, "question": question, "statistic": name, **interval._asdict()}
    for name, interval in table.items()
  ]


def _samples(lab: Lab, name: str, case: Case, accuracy: np.ndarray) -> list[dict]:
  """Return one row per sample of the pool."""
  pool = lab.study.pool
  columns = {"sample": pool, "label": lab.dataset.labels[pool], "accuracy": accuracy}
  means = {}
  for key, role in (("forgotten", FORGOTTEN), ("never", NEVER)):
    mask = case.roles == role
    columns[f"n_{key}"] = count = mask.sum(0)
    total = np.where(mask, case.phi, 0).sum(0, dtype=float)
    means[f"score_{key}"] = np.divide(total, count, np.full(len(pool), np.nan), where=count > 0)
  columns |= means
  lists = [column.tolist() for column in columns.values()]
  return [{"method": name} | dict(zip(columns, row)) for row in zip(*lists)]


def _roc(name: str, scores: np.ndarray, roles: np.ndarray) -> list[dict]:
  """Return points of the pooled curve; a sample's non-members weigh as much as its members."""
  known = ~np.isnan(scores)
  members, others = known & (roles == FORGOTTEN), known & (roles == NEVER)
  n, m = members.sum(0), others.sum(0)
  both = (n > 0) & (m > 0)
  if not both.any():
    return []
  worth = np.broadcast_to(n / np.maximum(m, 1), scores.shape)
  others = others & both
  points = roc_points(scores[members & both], scores[others], worth[others])
  return [{"method": name, "fpr": float(x), "tpr": float(y)} for x, y in points]


def _write_images(lab: Lab, samples: list[dict], names: Sequence[str]) -> None:
  """Write the images of each method's most exposed samples."""
  pool, shown = lab.study.pool, set()
  for name in names:
    accuracy = np.array([row["accuracy"] for row in samples if row["method"] == name])
    shown |= set(pool[most_exposed(accuracy, SHOWN)].tolist())
  order, dataset = sorted(shown), lab.dataset
  lab.run.write_array("exposed", dataset.images[order])
  given = {"labels": dataset.labels[order], "original_labels": dataset.original_labels[order]}
  lab.run.write_json("exposed.json", {"samples": order, **given})


def _facts(lab: Lab, attacker: Attacker, cases: dict[str, Case]) -> dict:
  """Describe the study for the report."""
  counts, sizes = role_counts(cases["retrained"].roles), lab.study.split(0, 0).sizes
  spread = lambda values: {"mean": values.mean(), "min": values.min(), "max": values.max()}
  return {
    "splits": lab.study.splits,
    "forgets": lab.study.attempts,
    "models": len(lab.study.models),
    "originals": len(models(lab.study, lab.settings, "original")),
    "pool": len(lab.study.pool),
    "sizes": {
      **{part: sizes[part] for part in ("train", "retain", "forget", "val")},
      "held_out": sizes["test"],
    },
    "attack": {
      "variance": attacker.of_few,
      "fit": attacker.fit,
      "paired": attacker.paired,
      "leave_out": "split",
    },
    "forgotten_per_sample": spread(counts["forgotten"]),
    "never_per_sample": spread(counts["never seen"]),
    "failed": {name: int((~case.alive).sum()) for name, case in cases.items()},
  }
