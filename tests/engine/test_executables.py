"""Compiled programs give way before the operating system's memory maps run out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.engine import executables
from jaxmu.engine.executables import Executables, make_room
from jaxmu.engine.population import Population


class Executable:
  """Stands for a compiled program: an object whose end can be seen."""


@pytest.fixture
def system(monkeypatch, tmp_path):
  """Return a function that sets memory maps in use, of 100; no other programs take part."""
  limit, maps = tmp_path / "limit", tmp_path / "maps"
  monkeypatch.setattr(executables, "LIMIT", limit)
  monkeypatch.setattr(executables, "MAPS", maps)
  monkeypatch.setattr(Executables, "every", set())
  limit.write_text("100\n")
  use = lambda count: maps.write_text("7f00-7f01 r-xp\n" * count)
  use(0)
  return use


def fill(names, program):
  for name in names:
    program.find(name, Executable)


def test_an_executable_is_made_once(system):
  program = Executables()
  first = program.find("a", Executable)
  assert program.find("a", pytest.fail) is first
  assert list(program) == [first]


def test_the_half_that_is_unused_for_longest_gives_way(system, monkeypatch):
  one, other = Executables(), Executables()
  fill("ab", one)
  fill("cd", other)
  fill("a", one)  # again: now b and c are the oldest
  answers = iter([True, False])
  monkeypatch.setattr(executables, "crowded", lambda: next(answers))
  fill("e", one)
  assert set(one.used) == {"a", "e"}
  assert set(other.used) == {"d"}
  assert (len(one), len(other)) == (2, 1)


@pytest.mark.parametrize(("maps", "kept"), [(25, 4), (26, 1)])
def test_more_than_a_quarter_of_all_maps_are_too_many(system, maps, kept):
  program = Executables()
  fill("abc", program)
  system(maps)
  fill("d", program)
  assert len(program) == kept


def test_a_system_without_such_a_limit_keeps_everything(system, monkeypatch, tmp_path):
  program = Executables()
  fill("abc", program)
  monkeypatch.setattr(executables, "LIMIT", tmp_path / "absent")
  make_room()
  assert len(program) == 3


@pytest.mark.skipif(not executables.MAPS.exists(), reason="counts memory maps as Linux lists them")
def test_a_program_gives_its_maps_back_and_compiles_again(monkeypatch):
  population = Population(2)
  program = population.map(lambda state, constant, shared: (jnp.sin(state) @ shared, ()))
  state, shared = np.arange(8.0, dtype=np.float32).reshape(2, 2, 2), np.eye(2, dtype=np.float32)
  run = lambda: np.asarray(program(population.place(state), (), population.share(shared))[0])
  count = lambda: len(executables.MAPS.read_bytes().splitlines())
  first, traced, full = run(), program.traces, count()
  monkeypatch.setattr(executables, "SHARE", 0)
  monkeypatch.setattr(Executables, "every", {program._compiled})
  make_room()
  assert len(program._compiled) == 0
  assert count() < full
  np.testing.assert_array_equal(run(), first)
  assert program.traces == 2 * traced
