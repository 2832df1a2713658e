"""From uint8 to the network's input: values, geometry, randomness, use inside compiled loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu.data import augment
from jaxmu.data.augment import PAD, Preprocess
from jaxmu.data.datasets import TRANSFORMS

PATTERN = np.array([0, 51, 102, 153, 204, 255, 0, 255, 51, 51, 51, 51, 255, 0, 0, 255], np.uint8)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (16, 32, 32, 3), dtype=np.uint8)  # no black pixel


def spec(name, **changes):
  """The transform of a data set, as the population gets it."""
  values = TRANSFORMS[name]
  repeat = 3 // len(values["mean"])
  made = Preprocess(values["mean"] * repeat, values["std"] * repeat, values["augmentation"], 3)
  return made._replace(**changes)


def naive_crop_flip(images, offsets, flips):
  """Pad, crop and mirror one pixel at a time."""
  count, height, width = images.shape[:3]
  out = np.zeros_like(images)
  for b in range(count):
    for i in range(height):
      for j in range(width):
        column = width - 1 - j if flips[b] else j
        y, x = i + offsets[b][0] - PAD, column + offsets[b][1] - PAD
        if 0 <= y < height and 0 <= x < width:
          out[b, i, j] = images[b, y, x]
  return out


# The pattern's first row (0, 51, 102, 153)/255 = (0, .2, .4, .6), normalised by hand
GOLDEN = {
  "mnist": [-0.424213, 0.224927, 0.874067, 1.523207],
  "fashion_mnist": [-0.810198, -0.243626, 0.322946, 0.889518],
  "cifar10": [-2.429066, -1.440435, -0.451804, 0.536826],
  "cifar100": [-1.897119, -1.148896, -0.400673, 0.347550],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values_of_a_pattern(name):
  channels = 1 if "mnist" in name else 3
  images = np.repeat(PATTERN.reshape(1, 4, 4, 1), channels, -1)
  x = augment.preprocess(spec(name), images, jax.random.key(0), False)
  assert (x.shape, x.dtype) == ((1, 4, 4, 3), jnp.float32)
  np.testing.assert_allclose(x[0, 0, :, 0], GOLDEN[name], atol=2e-6)
  mean, std = np.array(spec(name).mean), np.array(spec(name).std)
  np.testing.assert_allclose(x, (images / 255 - mean) / std, atol=1e-6)


def test_float64_is_computed_in_float64():
  with jax.enable_x64(True):
    x = augment.preprocess(spec("cifar10"), IMAGES, jax.random.key(0), True, jnp.float64)
    plain = augment.preprocess(spec("cifar10"), IMAGES, jax.random.key(0), False, jnp.float64)
  assert x.dtype == np.float64
  expected = (IMAGES / 255 - np.array(spec("cifar10").mean)) / np.array(spec("cifar10").std)
  np.testing.assert_allclose(plain, expected, rtol=1e-14, atol=1e-15)


def test_grey_images_become_three_equal_channels_before_normalising():
  grey = Preprocess((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "none", 3)
  x = augment.preprocess(grey, IMAGES[..., :1], jax.random.key(0), True)
  np.testing.assert_allclose(x[..., 0] - x[..., 2], 0.2, atol=1e-6)
  one = Preprocess((0.1,), (1.0,), "none", 1)
  assert augment.preprocess(one, IMAGES[..., :1], jax.random.key(0), True).shape[-1] == 1


def test_crop_flip_equals_a_naive_loop_for_all_offsets():
  images = RNG.integers(0, 256, (162, 6, 6, 3), dtype=np.uint8)
  offsets = np.array([(i, j) for i in range(9) for j in range(9)] * 2)
  flips = np.arange(162) < 81
  out = augment.crop_flip(jnp.asarray(images), jnp.asarray(offsets), jnp.asarray(flips))
  assert out.dtype == jnp.uint8
  np.testing.assert_array_equal(out, naive_crop_flip(images, offsets, flips))


def test_padding_is_black_before_normalisation():
  corner = jnp.zeros((16, 2), int)
  out = np.asarray(augment.crop_flip(jnp.asarray(IMAGES), corner, jnp.zeros(16, bool)))
  assert (out[:, :PAD] == 0).all()
  assert (out[:, :, :PAD] == 0).all()
  np.testing.assert_array_equal(out[:, PAD:, PAD:], IMAGES[:, :-PAD, :-PAD])
  x = augment.normalise(spec("cifar10"), out)
  np.testing.assert_allclose(x[0, 0, 0], -np.divide(*map(np.array, spec("cifar10")[:2])), rtol=1e-6)


def test_offsets_are_uniform_on_the_grid_and_flips_fair():
  count = 81_000
  offsets, flips = augment.draw(jax.random.key(7), count)
  cells = np.bincount(np.asarray(offsets) @ [9, 1], minlength=81)
  chi2 = ((cells - count / 81) ** 2 / (count / 81)).sum()
  assert len(cells) == 81
  assert 40 < chi2 < 130  # 80 degrees of freedom: mean 80, SD 12.6
  assert abs(flips.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
  quadrant = np.asarray(offsets[:, 0] > 3)
  assert abs(np.corrcoef(quadrant, np.asarray(flips))[0, 1]) < 4 / np.sqrt(count)


def test_flip_alone_moves_nothing():
  images = jnp.asarray(IMAGES[..., :1])
  x = augment.preprocess(spec("mnist"), images, jax.random.key(3), True)
  _, flips = augment.draw(jax.random.key(3), 16)
  assert 0 < flips.sum() < 16
  plain = augment.preprocess(spec("mnist"), images, jax.random.key(3), False)
  np.testing.assert_array_equal(x, jnp.where(flips[:, None, None, None], plain[:, :, ::-1], plain))


@pytest.mark.parametrize("changes", [{"augmentation": "none"}, {}])
def test_no_augmentation_means_the_image_itself(changes):
  x = augment.preprocess(spec("cifar10", **changes), IMAGES, jax.random.key(3), bool(changes))
  np.testing.assert_array_equal(x, augment.normalise(spec("cifar10"), IMAGES))


def test_randomness_follows_key_and_sample():
  same = np.repeat(IMAGES[:1], 16, 0)
  run = lambda seed: np.asarray(
    augment.preprocess(spec("cifar10"), same, jax.random.key(seed), True)
  )
  np.testing.assert_array_equal(run(0), run(0))
  assert (run(0) != run(1)).any()
  assert len(np.unique(run(0).reshape(16, -1), axis=0)) > 8


def test_augmentation_without_a_key_is_refused():
  with pytest.raises(ValueError, match="augmentation 'crop_flip' draws random numbers: give a key"):
    augment.preprocess(spec("cifar10"), IMAGES, None, True)
  assert augment.preprocess(spec("cifar10"), IMAGES, None, False).shape == IMAGES.shape


def test_vmap_and_scan_equal_single_calls():
  keys = jax.random.split(jax.random.key(0), 3)
  call = lambda key: augment.preprocess(spec("cifar10"), IMAGES, key, True)
  single = jnp.stack([call(key) for key in keys])
  np.testing.assert_allclose(jax.jit(jax.vmap(call))(keys), single, rtol=1e-6, atol=1e-6)
  _, scanned = jax.jit(lambda keys: jax.lax.scan(lambda _, key: (0, call(key)), 0, keys))(keys)
  np.testing.assert_allclose(scanned, single, rtol=1e-6, atol=1e-6)
