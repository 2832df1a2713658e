"""Counts of masks, half to even, in float32 as in exact arithmetic; and the smallest so many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.models import build
from jaxmu.unlearning.parts.selection import count, lost, smallest


def kernel_sizes():
  """Return the sizes of all convolution kernels of ResNet-18."""
  shapes = jax.eval_shape(lambda: build("resnet18", num_classes=10, image_size=32)[1]["params"])
  return sorted({int(np.prod(s.shape)) for s in jax.tree.leaves(shapes) if len(s.shape) == 4})


def test_counts_are_exact_for_every_kernel_of_resnet18_at_every_per_cent():
  """The sizes reach 2.4 million, where a float32 product has a spacing of a quarter."""
  fractions = np.arange(101) / 100
  sizes = kernel_sizes()
  assert sizes[-1] == 9 * 512 * 512
  for size in sizes:
    found = jax.jit(jax.vmap(lambda f, size=size: count(f, size)))(
      jnp.asarray(fractions, "float32")
    )
    wanted = [round(per_cent * size / 100) for per_cent in range(101)]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ("fraction", "size", "wanted"),
  [(0.125, 36, 4), (0.375, 36, 14), (0.5, 4097, 2048), (0.5, 4099, 2050), (0.25, 8194, 2048)],
)
def test_halves_go_to_the_even_count(fraction, size, wanted):
  assert int(count(jnp.float32(fraction), size)) == wanted == round(fraction * size)


def test_extreme_fractions_mark_nothing_and_everything():
  assert int(count(jnp.float32(0), 2359296)) == 0
  assert int(count(jnp.float32(1), 2359296)) == 2359296


def test_the_smallest_of_every_kernel_of_resnet18_are_as_many_as_asked_for():
  rates = np.array([0.0, 0.1, 0.3, 0.77, 1.0])
  chosen = jax.jit(
    jax.vmap(lambda g, rate: smallest(g, count(rate, g.size)).sum(), in_axes=(None, 0))
  )
  for size in kernel_sizes():
    values = jnp.asarray(np.random.default_rng(0).normal(size=size), jnp.float32)
    found = chosen(jnp.abs(values), jnp.asarray(rates, jnp.float32))
    assert found.tolist() == [round(rate * size) for rate in rates]


def test_half_of_an_odd_number_rounds_to_even():
  """0.125 of 36 is 4.5 and 0.375 of 36 is 13.5."""
  values = jnp.arange(36.0)
  assert smallest(values, count(0.125, 36)).sum() == 4
  assert smallest(values, count(0.375, 36)).sum() == 14


def test_ties_keep_stored_order():
  values = jnp.array([[0.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
  np.testing.assert_array_equal(smallest(values, 2), [[1, 0, 1], [0, 0, 0]])
  np.testing.assert_array_equal(smallest(values, 4), [[1, 0, 1], [1, 1, 0]])
  np.testing.assert_array_equal(smallest(values, 5), [[1, 1, 1], [1, 1, 0]])


def test_the_fraction_may_differ_between_members():
  rng = np.random.default_rng(0)
  values, rates = jnp.asarray(rng.uniform(size=(4, 3, 7))), jnp.array([0.0, 0.2, 0.55, 1.0])
  found = jax.jit(jax.vmap(lambda v, rate: smallest(v, count(rate, v.size))))(values, rates)
  for k, rate in enumerate(rates):
    flat = np.sort(np.asarray(values[k]).reshape(-1))
    below = np.isin(values[k], flat[: round(float(rate) * 21)])
    np.testing.assert_array_equal(found[k], below)


@pytest.mark.parametrize("wide", [False, True])
def test_what_a_number_loses_is_what_an_array_loses(wide):
  with jax.enable_x64(wide):
    for number in (0.1, 1 / 3, 0.5, 1e-12, 0.999999999):
      assert lost(number) == number - float(jnp.asarray(number, float))
