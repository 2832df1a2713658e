"""From scores to tables: the same questions to every stage of a study."""

from collections.abc import Sequence

import numpy as np

from jaxmu.audit.attacks.roles import exclude, role_matrix
from jaxmu.audit.questions import Attacker, Case, choose
from jaxmu.audit.study.study_tables import Tables, describe, tables
from jaxmu.errors import DataError
from jaxmu.shadows.models import models, original_of, splits_of
from jaxmu.shadows.scores import Model
from jaxmu.shadows.study_context import Lab
from jaxmu.store.records import Attack, ExposedRecord, Spread, StudyRecord, StudySizes
from jaxmu.studies.progress import Progress
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
  chosen, reference = lab.settings.ulira, cases["retrained"]
  attacker = choose(chosen.fit, chosen.variance, reference.roles, reference.splits)
  found = tables(cases, attacker, _once(lab, cases["original"]), Progress("attack", 1).line)
  for name in ANCHORS:
    _refuse_too_few(name, found)
  lab.run.write_table("exposure", found.exposure_rows())
  lab.run.write_table("samples", [row for name in names for row in _samples(lab, name, found)])
  lab.run.write_table("roc", found.roc_rows())
  _write_images(lab, found, names)
  lab.run.write_json("timings.json", {name: lab.scores(name).cost for name in names})
  lab.run.write_json("study.json", _facts(lab, attacker, cases))


def _refuse_too_few(name: str, found: Tables) -> None:
  if not len(found.roc[name]):
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


def _samples(lab: Lab, name: str, found: Tables) -> list[dict]:
  """Return one row per sample of the pool."""
  pool = lab.study.pool
  columns = {"sample": pool, "label": lab.dataset.labels[pool]} | found.samples[name]
  lists = [column.tolist() for column in columns.values()]
  return [{"method": name} | dict(zip(columns, row)) for row in zip(*lists)]


def _write_images(lab: Lab, found: Tables, names: Sequence[str]) -> None:
  """Write the images of each method's most exposed samples."""
  pool, shown = lab.study.pool, set()
  for name in names:
    order = found.samples[name]["exposed"]
    shown |= set(pool[(order >= 0) & (order < SHOWN)].tolist())
  order, dataset = sorted(shown), lab.dataset
  lab.run.write_array("exposed", dataset.images[order])
  labels, true = dataset.labels[order].tolist(), dataset.original_labels[order].tolist()
  lab.run.write_json("exposed.json", ExposedRecord(tuple(order), tuple(labels), tuple(true)))


def _facts(lab: Lab, attacker: Attacker, cases: dict[str, Case]) -> StudyRecord:
  """Describe the study for the report."""
  sizes, known = dict(lab.study.split(0, 0).sizes), describe(cases["retrained"], attacker)
  held_out = sizes.pop("test")
  return StudyRecord(
    attack=Attack(**known["attack"]),
    forgotten_per_sample=Spread(**known["forgotten_per_sample"]),
    never_per_sample=Spread(**known["never_per_sample"]),
    splits=lab.study.splits,
    forgets=lab.study.attempts,
    models=len(lab.study.models),
    originals=len(models(lab.study, lab.settings, "original")),
    pool=len(lab.study.pool),
    sizes=StudySizes(**sizes, held_out=held_out),
    failed={name: int((~case.alive).sum()) for name, case in cases.items()},
  )
