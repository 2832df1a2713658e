"""One unit of work: train a group of members, observe them, and commit what the study keeps."""

import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.audit import member_row
from jaxmu.audit.attacks.scores import logit_scaled_confidence
from jaxmu.engine import compilation_cache
from jaxmu.engine.keys import stage_number
from jaxmu.engine.population import fold_keys, folded_keys
from jaxmu.execution import predictions, runner
from jaxmu.execution.accounting import WHOLE
from jaxmu.execution.capacity import capacity
from jaxmu.execution.compile_ahead import CompileAhead, Job
from jaxmu.execution.observations import Leg, Outcome
from jaxmu.execution.problem import Problem
from jaxmu.execution.progress import Progress
from jaxmu.execution.setup import Setup
from jaxmu.settings import Settings
from jaxmu.stopping import Stop
from jaxmu.store import states, unit_attempts
from jaxmu.store.group_folders import Kept
from jaxmu.store.groups import ROUND, Cost, GroupRecord, MemberRecord
from jaxmu.store.legs import Legs
from jaxmu.store.record import Record
from jaxmu.studies import given_models
from jaxmu.studies.study import Stage
from jaxmu.studies.units import Kind, Unit


class TooLarge(Exception):
  """A unit does not fit into memory; `fitting` members at once do, or may."""

  def __init__(self, unit: Unit, fitting: int, reason: str):
    super().__init__(reason)
    self.unit, self.fitting = unit, fitting


