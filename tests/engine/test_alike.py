"""Alike programs are compiled once; those that only look alike are not mixed up."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.engine import alike
from jaxmu.engine.population import Population

OPTIONS = None


@pytest.fixture
def compiled(monkeypatch):
  """Count compilations, with a table of its own."""
  count, real = [], alike._compile
  monkeypatch.setattr(alike, "_kept", type(alike._kept)())

  def counted(lowered, options):
    count.append(1)
    return real(lowered, options)

  monkeypatch.setattr(alike, "_compile", counted)
  return count


def lowered(function, *arguments):
  return jax.jit(function).lower(*arguments)


def test_equal_programs_of_different_functions_are_compiled_once(compiled):
  population, data = Population(2, devices=tuple(jax.devices()[:2])), np.ones((2, 3), np.float32)
  first = population.map(lambda state, constant, shared: (2 * state, ()))
  other = population.map(lambda state, constant, shared: (2 * state, ()))
  place = lambda: population.place(data)
  assert first.compile(place(), (), ()) is other.compile(place(), (), ())
  assert len(compiled) == 1
  np.testing.assert_array_equal(other(place(), (), ())[0], 2 * data)


def test_programs_that_read_other_arguments_are_told_apart(compiled):
  """Their text is the same: jax leaves out what a program does not read."""
  a, b = np.float32(1), np.float32(2)
  of_a, of_b = (lowered(function, a, b) for function in (lambda a, b: -a, lambda a, b: -b))
  assert of_a.as_text() == of_b.as_text()
  found = [alike.compile_once(each, OPTIONS)(a, b) for each in (of_a, of_b)]
  assert [float(each) for each in found] == [-1, -2]
  assert len(compiled) == 2


def test_programs_whose_arguments_have_other_names_are_told_apart(compiled):
  x = np.float32(3)
  by_a, by_b = lowered(lambda t: -t["a"], {"a": x}), lowered(lambda t: -t["b"], {"b": x})
  assert by_a.as_text() == by_b.as_text()
  assert float(alike.compile_once(by_a, OPTIONS)({"a": x})) == -3
  assert float(alike.compile_once(by_b, OPTIONS)({"b": x})) == -3
  assert len(compiled) == 2


@pytest.mark.parametrize("change", ["options", "devices", "constants"])
def test_what_the_text_does_not_say_tells_programs_apart(compiled, change):
  x, devices = np.ones(3, np.float32), jax.devices()
  if change == "constants":
    tables = [np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float32) + 1]
    pair = [lowered(lambda x, table=table: x + jnp.asarray(table), x) for table in tables]
  else:
    place = [0, 1] if change == "devices" else [0, 0]
    pair = [lowered(lambda x: x + 1, jax.device_put(x, devices[of])) for of in place]
  options = [None, {"xla_cpu_enable_fast_min_max": True} if change == "options" else None]
  first, second = (alike.compile_once(each, of) for each, of in zip(pair, options))
  assert first is not second
  assert len(compiled) == 2


def test_an_executable_that_nobody_holds_is_let_go(compiled):
  make = lambda: alike.compile_once(lowered(lambda x: x * 5, np.ones(3, np.float32)), OPTIONS)
  assert make() is not None
  make()
  assert len(compiled) == 2
  assert not alike._kept


def test_callbacks_are_never_shared(compiled):
  def told(x):
    return jax.pure_callback(lambda x: x + 1, jax.ShapeDtypeStruct((), np.float32), x)

  kept = [alike.compile_once(lowered(told, np.float32(1)), OPTIONS) for _ in range(2)]
  assert len(compiled) == len(kept) == 2


def test_where_jax_hides_what_it_keeps_nothing_is_shared(compiled, monkeypatch):
  monkeypatch.setattr(alike, "_devices", lambda lowered: [])
  x = np.ones(3, np.float32)
  kept = [alike.compile_once(lowered(lambda x: x - 7, x), OPTIONS) for _ in range(2)]
  assert len(compiled) == len(kept) == 2


def test_who_comes_second_waits_for_the_first(compiled, monkeypatch):
  begun, go, found, real = threading.Event(), threading.Event(), [], alike._compile

  def slowly(lowered, options):
    begun.set()
    assert go.wait(60)
    return real(lowered, options)

  monkeypatch.setattr(alike, "_compile", slowly)
  x = np.ones(4, np.float32)
  task = lambda: found.append(alike.compile_once(lowered(lambda x: x / 3, x), OPTIONS))
  threads = [threading.Thread(target=task) for _ in range(3)]
  for thread in threads:
    thread.start()
  assert begun.wait(60)
  go.set()
  for thread in threads:
    thread.join(60)
  assert len(compiled) == 1
  assert found[0] is found[1] is found[2]
