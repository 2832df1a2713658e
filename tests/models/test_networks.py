"""The networks: parameter counts, initial values, output shapes, what they refuse."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.kernels import derivatives


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes_of(name, num_classes, image_size=32, channels=3):
  module = models.make(name, num_classes)
  image = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), image)


@pytest.fixture(scope="module")
def resnet18():
  return models.build("resnet18", num_classes=10, image_size=32, key=jax.random.key(7))


@pytest.mark.parametrize(
  ("num_classes", "total"), [(2, 11_177_538), (5, 11_179_077), (10, 11_181_642), (100, 11_227_812)]
)
def test_resnet18_parameter_counts(num_classes, total):
  shapes = shapes_of("resnet18", num_classes)
  params = shapes["params"]
  assert count(params) == total
  assert count(params["stem"]["conv"]) == 9_408
  assert count(params["stem"]["norm"]) == 128
  for stage, expected in enumerate((147_968, 525_568, 2_099_712, 8_393_728), 1):
    assert sum(count(params[f"stage{stage}_{block}"]) for block in (0, 1)) == expected
  assert count(params["head"]) == 513 * num_classes
  assert count(shapes["batch_stats"]) == 9_600
  assert len(jax.tree.leaves(params)) == 62


@pytest.mark.parametrize(
  ("name", "total", "stages", "statistics"),  # totals are torchvision's
  [
    ("resnet34", 21_797_672, (221_952, 1_116_416, 6_822_400, 13_114_368), 17_024),
    ("resnet50", 25_557_032, (215_808, 1_219_584, 7_098_368, 14_964_736), 53_120),
  ],
)
def test_counts_of_larger_resnets(name, total, stages, statistics):
  shapes = shapes_of(name, 1000)
  assert count(shapes["params"]) == total
  for stage, expected in enumerate(stages, 1):
    blocks = [tree for name, tree in shapes["params"].items() if name.startswith(f"stage{stage}_")]
    assert count(blocks) == expected
  assert count(shapes["batch_stats"]) == statistics


def test_resnet18_initial_values(resnet18):
  params = resnet18[1]["params"]
  for kernel, std in (
    (params["stem"]["conv"]["kernel"], 0.02525),
    (params["stage1_0"]["first"]["conv"]["kernel"], 0.0589),
    (params["stage4_1"]["second"]["conv"]["kernel"], 0.02083),
    (params["stage2_0"]["shortcut"]["conv"]["kernel"], 0.125),
  ):
    # The standard error of a standard deviation is std / sqrt(2n); the quoted values have 3 digits.
    assert abs(float(kernel.std()) - std) < std * (4 / np.sqrt(2 * kernel.size) + 1e-3)
    assert abs(float(kernel.mean())) < 4 * std / np.sqrt(kernel.size)
  for leaf in jax.tree.leaves(params["head"]):
    assert float(jnp.abs(leaf).max()) <= 1 / np.sqrt(512)
  kernel = params["head"]["kernel"]
  assert abs(float(kernel.std()) - 1 / np.sqrt(3 * 512)) < 2e-3
  np.testing.assert_array_equal(params["stage3_0"]["second"]["norm"]["scale"], 1)
  np.testing.assert_array_equal(params["stage3_0"]["second"]["norm"]["bias"], 0)


def test_keys_give_distinct_and_repeatable_models():
  build = lambda seed: models.build(
    "cnn", num_classes=10, image_size=8, channels=1, width=4, key=jax.random.key(seed)
  )[1]["params"]["stem"]["conv"]["kernel"]
  np.testing.assert_array_equal(build(0), build(0))
  assert not np.array_equal(build(0), build(1))


def test_resnet18_dead_taps_have_exactly_zero_gradient(resnet18):
  module, variables = resnet18
  images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))

  @jax.jit
  def gradients(params):
    loss = lambda params: jnp.sum(
      models.forward(module, params, variables["batch_stats"], images, train=True)[0] ** 2
    )
    return jax.grad(loss)(params)

  found = gradients(variables["params"])
  dead = sum(
    int(np.sum(np.all(np.asarray(leaf) == 0, axis=(2, 3)))) * leaf.shape[2] * leaf.shape[3]
    for leaf in jax.tree.leaves(found)
    if leaf.ndim == 4
  )
  assert dead == 6_946_816
  tap = np.any(np.asarray(found["stage4_0"]["first"]["conv"]["kernel"]) != 0, axis=(2, 3))
  np.testing.assert_array_equal(tap, [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (12, 3), (28, 3), (32, 3)])
def test_cnn_takes_small_images(size, channels):
  shapes = shapes_of("cnn", 7, size, channels)
  assert shapes["params"]["head"]["kernel"].shape == (64, 7)
  # stem, three blocks, head: 32, 32, 64, 64 channels of 3x3 taps
  convs = 9 * (channels * 32 + 32 * 32 + 32 * 64 + 64 * 64)
  assert count(shapes["params"]) == convs + 2 * (32 + 32 + 64 + 64) + 64 * 7 + 7


def test_cnn_halves_the_map_while_it_has_four_pixels():
  module = models.make("cnn", 10, width=4)
  sizes = []

  def watch(call, args, kwargs, context):
    if context.method_name == "__call__" and type(context.module).__name__ == "Unit":
      sizes.append(args[0].shape[1])
    return call(*args, **kwargs)

  with nn.intercept_methods(watch):
    jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  assert sizes == [8, 4, 2, 2]


def test_cnn_can_memorise_random_labels():
  module, variables = models.build("cnn", num_classes=4, image_size=8, channels=1, width=8)
  images = jax.random.normal(jax.random.key(1), (48, 8, 8, 1))
  labels = jax.random.randint(jax.random.key(2), (48,), 0, 4)

  def loss(params, stats):
    logits, stats = models.forward(module, params, stats, images, train=True)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
    return -jnp.mean(picked), stats

  def step(_, state):
    params, stats, momentum = state
    gradient, stats = jax.grad(loss, has_aux=True)(params, stats)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradient)
    return jax.tree.map(lambda p, m: p - 0.05 * m, params, momentum), stats, momentum

  params, stats = variables["params"], variables["batch_stats"]
  state = (params, stats, jax.tree.map(jnp.zeros_like, params))
  params, stats, _ = jax.jit(lambda state: jax.lax.fori_loop(0, 150, step, state))(state)
  evaluate = jax.jit(lambda p, s: models.forward(module, p, s, images, train=False)[0])
  logits = evaluate(params, stats)
  assert float(jnp.mean(logits.argmax(1) == labels)) == 1.0


@pytest.mark.parametrize("lowering", ["lax", "canonical", "taps"])
def test_pinned_lowerings_agree(x64, lowering):
  module, variables = models.build("cnn", num_classes=5, image_size=8, channels=1, width=4)
  images = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
  run = lambda module: jax.jit(
    lambda v: models.forward(module, v["params"], v["batch_stats"], images, train=True)[0]
  )(variables)
  np.testing.assert_allclose(run(module.clone(lowering=lowering)), run(module), atol=1e-12)


def test_forward_mode_goes_through_a_network():
  module, variables = models.build("cnn", num_classes=5, image_size=8, channels=1, width=4)
  images = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
  run = lambda params: models.forward(module, params, variables["batch_stats"], images, train=True)[
    0
  ]
  params = variables["params"]
  with derivatives.forward_mode():
    _, tangent = jax.jit(lambda p: jax.jvp(run, (p,), (p,)))(params)
  shifted = jax.jit(lambda t: run(jax.tree.map(lambda p: (1 + t) * p, params)))
  finite = (shifted(1e-2) - shifted(-1e-2)) / 2e-2
  np.testing.assert_allclose(tangent, finite, atol=2e-2)


def test_unknown_names_and_options_are_refused():
  with pytest.raises(ModelError, match="unknown model 'resnet19'; did you mean 'resnet18'"):
    models.make("resnet19", 10)
  with pytest.raises(ModelError, match="unknown option 'widht' of cnn; did you mean 'width'"):
    models.make("cnn", 10, widht=3)


WRONG_NETWORKS = {
  "one class": ({"num_classes": 1}, "num_classes must be a whole number at least 2 and at most 65"),
  "4.5 classes": ({"num_classes": 4.5}, "num_classes must be a whole number, got 4.5"),
  "a truth": ({"num_classes": True}, "num_classes must be a whole number, got True"),
  "many classes": ({"num_classes": 10**9}, "at most 65536, got 1000000000"),
  "class names": (
    {"num_classes": ["a", "b"]},
    "num_classes must be a whole number, got ['a', 'b']",
  ),
  "no pixels": ({"image_size": 0}, "image_size must be a whole number at least 1 and at most 512"),
  "half a pixel": ({"image_size": 8.5}, "image_size must be a whole number, got 8.5"),
  "1 pixel": ({"image_size": 1}, "cnn got images of 1 x 1 pixels; expected 8 to 32: resize them"),
  "7 pixels": ({"image_size": 7}, "cnn got images of 7 x 7 pixels; expected 8 to 32"),
  "33 pixels": ({"image_size": 33}, "cnn got images of 33 x 33 pixels; expected 8 to 32"),
  "resnet18 at 4": (
    {"name": "resnet18", "image_size": 4},
    "resnet18 got images of 4 x 4 pixels; expected 8 to 512",
  ),
  "tinyvit at 20": (
    {"name": "tinyvit", "image_size": 20},
    "tinyvit got images of 20 x 20 pixels; expected 32 or 224",
  ),
  "no channels": ({"channels": 0}, "channels must be a whole number at least 1"),
  "channels text": ({"channels": "3"}, "channels must be a whole number, got '3'"),
  "no width": ({"width": 0}, "width must be a whole number at least 1 and at most 4096, got 0"),
  "width text": ({"width": "8"}, "width must be a whole number, got '8'"),
  "width beyond memory": ({"width": 60_000}, "width must be a whole number at least 1 and at most"),
  "text for a key": ({"key": "3"}, "key must be one key, such as jax.random.key(0); got '3'"),
  "seed -1": ({"key": -1}, "key must be a whole number at least 0 and at most 4294967295, got -1"),
  "two keys": (
    {"key": jax.random.split(jax.random.key(0))},
    "key must be one key, such as jax.random.key(0); got key<fry> of shape (2,)",
  ),
  "lowering": ({"lowering": "zzz"}, "unknown lowering 'zzz'; known: auto, canonical, dense, lax"),
  "measured lowering": ({"lowering": "lx"}, "unknown lowering 'lx'; did you mean 'lax'?"),
  "lowering list": ({"lowering": [("8x8x1", "lax")]}, "unknown lowering [('8x8x1', 'lax')]; known"),
  "lowering table": ({"lowering": (("8x8x1", "zzz"),)}, "unknown lowering 'zzz'; known: auto"),
  "lowering threes": (
    {"lowering": (("a", "b", "c"),)},
    "lowering must be a name or pairs (convolution, name), got (('a', 'b', 'c'),)",
  ),
  "drop path": (
    {"name": "tinyvit", "image_size": 32, "drop_path": 1.0},
    "drop_path must be a number at least 0 and below 1, got 1.0",
  ),
  "padded": (
    {"name": "tinyvit", "image_size": 32, "padded": "no"},
    "padded must be True or False, got 'no'",
  ),
  "no name": (
    {"name": None},
    "unknown model 'None'; known: cnn, resnet18, resnet34, resnet50, tinyvit, vit_b_16",
  ),
}


@pytest.mark.parametrize("case", WRONG_NETWORKS)
def test_numbers_that_make_no_network_are_refused(case):
  changes, message = WRONG_NETWORKS[case]
  with pytest.raises(ModelError) as caught:
    models.build(**{"name": "cnn", "num_classes": 4, "image_size": 8, "channels": 1} | changes)
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("name", "sizes", "others"),
  [("cnn", (8, 32), (7, 33)), ("resnet18", (), (7, 513)), ("tinyvit", (), (31, 64))],
)
def test_a_network_names_the_images_that_it_is_made_for(name, sizes, others):
  """At every door, not at `build` alone: it is asked where the network is traced."""
  module = models.make(name, 10)
  call = lambda size: jax.eval_shape(
    module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  )
  for size in sizes:
    call(size)
  for size in others:
    with pytest.raises(ModelError, match=f"{name} got images of {size} x {size} pixels; expected"):
      call(size)


def test_numbers_of_numpy_and_old_keys_are_taken():
  build = lambda **options: jax.eval_shape(lambda: models.build("cnn", channels=1, **options)[1])
  plain = build(num_classes=3, image_size=8, width=2)
  key = jax.random.PRNGKey(5)
  assert plain == build(num_classes=np.int64(3), image_size=np.uint8(8), width=np.int32(2), key=key)
