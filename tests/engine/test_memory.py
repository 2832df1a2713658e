"""Memory is linear in the number of members, and predicted before anything is allocated."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems

from jaxmu.engine import memory, runtime
from jaxmu.engine.memory import Memory
from jaxmu.engine.population import Population, nbytes
from jaxmu.execution import members, programs
from jaxmu.execution.capacity import capacity
from jaxmu.execution.runner import run
from jaxmu.unlearning import get

LAYOUTS = [(1, 1), (1, 2), (2, 1)]  # devices, chunk


def needs(name, members, devices=1, chunk=1, **options):
  """Ask for the capacity of a copy of a method, of which no program is compiled yet."""
  problem = problems.problem(members, devices=devices, chunk=chunk)
  method = dataclasses.replace(get(name))
  hp = [method.hyperparameters(problems.TABLE[name].small)] * members
  shapes = problem.population.shapes(problems.weights(range(members)))
  return capacity(method, problem, shapes, hp=hp, **options), problem, method, hp


def compiled_bytes(program):
  """Add up what XLA says of the executables that a program has."""
  (executable,) = program._compiled
  stats = executable.memory_analysis()
  results = stats.output_size_in_bytes - stats.alias_size_in_bytes
  return stats.argument_size_in_bytes + stats.temp_size_in_bytes + results


@pytest.mark.parametrize(("devices", "chunk"), LAYOUTS)
def test_a_small_population_predicts_a_large_one(devices, chunk):
  """From 2 chunks per device to 16 members per device, the epoch program's own numbers."""
  small, *_ = needs("ft", 2 * devices * chunk, devices, chunk)
  large, problem, method, hp = needs("ft", 16 * devices, devices, chunk)
  assert large.places == 16
  static = members.options(method, problem.task, hp, None)
  built = programs.build(problem.population, problem.task, method, static)
  originals = nbytes(problems.weights([0])) * 16
  real = originals + max(map(compiled_bytes, (built.prepare, *built.start, *built.epoch)))
  assert small.total(16) == pytest.approx(real, rel=0.02)
  assert large.bytes == pytest.approx(real, rel=1e-3)
  assert real > 1.5 * small.bytes  # there is something to predict


def test_the_bytes_of_a_place_are_those_of_the_live_arrays():
  who = Population(6, devices=tuple(jax.devices()[:2]))
  step = who.map(lambda state, constant, shared: (state + constant["a"] @ shared, state[:3] * 2))
  rng = np.random.default_rng(0)
  state, constant = rng.normal(size=(6, 50)), {"a": rng.normal(size=(6, 50, 40))}
  shared = who.share(np.ones(40, np.float32))
  place = lambda tree: who.place(jax.tree.map(lambda leaf: leaf.astype(np.float32), tree))
  state, constant = place(state), place(constant)
  predicted = memory.measure(step, *who.shapes((state, constant)), shared)
  live = jax.block_until_ready((*step(state, constant, shared), constant))
  assert predicted.per_place == pytest.approx(nbytes(live) / 6, rel=0.01)
  assert predicted.fixed >= shared.nbytes


def test_nothing_is_allocated_and_the_run_finds_its_programs_compiled():
  """The programs of `capacity` are the run's own: no trace and no compilation is repeated."""
  found, problem, method, hp = needs("scrub", 3)  # with a teacher, two phases' passes, a rewind
  static = members.options(method, problem.task, hp, None)
  built = programs.build(problem.population, problem.task, method, static)
  every = [built.prepare, *built.start, *built.epoch, built.rewind]
  assert found.compile_seconds == built.compile_seconds > 0
  before = [program.traces for program in every]
  assert all(before)
  variables = problems.weights(range(3))
  outcome = run(method, problem, variables, hp=hp, keys=jax.random.split(jax.random.key(0), 3))
  assert [program.traces for program in every] == before
  assert outcome.compile_seconds == 0


def test_a_huge_population_is_described_not_made():
  """A hundred thousand members would take terabytes; asking takes none of them."""
  who = Population(100_000, devices=tuple(jax.devices()[:1]))
  step = who.map(lambda state, constant, shared: (state + 1, ()))
  shapes = who.shapes(jax.ShapeDtypeStruct((100_000, 4_000_000), jnp.float32))
  assert memory.measure(step, shapes, (), ()).total(100_000) > 1.5e12


def test_fewer_members_at_once_where_the_limit_is_low():
  """The largest number whose prediction fits, in whole chunks on every device."""
  all_fit, *_ = needs("ft", 12, devices=2, chunk=2, limit=2**40)
  assert all_fit.at_once == 12
  for places, at_once in ((6, 12), (5, 8), (4, 8), (3, 4), (2, 4), (0, 4)):
    limit = all_fit.total(places)
    found, *_ = needs("ft", 12, devices=2, chunk=2, limit=limit)
    assert (found.at_once, found.limit) == (at_once, limit)


def test_the_line_and_its_inverse():
  line = Memory(fixed=100, per_place=7)
  assert [line.total(places) for places in (0, 1, 10)] == [100, 107, 170]
  assert [line.fitting(limit) for limit in (50, 106, 107, 169, 170)] == [0, 0, 1, 9, 10]


class Device:
  def __init__(self, limit):
    self.limit = limit

  def memory_stats(self):
    return None if self.limit is None else {"bytes_limit": self.limit, "bytes_in_use": 1}


def test_the_limit_is_the_smallest_device_s_or_a_share_of_the_machine(monkeypatch):
  assert memory.limit([Device(1000), Device(2000)]) == memory.HEADROOM * 1000
  monkeypatch.setattr(runtime.os, "sysconf", lambda name: 1000)  # pages, and bytes of a page
  assert runtime.physical_memory() == 1_000_000
  assert memory.limit([Device(None)] * 4) == memory.HEADROOM * 250_000
