"""More members than fit at once: one wave of them after another, through the same programs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxmu.engine.population import Wave
from jaxmu.execution import members, runner
from jaxmu.execution.observations import Leg, Outcome, Snapshot
from jaxmu.execution.runner import Problem
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables


class Kept(Protocol):
  """Where the results of finished waves are kept, so that a killed run need not repeat them."""

  def get(self, wave: Wave) -> Outcome | None:
    """Return what was put for these members, variables as NumPy arrays, or None."""

  def put(self, wave: Wave, outcome: Outcome) -> None:
    """Keep the result of these members."""


def run(
  method: Method,
  problem: Problem,
  variables: Variables | Callable[[Wave], Variables],
  *,
  hp: Sequence[Mapping[str, Any]],
  keys: jax.Array,
  at_once: int | None = None,
  order_keys: jax.Array | None = None,
  fidelity: str | None = None,
  draws: Mapping[str, Any] | None = None,
  on_leg: Callable[[Leg], None] = lambda leg: None,
  resume: Snapshot | None = None,
  kept: Kept | None = None,
) -> Outcome:
  """Run `method` for all members, at most `at_once` of them together.

  At chunk 1 the result does not depend on `at_once`, bit for bit. All waves share compiled
  programs.

  Args:
    variables: leaves [K, ...], or a function of a `Wave` that gives those of its members.
    at_once: largest number of members of a wave; None takes all, which is `runner.run`.
    on_leg: called after every epoch of every wave; `Leg.members` says whose it is.
    resume: a snapshot of one wave; taken up where there is a wave of the same members.
    kept: the results of finished waves; read and written where there is more than one.
    hp, keys, order_keys, fidelity, draws: as for `runner.run`, of all members.

  Returns:
    The outcome of all K members. After more than one wave its variables lie on the host.

  Raises:
    MethodError: as `runner.run`.
    UserError: `at_once` is below 1.
  """
  waves = problem.population.waves(at_once)
  members.options(method, problem.task, hp, fidelity)  # must agree between waves, too
  outcomes = []
  for number, wave in enumerate(waves):
    keeper = None if len(waves) == 1 else kept
    outcome = None if keeper is None else keeper.get(wave)
    if outcome is None:
      part = _cutter(wave, problem.population.size)
      outcome = runner.run(
        method,
        restrict(problem, wave),
        variables(wave) if callable(variables) else part(variables),
        hp=part(list(hp)),
        keys=part(keys),
        order_keys=part(order_keys),
        fidelity=fidelity,
        draws=part(dict(draws or {})),
        on_leg=_relay(on_leg, wave, number, len(waves)),
        resume=resume if resume is not None and _covers(resume, wave, len(waves)) else None,
      )
      if len(waves) > 1:  # only the host has room for all
        outcome = outcome._replace(variables=wave.population.collect(outcome.variables))
      if keeper is not None:
        keeper.put(wave, outcome)
    outcomes.append(outcome)
  return outcomes[0] if len(waves) == 1 else _joined(outcomes)


def _cutter(wave: Wave, size: int) -> Callable[[Any], Any]:
  """Return a function that takes the wave's members out of lists and trees of all members."""
  if wave.population.size == size:
    return lambda tree: tree
  return lambda tree: (
    tree[wave.members]
    if isinstance(tree, list)
    else jax.tree.map(lambda leaf: leaf[wave.members], tree)
  )


def restrict(problem: Problem, wave: Wave) -> Problem:
  """Return the problem of the members of one wave."""
  index = {name: positions[wave.members] for name, positions in problem.index.items()}
  return dataclasses.replace(problem, population=wave.population, index=index)


def _relay(
  on_leg: Callable[[Leg], None], wave: Wave, number: int, waves: int
) -> Callable[[Leg], None]:
  """Say of each leg, and in each snapshot, which members it is about."""
  ends = (wave.members.start, wave.members.stop)

  def relay(leg: Leg) -> None:
    snapshot = lambda: leg.snapshot()._replace(members=ends)
    on_leg(leg._replace(snapshot=snapshot, members=wave.members, wave=number, waves=waves))

  return relay


def _covers(resume: Snapshot, wave: Wave, waves: int) -> bool:
  """Tell whether a snapshot is of this wave; one that does not say so is of all members."""
  ends = (wave.members.start, wave.members.stop)
  return resume.members == ends if resume.members else waves == 1


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
  return Outcome(
    variables=jax.tree.map(
      lambda *leaves: np.concatenate(leaves), *(outcome.variables for outcome in outcomes)
    ),
    failures=sum((outcome.failures for outcome in outcomes), ()),
    seconds=sum(outcome.seconds for outcome in outcomes),
    compile_seconds=sum(outcome.compile_seconds for outcome in outcomes),
    passes=sum((outcome.passes for outcome in outcomes), ()),
  )
