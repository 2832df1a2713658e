"""ViT-B/16: parameters, how it starts, what methods see of it, which images it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from support import torchvision_rules

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.models import structure
from jaxmu.models.cost import forward_flops
from jaxmu.models.vit import VisionTransformer


class Narrow(VisionTransformer):
  called = "narrow"
  width, depth, heads, hidden = 12, 3, 2, 20


def shapes_of(module, size=32):
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), image)


def test_parameters_and_multiply_adds_are_those_that_torchvision_states():
  module = models.make("vit_b_16", 1000)
  variables = shapes_of(module, 224)
  assert list(variables) == ["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 86_567_656
  assert forward_flops(module, 224, 3) / 2e9 == pytest.approx(17.564, abs=5e-4)


def test_leaves_by_role():
  params = shapes_of(models.make("vit_b_16", 10))["params"]
  leaves = jax.tree.leaves(structure.describe(params, 10))
  assert structure.num_blocks(params) == 12
  assert [leaf.path for leaf in leaves if leaf.stem] == [("stem", "conv", "kernel")]
  assert [leaf.path for leaf in leaves if leaf.head] == [("head", "bias"), ("head", "kernel")]
  assert [leaf.path for leaf in leaves if leaf.kind == "conv"] == [("stem", "conv", "kernel")]
  blocks, kinds = [leaf.block for leaf in leaves], [leaf.kind for leaf in leaves]
  assert [blocks.count(block) for block in (0, 1, 12, None)] == [6, 12, 12, 2]
  assert [kinds.count(kind) for kind in ("linear_w", "linear_b", "norm")] == [49, 49, 50]
  other = [leaf.path[1:] for leaf in leaves if leaf.kind == "other"]
  assert other == [("class_token",), ("conv", "bias"), ("pos_embedding",)]


def test_initial_values_are_distributed_as_torchvisions():
  module = Narrow(10)
  init = jax.vmap(module.init, in_axes=(0, None))
  params = init(jax.random.split(jax.random.key(3), 200), jnp.zeros((1, 32, 32, 3)))["params"]
  block = params["stage2"]
  glorot = lambda inputs, outputs: np.sqrt(2 / (inputs + outputs))
  for leaf, std in (
    (params["stem"]["conv"]["kernel"], 768**-0.5),
    (params["stem"]["pos_embedding"], 0.02),
    (block["attention"]["qkv"]["kernel"], glorot(12, 36)),
    (block["attention"]["proj"]["kernel"], 1 / np.sqrt(3 * 12)),
    (block["mlp"]["expand"]["kernel"], glorot(12, 20)),
    (block["mlp"]["expand"]["bias"], 1e-6),
    (block["mlp"]["reduce"]["kernel"], glorot(20, 12)),
  ):
    assert abs(float(leaf.std()) / std - 1) < 4 / np.sqrt(2 * leaf.size)
  zeros = [params["head"], params["stem"]["class_token"], params["stem"]["conv"]["bias"]]
  zeros += [block["attention"][name]["bias"] for name in ("qkv", "proj")]
  assert all(not leaf.any() for leaf in jax.tree.leaves(zeros))


def drawn(module):
  """Return random parameters: none starts at 0 or is small."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape)), shapes_of(module))


def by_hand(params, image):
  """Return the logits of one image [32, 32, 3], step by step."""

  def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

  linear = lambda p, x: x @ p["kernel"] + p["bias"]
  stem = params["stem"]
  patches = [image[i : i + 16, j : j + 16] for i in (0, 16) for j in (0, 16)]
  tokens = [np.einsum("hwi,hwio->o", patch, stem["conv"]["kernel"]) for patch in patches]
  x = np.stack([stem["class_token"][0, 0], *(tokens + stem["conv"]["bias"])])
  x = x + stem["pos_embedding"][0]
  for block in (params[f"stage{layer}"] for layer in (1, 2, 3)):
    attention, mlp = block["attention"], block["mlp"]
    qkv = linear(attention["qkv"], norm(attention["norm"], x)).reshape(5, 3, 2, 6)
    heads = []
    for q, k, v in (qkv[:, :, head].swapaxes(0, 1) for head in (0, 1)):
      weights = np.exp(q @ k.T / np.sqrt(6))
      heads.append(weights / weights.sum(1, keepdims=True) @ v)
    x = x + linear(attention["proj"], np.concatenate(heads, 1))
    y = linear(mlp["expand"], norm(mlp["norm"], x))
    x = x + linear(mlp["reduce"], y * (1 + scipy.special.erf(y / np.sqrt(2))) / 2)
  return linear(params["head"], norm(params["norm"], x[0]))


