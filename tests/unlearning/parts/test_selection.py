"""Counts of masks: round(fraction * size), half to even, in float32 as in exact arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.models import build
from jaxmu.unlearning.parts.selection import count


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
