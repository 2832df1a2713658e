"""One stage of a study: trains the models that are missing, group by group, and keeps scores."""

import dataclasses
import hashlib
import json
import time
from typing import Any

import jax
import numpy as np

from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.engine.population import Wave
from jaxmu.errors import StoreError
from jaxmu.execution import predictions, runner, waves
from jaxmu.shadows.models import models, original_of
from jaxmu.shadows.scores import Model
from jaxmu.shadows.study_context import Lab
from jaxmu.store import checkpoint, files, leg_checkpoints, typed_json
from jaxmu.store.records import OriginalsRecord, ShadowCost
from jaxmu.studies.legs import Legs
from jaxmu.studies.preparation import Bench
from jaxmu.studies.progress import Progress
from jaxmu.studies.stage import arguments, members_at_once
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ANCHORS, get

GROUP = 64  # models at most that are trained together, so that scores are safe now and then


class ShadowStage:
  """A method on all models of a study; `complete` trains those that have no scores yet."""

  def __init__(self, lab: Lab, name: str):
    self.lab, self.name = lab, name
    self.scores = lab.scores(name)
    self.wanted = models(lab.study, lab.settings, name)

  @property
  def missing(self) -> list[Model]:
    return self.scores.missing(self.wanted)

  def complete(self) -> None:
    """Train, predict and append, one group of models after another."""
    todo, progress = self.missing, Progress(self.name, len(self.missing))
    if not todo:
      return
    bench = self.lab.bench(self.name, todo)
    groups, compile_seconds = self._groups(bench, progress)
    pool = self.lab.study.pool
    pooled = bench.problem.population.share(
      Arrays(self.lab.dataset.images[pool], self.lab.dataset.labels[pool])
    )
    for number, wave in enumerate(groups):
      own, group = part(bench, wave), todo[wave.members]
      outcome = self._train(own, group, progress, (number, len(groups)))
      self._keep(own, group, outcome, pooled, compile_seconds)
      compile_seconds = 0.0
    progress.line(self._summary(len(todo)))

  def _groups(self, bench: Bench, progress: Progress) -> tuple[tuple[Wave, ...], float]:
    """Divide the models into groups that fit, and return the seconds spent on finding out."""
    asked, population = self.lab.settings.population.members_at_once, bench.problem.population
    groups = population.waves(GROUP if asked == "auto" else int(asked))
    at_once, seconds = members_at_once(part(bench, groups[0]), self.name, progress)
    if at_once < groups[0].population.size:
      groups = population.waves(at_once)
    return groups, seconds

  def _train(
    self, bench: Bench, group: list[Model], progress: Progress, place: tuple[int, int]
  ) -> runner.Outcome:
    identity = hashlib.sha256(json.dumps([self.scores.identity, group]).encode()).hexdigest()
    every = self.lab.settings.checkpoint_seconds
    legs = Legs(self.lab.run, self.name, identity, progress, every=every)
    number, count = place
    anchor = self.name in ANCHORS
    variables = bench.initial_variables() if anchor else self._originals(group)
    return runner.run(
      get(self.name),
      bench.problem,
      variables,
      **arguments(bench, self.name),
      on_leg=lambda leg: legs.take(
        leg._replace(wave=number, waves=count, members=slice(0, len(group)))
      ),
      resume=legs.resume(bench.problem.population),
    )

  def _keep(self, bench, group, outcome, pooled, compile_seconds):
    """Save originals, then append the scores of a group: the last thing that it writes."""
    population, start = bench.problem.population, time.perf_counter()
    if self.name == "original":
      path = self.lab.run.state_path(f"original-{len(self.scores.models):04}")
      known = files.plain(OriginalsRecord(self.name, tuple(group), outcome.failures))
      checkpoint.save(path, population.collect(outcome.variables), known)
    size = self.lab.settings.evaluation.batch_size
    logits = predictions.logits(population, bench.problem.task, pooled, outcome.variables, size)
    labels = self.lab.dataset.labels[self.lab.study.pool]
    self.scores.append(
      group,
      logit_scaled_confidence(logits, labels).astype(np.float32),
      logits.argmax(-1) == labels,
      outcome.failures,
      ShadowCost(
        models=len(group),
        wall_s=outcome.seconds,
        compile_s=compile_seconds + outcome.compile_seconds,
        predict_s=time.perf_counter() - start,
        passes=sum(outcome.passes),
      ),
    )
    leg_checkpoints.clear(self.lab.run, self.name)

  def _originals(self, group: list[Model]) -> Any:
    """Read the originals of a group of models, leaves [K, ...].

    Raises:
      StoreError: there is none of a model, although its scores say that it was trained.
    """
    wanted = [original_of(model, self.lab.settings) for model in group]
    found = {}
    for path in sorted(self.lab.run.path.glob("state/original-*")):
      metadata = checkpoint.describe(path).metadata
      known = typed_json.parse(OriginalsRecord, metadata, path / checkpoint.METADATA)
      if not set(wanted).isdisjoint(known.models):
        tree = checkpoint.load(path)[0]
        for row, model in enumerate(known.models):
          found[model] = jax.tree.map(lambda leaf, row=row: leaf[row], tree)
    if lost := [model for model in wanted if model not in found]:
      raise StoreError(
        f"{self.lab.run.path / 'state'} has no original model {lost[0]}; delete "
        f"{self.lab.scores('original').path} and run the same command again, which trains the "
        "originals anew"
      )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(found[model] for model in wanted))

  def _summary(self, trained: int) -> str:
    cost, failed = self.scores.cost, self.scores.failed(self.wanted).sum()
    right = self.scores.correct(self.wanted)
    note = f"; {failed} models turned non-finite" if failed else ""
    return (
      f"{trained} models trained, {len(self.wanted)} in all ({cost.wall_s:.1f} s, "
      f"+{cost.compile_s:.1f} s compiling): pool accuracy {right.mean():.3f}{note}"
    )


def part(bench: Bench, wave: Wave) -> Bench:
  """Return the bench of some members only."""
  members = wave.members
  return dataclasses.replace(
    bench,
    problem=waves.restrict(bench.problem, wave),
    keys=bench.keys[members],
    splits=bench.splits[members],
  )