def test_a_narrow_copy_computes_what_is_computed_by_hand(x64):
  module, images = Narrow(10), np.random.default_rng(1).standard_normal((2, 32, 32, 3))
  params = drawn(module)["params"]
  found = jax.jit(lambda x: models.forward(module, params, {}, x, train=False)[0])(images)
  plain = jax.tree.map(np.asarray, params)
  np.testing.assert_allclose(found, [by_hand(plain, image) for image in images], rtol=1e-11)


def test_samples_never_meet():
  """So the mask of a padded batch is not needed."""
  module = Narrow(10)
  images = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
  params = drawn(module)["params"]
  assert models.takes_mask(module)
  run = jax.jit(lambda x, mask: models.forward(module, params, {}, x, train=True, mask=mask)[0])
  mask = jnp.array([1.0, 1, 0])
  wanted = run(images, mask)
  other = run(images.at[2].set(7.0), mask)
  np.testing.assert_array_equal(other[:2], wanted[:2])
  assert np.abs(other[2] - wanted[2]).max() > 1e-3


def test_images_that_it_is_not_made_for_are_refused():
  module = models.make("vit_b_16", 10)
  init = lambda *shape: jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape, 3)))
  with pytest.raises(ModelError, match="got images of 28 x 28 pixels; expected squares of 16, 32"):
    init(28, 28)
  with pytest.raises(ModelError, match="got images of 32 x 48 pixels; expected squares: crop or"):
    init(32, 48)
  params = init(32, 32)["params"]
  call = lambda x: models.forward(module, params, {}, x, train=False)
  message = r"got images of 48 x 48 pixels, and these variables are for 32 x 32: resize the images"
  with pytest.raises(ModelError, match=message):
    jax.eval_shape(call, jax.ShapeDtypeStruct((1, 48, 48, 3), jnp.float32))
  with pytest.raises(ModelError, match=r"needs images \[B, H, W, 3\], got an array of"):
    jax.eval_shape(
      lambda p, x: models.forward(module, p, {}, x, train=False),
      *(params, jax.ShapeDtypeStruct((48, 48, 3), jnp.float32)),
    )


@pytest.mark.parametrize("side", [16, 224])
def test_the_size_of_images_is_read_from_the_embedding_of_places(side):
  """Names and shapes alone: weights of the whole network are compared in test_torchvision."""
  found = models.torch_weights._names("vit_b_16", torchvision_rules.CLASSES, 3, side)
  expected = torchvision_rules.shapes("vit_b_16", side)
  assert list(found) == list(expected)
  assert found["encoder.pos_embedding"] == (
    ("params", "stem", "pos_embedding"),
    (1, 1 + (side // 16) ** 2, 768),
  )


def test_places_of_no_square_are_refused():
  state_dict = {
    "heads.head.weight": np.zeros((5, 768), np.float32),
    "conv_proj.weight": np.zeros((768, 3, 16, 16), np.float32),
    "encoder.pos_embedding": np.zeros((1, 7, 768), np.float32),
  }
  with pytest.raises(ModelError, match=r"'encoder.pos_embedding' has 7 places; expected those of"):
    models.from_torch("vit_b_16", state_dict)
  del state_dict["encoder.pos_embedding"]
  with pytest.raises(ModelError, match=r"does not fit vit_b_16: missing encoder\.pos_embedding"):
    models.from_torch("vit_b_16", state_dict)
