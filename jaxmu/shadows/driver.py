"""A U-LiRA study from start to end: shadow models, their scores, the attacks, the report."""

import dataclasses
import sys
from typing import TextIO

from jaxmu.data import Dataset
from jaxmu.data.shadow_splits import ShadowStudy
from jaxmu.report import study as report_study
from jaxmu.settings import Settings
from jaxmu.shadows import audit, models
from jaxmu.shadows.reuse import borrow
from jaxmu.shadows.stage import GROUP, ShadowStage
from jaxmu.shadows.study_context import Lab
from jaxmu.store import Run
from jaxmu.studies import lowerings, preparation, provenance, tuning
from jaxmu.studies.driver import open_run
from jaxmu.unlearning import ANCHORS


def study(settings: Settings, *, command: str = "", out: TextIO | None = None) -> Run:
  """Train the shadow models that are missing, attack all, and write the report.

  The run directory does not depend on the numbers of splits and forget sets: a study grows.

  Args:
    settings: a checked config with `ulira.splits`.
    command: how to run it again; stored in the manifest.
    out: where the first lines go; standard error where None.

  Raises:
    DataError, StoreError, CheckpointError: with one line that says what to do.
  """
  out = out or sys.stderr
  dataset = preparation.load_dataset(settings)
  drawn = models.draw(settings, dataset.num_train)
  run, lab = _open(settings, dataset, drawn, command, out)
  with run.lock():
    print(f"run directory: {run.path}", file=out, flush=True)
    names = (*ANCHORS, *settings.methods)
    for name in names:
      if lender := borrow(lab, name):
        print(f"{name}: taken over from {lender}", file=out, flush=True)
      stage = ShadowStage(lab, name)
      if not stage.missing:
        print(f"{name}: done before", file=out, flush=True)
        continue
      run.log({"event": "start", "stage": name, "models": len(stage.missing)})
      stage.complete()
      run.log({"event": "done", "stage": name})
    print("attacking", file=out, flush=True)
    audit.write(lab, names)
    report_study.write(run)
  return run


def _open(
  settings: Settings, dataset: Dataset, drawn: ShadowStudy, command: str, out: TextIO
) -> tuple[Run, Lab]:
  group = models.models(drawn, settings, "retrained")[:GROUP]
  splits = models.splits_of(drawn, group)
  chunk = tuning.resolve_chunk(
    dataclasses.replace(settings, seeds=tuple(range(len(group)))), dataset, splits
  )
  lowering = lowerings.resolve(settings, dataset, chunk)
  splits = splits[:1]  # says all about the others, however many there will be
  run = open_run(
    settings, provenance.manifest(settings, dataset, splits, chunk, lowering, command), out
  )
  return run, Lab(run, settings, dataset, drawn, tuple(sorted(run.manifest.lowering.items())))
