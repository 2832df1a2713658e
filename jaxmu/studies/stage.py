"""One stage: a method on the whole population, checkpointed on the way, its logits written once."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine.keys import stage_number
from jaxmu.engine.population import fold_keys
from jaxmu.execution import predictions, runner, waves
from jaxmu.execution.capacity import capacity
from jaxmu.settings import Settings
from jaxmu.store import Run, checkpoint, leg_checkpoints
from jaxmu.store.records import CurveRow, StageRecord, StageTiming
from jaxmu.studies.finished_waves import Parts
from jaxmu.studies.legs import Legs
from jaxmu.studies.preparation import Bench, hyperparameters
from jaxmu.studies.progress import Progress
from jaxmu.unlearning import ANCHORS, get


class Stage:
  """A named stage of a run; `complete` does whatever of it is not done yet."""

  def __init__(self, run: Run, bench: Bench, name: str):
    self.run, self.bench, self.name = run, bench, name
    self.progress = Progress(name, len(bench.seeds))
    self.parts = Parts(run, name, self.identity)
    self.legs = Legs(
      run,
      name,
      self.identity,
      self.progress,
      every=bench.settings.checkpoint_seconds,
      rows=lambda leg: curve_rows(name, leg, bench.seeds),
      record=self.parts.add,
    )

  @property
  def identity(self) -> str:
    """Hash of what decides this stage's numbers; a run of equal identity may lend its result."""
    return stage_identity(self.run, self.bench.settings, self.name)

  @property
  def done(self) -> bool:
    """True where the marker is set and what it vouches for was not deleted since."""
    kept = (self.run.path / "logits" / f"{self.name}.npy").is_file()
    return self.run.done(self.name) and kept and checkpoint.exists(self.run.state_path(self.name))

  def complete(self, original: Any) -> None:
    """Train (or resume), predict, write, and mark the stage as done.

    Args:
      original: () -> the original models' variables; called where the stage starts from them.
    """
    at_once, compile_seconds = members_at_once(self.bench, self.name, self.progress)
    outcome = self._train(original, at_once)
    population = self.bench.problem.population
    variables = population.collect(outcome.variables)
    checkpoint.save(self.run.state_path(self.name), variables, self._metadata(outcome))
    start = time.perf_counter()
    logits = predictions.logits(
      population,
      self.bench.problem.task,
      self.bench.problem.arrays,
      outcome.variables,
      self.bench.settings.evaluation.batch_size,
      at_once,
    )
    self.run.write_array(f"logits/{self.name}", logits)
    timing = StageTiming(
      wall_s=outcome.seconds,
      compile_s=compile_seconds + outcome.compile_seconds,
      predict_s=time.perf_counter() - start,
      steps=self._steps(),
    )
    self.run.mark(self._record(outcome, timing))
    leg_checkpoints.clear(self.run, self.name)
    self._say(outcome, timing.compile_s, logits)

  def _record(self, outcome: runner.Outcome, timing: StageTiming) -> StageRecord:
    return StageRecord(
      stage=self.name,
      identity=self.identity,
      passes=outcome.passes[0],
      failures=outcome.failures,
      curves=tuple(self.parts.all_curves()),
      timing=timing,
    )

  def _train(self, original, at_once) -> runner.Outcome:
    bench, anchor = self.bench, self.name in ANCHORS
    return waves.run(
      get(self.name),
      bench.problem,
      bench.initial_variables if anchor else original(),
      **arguments(bench, self.name),
      at_once=at_once,
      on_leg=self.legs.take,
      kept=self.parts,
      resume=self.legs.resume(bench.problem.population, at_once),
    )

  def _metadata(self, outcome):
    return {
      "stage": self.name,
      "seeds": list(self.bench.seeds),
      "epochs": len({(row.phase, row.epoch) for row in self.parts.all_curves()}),
      "steps": self._steps(),
      "passes": outcome.passes[0],
      "failures": list(outcome.failures),
      "hyperparameters": hyperparameters(self.bench.settings, self.name),
    }

  def _steps(self) -> int:
    rows = self.parts.all_curves()
    return sum(row.steps for row in rows if row.seed == self.bench.seeds[0])

  def _say(self, outcome, compile_seconds, logits):
    labels, splits = self.bench.dataset.labels, self.bench.splits
    sets = []
    for part in ("retain", "forget", "test"):
      index = [getattr(split, part) for split in splits]
      right = [(logits[k, i].argmax(-1) == labels[i]).mean() for k, i in enumerate(index)]
      sets.append(f"{part} {np.mean(right):.3f}")
    failed = sum(bool(text) for text in outcome.failures)
    note = f"; {failed} members turned non-finite" if failed else ""
    self.progress.line(
      f"done in {outcome.seconds:.1f} s (+{compile_seconds:.1f} s compiling): "
      f"accuracy {' '.join(sets)}{note}"
    )


def arguments(bench: Bench, name: str) -> dict[str, Any]:
  """Return what a method needs to run on all members of a bench, for `runner.run`."""
  settings, members = bench.settings, bench.problem.population.size
  # As in the reference, all seeds of an anchor see one batch order; a method's members do not.
  shared = jnp.repeat(jax.random.key(settings.training.data_seed)[None], members)
  number = stage_number(name)
  return {
    "hp": [hyperparameters(settings, name)] * members,
    "keys": fold_keys(bench.keys, number),
    "order_keys": shared if name in ANCHORS else None,
    "fidelity": settings.fidelity,
  }


def members_at_once(bench: Bench, name: str, progress: Progress) -> tuple[int, float]:
  """Return how many members to process together, and the seconds spent on finding out."""
  settings, members = bench.settings, bench.problem.population.size
  if settings.population.members_at_once != "auto":
    return int(settings.population.members_at_once), 0.0
  found = capacity(
    get(name),
    bench.problem,
    bench.variable_shapes(),
    hp=[hyperparameters(settings, name)] * members,
    fidelity=settings.fidelity,
  )
  if found.at_once < members:
    progress.line(
      f"{members} members would take {found.bytes / 1e9:.1f} GB of the {found.limit / 1e9:.1f} "
      f"GB that a device has for them: {found.at_once} at once"
    )
  return found.at_once, found.compile_seconds


def stage_identity(run: Run, settings: Settings, name: str) -> str:
  """Hash everything that decides the numbers of a stage."""
  made = run.manifest
  known = settings.sweep_identity()  # a stage has all seeds
  shared = {k: v for k, v in known.items() if k not in ("methods", "unlearning")}
  parts = {
    "settings": shared,
    "hyperparameters": hyperparameters(settings, name),
    "chunk": made.chunk,
    "lowering": made.lowering,
    "platform": made.device.platform,
    "dataset": made.dataset.sha256,
    "split": made.split.sha256,
    "versions": {name: made.version(name) for name in ("jaxmu", "jax")},
  }
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def curve_rows(stage: str, leg: runner.Leg, seeds: Sequence[int]) -> Iterator[CurveRow]:
  """Yield one row per member: means over the epoch's steps; members at rest have none."""
  for k, seed in enumerate(seeds[leg.members]):
    loss = leg.metrics.loss[k]
    taken = ~np.isnan(leg.metrics.learning_rate[k])  # a pass may leave steps out
    if not taken.any():
      continue
    yield CurveRow(
      stage=stage,
      phase=leg.phase,
      seed=int(seed),
      epoch=leg.epoch + 1,
      steps=int(taken.sum()),
      loss=float(np.mean(loss[taken])),
      accuracy=float(np.mean(leg.metrics.accuracy[k][taken])),
      learning_rate=float(leg.metrics.learning_rate[k][taken][0]),
    )
