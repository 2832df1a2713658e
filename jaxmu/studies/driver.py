"""A benchmark from start to end: anchors, every method, then attacks, metrics and report."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from jaxmu import report
from jaxmu.audit import comparison, distances, evaluation, metrics
from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.errors import DataError, StoreError
from jaxmu.settings import Settings
from jaxmu.store import Run, checkpoint
from jaxmu.store.manifest import Manifest
from jaxmu.store.records import StageRecord
from jaxmu.studies import lowerings, preparation, provenance, tuning
from jaxmu.studies.reuse import borrow
from jaxmu.studies.stage import Stage
from jaxmu.unlearning import ANCHORS


def sweep(settings: Settings, *, command: str = "", out: TextIO | None = None) -> Run:
  """Run an experiment, or what is left of it, and write its report.

  Args:
    settings: the checked config.
    command: how to run it again; stored in the manifest.
    out: where the first lines go; standard error where None.

  Raises:
    DataError, StoreError, CheckpointError: with one line that says what to do.
  """
  out = out or sys.stderr
  dataset, splits = preparation.load_data(settings)
  check_attackable(splits[0].sizes)
  chunk = tuning.resolve_chunk(settings, dataset, splits)
  lowering = lowerings.resolve(settings, dataset, chunk)
  manifest = provenance.manifest(settings, dataset, splits, chunk, lowering, command)
  run = open_run(settings, manifest, out)
  with run.lock():
    print(f"run directory: {run.path}", file=out, flush=True)
    lowering = tuple(sorted(run.manifest.lowering.items()))
    bench = preparation.build(settings, dataset, splits, run.manifest.chunk, lowering)
    names = (*ANCHORS, *settings.methods)
    original = _Original(run)
    for name in names:
      stage = Stage(run, bench, name)
      if stage.done:
        print(f"{name}: done before", file=out, flush=True)
      elif lender := borrow(run, stage.identity, name):
        print(f"{name}: taken over from {lender}", file=out, flush=True)
      else:
        run.log({"event": "start", "stage": name})
        stage.complete(original)
        run.log({"event": "done", "stage": name})
    _write_results(run, bench, names)
  return run


def open_run(settings: Settings, manifest: Manifest, out: TextIO) -> Run:
  """Make or re-open the run directory of these settings; refuse one of other data.

  Args:
    manifest: what `provenance.manifest` says now; a re-opened run keeps its first one.
    out: where a note about changed versions goes.
  """
  run = Run.create(
    settings.output_dir,
    settings.name,
    settings.sweep_hash8,
    settings.to_dict(),
    manifest,
    identity=settings.sweep_identity(),
  )
  _check_same_data(run, manifest)
  _note_other_versions(run, manifest, out)
  return run


class _Original:
  """The original models' variables, read from the checkpoint when a stage first asks."""

  def __init__(self, run: Run):
    self.run, self.variables = run, None

  def __call__(self) -> Any:
    if self.variables is None:
      self.variables, _ = checkpoint.load(self.run.state_path("original"))
    return self.variables


def check_attackable(sizes: dict[str, int]) -> None:
  """Refuse, before anything is trained, sets that are too small to be attacked afterwards."""
  for part in ("forget", "val", "test"):
    if sizes[part] < MINIMUM:
      raise DataError(
        f"the {part} set has {sizes[part]} samples, the attack needs at least {MINIMUM}; use more "
        "data, a larger config.data.val_fraction or forget_fraction, or a longer config.data.forget"
      )


def _check_same_data(run: Run, manifest: Manifest) -> None:
  """Refuse to go on with a run whose data or split were other ones."""
  then = run.manifest
  hashes = {
    "dataset": (then.dataset.sha256, manifest.dataset.sha256),
    "split": (then.split.sha256, manifest.split.sha256),
  }
  for part, (before, now) in hashes.items():
    if before != now:
      raise StoreError(
        f"{run.path} was made with another {part} (sha256 {before[:12]}, now {now[:12]}); "
        "choose another --config.output_dir, or restore the data"
      )


def _note_other_versions(run: Run, manifest: Manifest, out: TextIO) -> None:
  """Say where a run goes on with other software or devices than it began with."""
  before, now = (
    {**known.versions, "device": known.device.kind} for known in (run.manifest, manifest)
  )
  differs = lambda name: name in before and before[name] != now[name]
  changed = [f"{name} {before[name]} -> {now[name]}" for name in now if differs(name)]
  if changed:
    run.log({"event": "versions changed", "changes": changed})
    print(
      f"note: this run began with other versions ({', '.join(changed)}); stages that are not done "
      "yet come from the present ones and need not be bit-identical",
      file=out,
      flush=True,
    )


def _write_results(run: Run, bench: preparation.Bench, names: Sequence[str]) -> None:
  """Attack and measure every stage, write the tables, then the report."""
  markers = {name: run.marker(name) for name in names}
  params = {name: _params(run, name) for name in ANCHORS}
  measure = lambda name: _measure(bench, run.array(f"logits/{name}"), markers[name])
  retrained = measure("retrained")
  compared = comparison.Comparison(*retrained)
  rows = []
  for name in names:
    found = retrained if name == "retrained" else measure(name)
    own = params[name] if name in params else _params(run, name)
    whole = metrics.derive(distances.add_distances(found.rows, own, **params), retrained.rows)
    compared.add(name, whole, found.influences)
    rows += whole
  tables = compared.tables()
  run.write_rows(rows, metrics.columns())
  run.write_table("intervals", tables.intervals)
  run.write_table("differences", tables.differences, ("method",))
  curves = [row for name in names for row in markers[name].curves]
  run.write_table("curves", [dataclasses.asdict(row) for row in curves], ("seed",))
  run.write_json("timings.json", {name: markers[name].timing for name in names})
  report.write(run)


def _measure(
  bench: preparation.Bench, logits: np.ndarray, marker: StageRecord
) -> evaluation.Measured:
  """Evaluate each member of a stage, logits [K, N, C], on its own split."""
  found = evaluation.Measured([], [])
  for k, (seed, split) in enumerate(zip(bench.seeds, bench.splits)):
    one = evaluation.measure(
      logits[k : k + 1],
      bench.dataset.labels,
      bench.dataset.original_labels,
      split,
      method=marker.stage,
      seeds=[seed],
      passes=marker.passes,
      failed_steps=[marker.failures[k]],
    )
    found.rows.extend(one.rows)
    found.influences.extend(one.influences)
  return found


def _params(run: Run, name: str) -> Any:
  return checkpoint.load(run.state_path(name))[0]["params"]
