"""From scores to tables: the same questions to every stage of a study of shadow models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxmu.audit.attacks.roles import ever_forgotten, exclude, role_matrix
from jaxmu.audit.questions import Attacker, Case, choose
from jaxmu.audit.study.study_tables import Tables, describe, tables
from jaxmu.errors import DataError
from jaxmu.settings.choices import RANDOM
from jaxmu.store.records import Attack, ExposedRecord, Spread, StudyRecord, StudySizes
from jaxmu.studies.study import Finished
from jaxmu.unlearning import ANCHORS

SHOWN = 12  # most exposed samples of a method that the report shows


def write(finished: Finished, say: Callable[[str], None]) -> None:
  """Attack all stages and write the tables that the report reads.

  Raises:
    DataError: the study has too few models for any sample to be attacked.
  """
  run, names = finished.run, [stage.name for stage in finished.stages]
  members, pool = finished.stage("retrained").members, _pool(finished)
  sets = [member.sets for member in members]
  drawn = role_matrix([s.retain for s in sets], [s.forget for s in sets], pool)
  cases = {name: _case(finished, name, drawn) for name in names}
  chosen, reference = finished.settings.ulira, cases["retrained"]
  asked = None if finished.settings.scenario.forget == RANDOM else ever_forgotten(drawn)
  roles = reference.columns(asked).roles
  attacker = choose(chosen.fit, chosen.variance, roles, reference.splits)
  found = tables(cases, attacker, _once(finished, cases["original"]), say, asked)
  for name in ANCHORS:
    _refuse_too_few(name, found)
  run.write_table("exposure", found.exposure_rows())
  run.write_table("samples", [row for name in names for row in _samples(finished, name, found)])
  run.write_table("roc", found.roc_rows())
  _write_images(finished, found, names)
  run.write_json("timings.json", {name: finished.record.cost(name) for name in names})
  run.write_json("study.json", _facts(finished, attacker, cases, asked))


def _refuse_too_few(name: str, found: Tables) -> None:
  if not len(found.roc[name]):
    raise DataError(
      f"{name}: no sample was forgotten by enough models to be attacked; run the same command with "
      "more config.ulira.splits or forgets, which adds models"
    )


def _pool(finished: Finished) -> np.ndarray:
  return np.asarray(finished.stage("retrained").samples)


def _case(finished: Finished, name: str, drawn: np.ndarray) -> Case:
  """Read a stage; a shared original stands once for every model that was unlearned from it."""
  every = [member.at for member in finished.stage("retrained").members]
  own = {tuple(member.at.values()) for member in finished.stage(name).members}
  stored = [at if tuple(at.values()) in own else {**at, "forget": 0} for at in every]
  failed = np.array([bool(m.failure) for m in finished.record.members(name, stored)])
  groups = np.array([at["split"] for at in every])
  return Case(*finished.record.scores(name, stored), exclude(drawn, failed), groups)


def _once(finished: Finished, case: Case) -> Case:
  """Return the case of the original models, each of them once."""
  every = [member.at for member in finished.stage("retrained").members]
  return case.rows([every.index(member.at) for member in finished.stage("original").members])


def _samples(finished: Finished, name: str, found: Tables) -> list[dict[str, Any]]:
  """Return one row per sample of the pool."""
  pool = _pool(finished)
  columns = {"sample": pool, "label": finished.dataset.labels[pool]} | found.samples[name]
  lists = [column.tolist() for column in columns.values()]
  return [{"method": name} | dict(zip(columns, row)) for row in zip(*lists)]


def _write_images(finished: Finished, found: Tables, names: Sequence[str]) -> None:
  """Write the images of each method's most exposed samples."""
  pool, shown = _pool(finished), set()
  for name in names:
    order = found.samples[name]["exposed"]
    shown |= set(pool[(order >= 0) & (order < SHOWN)].tolist())
  order, dataset = sorted(shown), finished.dataset
  finished.run.write_array("exposed", dataset.images[order])
  labels, true = dataset.labels[order].tolist(), dataset.original_labels[order].tolist()
  exposed = ExposedRecord(tuple(order), tuple(labels), tuple(true))
  finished.run.write_json("exposed.json", exposed)


def _facts(
  finished: Finished, attacker: Attacker, cases: dict[str, Case], asked: np.ndarray | None
) -> StudyRecord:
  """Describe the study for the report."""
  members = finished.stage("retrained").members
  known = describe(cases["retrained"].columns(asked), attacker)
  sizes = dict(members[0].sets.sizes)
  held_out = sizes.pop("test")
  return StudyRecord(
    attack=Attack(**known["attack"]),
    forgotten_per_sample=Spread(**known["forgotten_per_sample"]),
    never_per_sample=Spread(**known["never_per_sample"]),
    splits=finished.settings.ulira.splits,
    forgets=finished.settings.ulira.forgets,
    models=len(members),
    originals=len(finished.stage("original").members),
    pool=len(_pool(finished)),
    sizes=StudySizes(**sizes, held_out=held_out),
    failed={name: int((~case.alive).sum()) for name, case in cases.items()},
  )
