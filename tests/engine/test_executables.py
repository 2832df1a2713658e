"""Compiled programs give way before the operating system's memory maps run out."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

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


def test_threads_that_ask_for_one_program_make_it_once(system):
  program, made, barrier = Executables(), [], threading.Barrier(8)

  def make():
    made.append(Executable())
    time.sleep(0.05)  # so that the others come while it is being made
    return made[-1]

  def ask():
    barrier.wait(60)
    return program.find("a", make)

  with ThreadPoolExecutor(8) as pool:
    found = [each.result() for each in [pool.submit(ask) for _ in range(8)]]
  assert len(made) == 1
  assert all(each is made[0] for each in found)


def test_after_a_failure_whoever_waited_makes_it_himself(system):
  program, begun, go = Executables(), threading.Event(), threading.Event()

  def fail():
    begun.set()
    assert go.wait(60)
    raise RuntimeError("no")

  with ThreadPoolExecutor(2) as pool:
    failing = pool.submit(program.find, "a", fail)
    assert begun.wait(60)
    waiting = pool.submit(program.find, "a", Executable)
    go.set()
    assert isinstance(failing.exception(), RuntimeError)
    assert isinstance(waiting.result(), Executable)


def test_only_the_thread_that_waited_has_waited(system):
  program = Executables()
  with ThreadPoolExecutor(1) as pool:
    pool.submit(program.find, "a", Executable).result()
    assert pool.submit(lambda: program.waited.seconds).result() > 0
  program.find("a", pytest.fail)
  assert program.waited.seconds == 0


def test_many_threads_make_room_for_one_another(system, monkeypatch):
  """Tables change under those that walk them: nothing breaks, and everybody gets what he asks."""
  programs = [Executables() for _ in range(4)]
  turns = itertools.count()
  monkeypatch.setattr(executables, "crowded", lambda: next(turns) % 3 == 0)

  def work(number):
    for turn in range(300):
      Executables()
      name = (number * 7 + turn) % 11
      assert programs[turn % 4].find(name, lambda name=name: [name]) == [name]

  with ThreadPoolExecutor(8) as pool:
    for each in [pool.submit(work, number) for number in range(8)]:
      each.result()
  assert all(set(each.used) == set(each._kept) for each in programs)