class Worker:
  """Works units on this process's devices."""

  def __init__(self, setup: Setup, record: Record, stop: Stop, ahead: CompileAhead):
    self.setup, self.record, self.stop, self.ahead = setup, record, stop, ahead
    self._coming: dict[tuple[str, Kind], Future[None]] = {}

  @property
  def settings(self) -> Settings:
    return self.setup.settings

  def announce(self, units: Sequence[Unit]) -> None:
    """Have programs of coming units compiled; those of one stage and kind have the same ones."""
    first = {_programs(unit): unit for unit in reversed(units)}
    for programs, unit in reversed(first.items()):
      if programs not in self._coming:
        self.setup.arrays(unit.stage.samples)  # placed here, once, for all threads
        self._coming[programs] = self.ahead.submit(lambda unit=unit: self._job(unit))

  def _job(self, unit: Unit) -> Job:
    return Job(
      unit.stage.method,
      self._problem(unit),
      self.setup.variable_shapes(len(unit.members)),
      hp=[member.hp for member in unit.members],
      fidelity=self.settings.fidelity,
      predicted=self.setup.arrays(unit.stage.samples),
      batch_size=self.settings.evaluation.batch_size,
    )

  def _problem(self, unit: Unit) -> Problem:
    sets = [member.sets for member in unit.members]
    return self.setup.problem(sets, unit.room, unit.stage.widths)

  def __call__(self, unit: Unit) -> None:
    """Train (or resume), predict, write and commit a unit.

    Raises:
      TooLarge: by prediction, or because the device ran out of memory.
      Interrupted: the process was asked to stop; the last leg is saved.
    """
    self.stop.check()
    if (coming := _programs(unit)) in self._coming:
      self._coming[coming].cancel()  # too late, unless it is begun
    progress = Progress(unit.stage.name, len(unit.members))
    folder = self.record.legs(unit.stage.name, unit.name)
    legs = Legs(folder, unit.identity, self.settings.checkpoint_seconds)
    problem = self._problem(unit)
    try:
      compiling = self._check_fits(unit, problem)
      with self.stop.deferring():  # to the commit: after the last leg there is nothing to save
        outcome = self._train(unit, problem, legs, progress)
        found = self._keep(unit, problem, outcome, legs, compiling)
      progress.line(_summary(*found))
      compilation_cache.publish()
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      raise TooLarge(unit, len(unit.members) // 2, "the device ran out of memory") from None
    finally:
      progress.close()

  def _check_fits(self, unit: Unit, problem: Problem) -> float:
    """Refuse a unit that will not fit; return the seconds spent on finding out."""
    if self.settings.population.members_at_once != "auto":
      return 0.0
    members = len(unit.members)
    found = capacity(
      unit.stage.method,
      problem,
      self.setup.variable_shapes(members),
      hp=[member.hp for member in unit.members],
      fidelity=self.settings.fidelity,
    )
    if found.at_once < members:
      wanted, limit = found.bytes / 1e9, found.limit / 1e9
      reason = f"{members} members would take {wanted:.1f} GB of the {limit:.1f} GB for them"
      raise TooLarge(unit, found.at_once, reason)
    return found.compile_seconds

  def _train(self, unit: Unit, problem: Problem, legs: Legs, progress: Progress) -> Outcome:
    stage, keys, resume = unit.stage, folded_keys([m.key for m in unit.members]), legs.resume()
    if resume is not None:
      progress.line(f"resuming after epoch {resume.epoch + 1}")
    elif stage.earlier:
      resume = states.load(self.record, stage.earlier[-1], [m.at for m in unit.members])
      if resume is None:
        progress.line(f"no state of {stage.earlier[-1]} is left; beginning with the first epoch")
    failed: tuple[str, ...] = ()
    if stage.parent is None:
      variables = given_models.variables(self.setup, problem.population, keys, unit.members)
    else:
      parents = [member.parent for member in unit.members]
      variables = self.record.variables(stage.parent, parents)
      if stage.frozen:
        before = self.record.members(stage.parent, parents)
        failed = tuple(_since(stage, member.failure) for member in before)
    return runner.run(
      stage.method,
      problem,
      variables,
      hp=[member.hp for member in unit.members],
      keys=fold_keys(keys, stage_number(stage.stream)),
      order_keys=_order_keys(stage, len(unit.members)),
      fidelity=self.settings.fidelity,
      on_leg=lambda leg: self._take(leg, legs, progress),
      resume=resume,
      span=stage.span,
      failed=failed,
    )

  def _take(self, leg: Leg, legs: Legs, progress: Progress) -> None:
    """Note a finished epoch; end here if the process was asked to stop."""
    progress.leg(leg)
    wanted = self.stop.wanted  # asked once: who is asked while a leg is noted saves the next one
    legs.take(leg, stopping=wanted)
    if wanted:
      self.stop.check()

  def _keep(
    self, unit: Unit, problem: Problem, outcome: Outcome, legs: Legs, compiling: float
  ) -> tuple[tuple[MemberRecord, ...], Cost]:
    """Predict, and commit what the stage keeps."""
    stage, keep, start = unit.stage, unit.stage.keep, time.perf_counter()
    logits = predictions.logits(
      problem.population,
      problem.task,
      self.setup.arrays(stage.samples),
      outcome.variables,
      self.settings.evaluation.batch_size,
    )
    cost = Cost(
      models=len(unit.members),
      wall_s=outcome.seconds,
      compile_s=compiling + outcome.compile_seconds,
      predict_s=time.perf_counter() - start,
      passes=sum(outcome.passes),
      steps=sum(row.steps for row in legs.curves if row.member == 0),
    )
    rows = self._rows(unit, logits, outcome)
    members = tuple(
      MemberRecord(one.at, one.identity, failure, passes, row)
      for one, failure, passes, row in zip(unit.expected, outcome.failures, outcome.passes, rows)
    )
    kept = Kept(
      variables=problem.population.collect(outcome.variables) if "variables" in keep else None,
      about={"stage": stage.name, "hyperparameters": [dict(m.hp) for m in unit.members]},
      logits=logits if "logits" in keep else None,
      scores=self._scores(stage, logits) if "scores" in keep else None,
      curves=legs.curves if "curves" in keep else None,
    )
    if outcome.state is not None:
      states.save(self.record, stage.name, unit.name, outcome.state)
    marker = GroupRecord(
      stage.name,
      unit.name,
      members,
      cost,
      {},
      socket.gethostname(),
      devices=len(problem.population.devices),
      job=unit_attempts.job_name(),
    )
    self.record.finish(marker, kept)
    return members, cost

  def _scores(self, stage: Stage, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = self.setup.dataset.labels
    labels = labels if stage.samples is None else labels[stage.samples]
    phi = logit_scaled_confidence(logits, labels).astype(np.float32)
    return phi, logits.argmax(-1) == labels

  def _rows(self, unit: Unit, logits: np.ndarray, outcome: Outcome) -> list[dict[str, Any]]:
    """Measure every member."""
    stage, dataset, sets = unit.stage, self.setup.dataset, [member.sets for member in unit.members]
    each = list(zip(logits, sets, outcome.failures, outcome.passes))
    rows = [member_row.accuracies(of, dataset.labels, own, stage.samples) for of, own, *_ in each]
    if "metrics" in stage.keep:
      more = (member_row.metrics(of, dataset, own, failure=f, passes=p) for of, own, f, p in each)
      rows = [row | dict(found) for row, found in zip(rows, more)]
    if "validation" in stage.keep:
      found = member_row.validation(logits, dataset.labels, sets)
      rows = [row | {"V_MIA": value} for row, value in zip(rows, found)]
    if stage.span != WHOLE:
      rows = [row | {"epochs_left": left} for row, left in zip(rows, outcome.left)]
    return rows


def _programs(unit: Unit) -> tuple[str, Kind]:
  return unit.stage.name, unit.kind


def _since(stage: Stage, failure: str) -> str:
  """Say in which stage a member failed, "" if it did not: the first of those before."""
  known = failure.startswith(f"{stage.method.name}{ROUND}")
  return failure if known or not failure else f"{stage.parent}: {failure}"


def _order_keys(stage: Stage, members: int) -> jax.Array | None:
  """Return the keys of batch orders, where all members share one."""
  if stage.order_seed is None:
    return None
  return jnp.repeat(jax.random.key(stage.order_seed)[None], members)


def _summary(members: tuple[MemberRecord, ...], cost: Cost) -> str:
  names = {"RA": "retain", "FA": "forget", "TA": "test"}
  means = {
    words: np.mean([member.row[name] for member in members])
    for name, words in names.items()
    if all(name in member.row for member in members)
  }
  failed = sum(bool(member.failure) for member in members)
  note = f"; {failed} members turned non-finite" if failed else ""
  accuracies = " ".join(f"{words} {value:.3f}" for words, value in means.items())
  return (
    f"{cost.models} members done in {cost.wall_s:.1f} s (+{cost.compile_s:.1f} s compiling): "
    f"accuracy {accuracies}{note}"
  )
