"""TinyViT: parameter table, leaf descriptions, initial values, stochastic depth, a small copy."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.models import structure, tinyvit
from jaxmu.models.cost import forward_flops
from jaxmu.models.tinyvit import Block, DropPath, MBConv

DEPTHS = (2, 2, 6, 2)
UNITS = [f"stage{stage}_{block}" for stage in range(4) for block in range(DEPTHS[stage])]


@functools.cache
def shapes(num_classes=10, image_size=32):
  image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
  return jax.eval_shape(models.make("tinyvit", num_classes).init, jax.random.key(0), image)


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


# The parameters


@pytest.mark.parametrize(
  ("num_classes", "total"), [(2, 10_548_870), (5, 10_550_217), (10, 10_552_462), (100, 10_592_872)]
)
def test_parameter_counts(num_classes, total):
  """Part by part, as data_models 5.1 lists them."""
  params = shapes(num_classes)["params"]
  parts = {name: count(part) for name, part in params.items()}
  assert parts == {
    "stem": 19_488,
    **dict.fromkeys(("stage0_0", "stage0_1"), 36_224),
    "stage0_merge": 26_496,
    **dict.fromkeys(("stage1_0", "stage1_1"), 199_876),
    "stage1_merge": 102_144,
    **{f"stage2_{i}": 794_144 for i in range(6)},
    "stage2_merge": 322_112,
    **dict.fromkeys(("stage3_0", "stage3_1"), 2_419_886),
    "norm": 896,
    "head": 449 * num_classes,
  }
  assert sum(parts.values()) == total
  stages = [sum(n for name, n in parts.items() if name.startswith(f"stage{s}")) for s in range(4)]
  assert stages == [98_944, 501_896, 5_086_976, 4_839_772]
  assert len(jax.tree.leaves(params)) == 215


@pytest.mark.parametrize(
  ("block", "attention", "mlp", "local"),
  [
    ("stage1_0", 66_500, 131_968, 1_408),
    ("stage2_0", 265_248, 526_080, 2_816),
    ("stage3_1", 806_190, 1_608_768, 4_928),
  ],
)
def test_parameters_of_a_block(block, attention, mlp, local):
  parts = {name: count(part) for name, part in shapes()["params"][block].items()}
  assert parts == {"attention": attention, "mlp": mlp, "local": local}


@pytest.mark.parametrize(("size", "maps"), [(32, [8, 4, 2, 1]), (224, [56, 28, 14, 7])])
def test_the_map_halves_from_stage_to_stage(size, maps):
  seen, module = [], models.make("tinyvit", 10)

  def watch(call, args, kwargs, context):
    if context.method_name == "__call__" and type(context.module) in (MBConv, Block):
      seen.append((context.module.name, args[0].shape[1:]))
    return call(*args, **kwargs)

  variables, image = shapes(), jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  with nn.intercept_methods(watch):
    out = jax.eval_shape(module.apply, variables, image)
  assert out.shape == (2, 10)
  widths = zip(maps, (64, 128, 256, 448), DEPTHS)
  wanted = [shape for side, width, depth in widths for shape in [(side, side, width)] * depth]
  assert seen == list(zip(UNITS, wanted))
  assert jax.tree.map(jnp.shape, shapes(image_size=size)) == jax.tree.map(jnp.shape, shapes())


def test_the_short_cut_is_eleven_times_cheaper():
  flops = [forward_flops(models.make("tinyvit", 10, padded=padded), 32, 3) for padded in (0, 1)]
  assert round(flops[0] / 1e9, 3) == 0.082
  assert round(flops[1] / flops[0]) == 11


# What each leaf is (methods 0.7)


def test_kinds_of_leaves():
  params = shapes()["params"]
  leaves = jax.tree.leaves(structure.describe(params, num_classes=10, channels=3))
  kinds = [leaf.kind for leaf in leaves]
  linear, norms = {"linear_w": 41, "linear_b": 41}, {"norm": 54 + 42}
  expected = {"conv": 27, "attn_bias": 10} | linear | norms
  assert {kind: kinds.count(kind) for kind in set(kinds)} == expected
  kernels = [p.shape for leaf, p in zip(leaves, jax.tree.leaves(params)) if leaf.kind == "conv"]
  assert sum(math.prod(shape) for shape in kernels) == 559_392
  assert sum(shape[:2] == (3, 3) for shape in kernels) == 17
  assert sum(shape[2] == 1 for shape in kernels) == 15  # depthwise
  tables = [p.shape for leaf, p in zip(leaves, jax.tree.leaves(params)) if leaf.kind == "attn_bias"]
  assert sorted(tables) == [(4, 49)] * 2 + [(8, 196)] * 6 + [(14, 49)] * 2


def test_stem_head_and_blocks():
  leaves = jax.tree.leaves(structure.describe(shapes()["params"], num_classes=10))
  assert [leaf.path for leaf in leaves if leaf.stem] == [("stem", "first", "conv", "kernel")]
  assert [leaf.path for leaf in leaves if leaf.head] == [("head", "bias"), ("head", "kernel")]
  blocks = {leaf.path[0]: leaf.block for leaf in leaves}
  uncounted = {"stem", "stage0_0", "stage0_1", "stage0_merge", "norm"}
  assert {name for name, block in blocks.items() if block == 0} == uncounted
  numbers = [leaf.block for leaf in leaves]
  assert [numbers.count(block) for block in (0, 1, 2, 3, None)] == [35, 41, 105, 32, 2]
  assert structure.num_blocks(shapes()["params"]) == 3


def test_rni_always_trains_the_54_batch_norm_leaves():
  """The pool of the other 161 holds every LayerNorm and every attention table."""
  always = jax.tree.leaves(structure.always_trained(**shapes()))
  leaves = jax.tree.leaves(structure.describe(shapes()["params"]))
  pool = [leaf.kind for leaf, in_all in zip(leaves, always) if not in_all]
  assert (sum(always), len(pool)) == (54, 161)
  kinds = ("conv", "norm", "linear_w", "linear_b", "attn_bias")
  assert [pool.count(kind) for kind in kinds] == [27, 42, 41, 41, 10]


# Initial values (data_models 5, point 9)


@pytest.fixture(scope="module")
def initial():
  return models.build("tinyvit", num_classes=10, image_size=32, key=jax.random.key(7))[1]


def test_initial_values(initial):
  params = initial["params"]
  described = structure.describe(params, num_classes=10)
  for leaf, value in zip(jax.tree.leaves(described), jax.tree.leaves(params)):
    value, name = np.asarray(value, np.float64), "/".join(leaf.path)
    if leaf.kind == "linear_w":
      assert abs(value.std() / 0.02 - 1) < 4 / np.sqrt(2 * value.size), name
      assert abs(value.mean()) < 5 * 0.02 / np.sqrt(value.size), name
    elif leaf.kind == "conv":
      bound = 1 / np.sqrt(math.prod(value.shape[:3]))
      assert 0.98 * bound < np.abs(value).max() <= bound * (1 + 1e-6), name
      assert abs(value.std() / bound - 1 / np.sqrt(3)) < 3 / np.sqrt(value.size), name
    elif leaf.path[-1] == "scale":
      closed = leaf.path[0] in ("stage0_0", "stage0_1") and leaf.path[1] == "reduce"
      np.testing.assert_array_equal(value, 0 if closed else 1, name)
    else:
      np.testing.assert_array_equal(value, 0, name)
  for path, value in jax.tree_util.tree_leaves_with_path(initial["batch_stats"]):
    np.testing.assert_array_equal(value, 1 if path[-1].key == "var" else 0)


def test_an_inverted_bottleneck_starts_as_a_gelu():
  x = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
  module = MBConv(drop_path=0.5)
  variables = module.init(jax.random.key(1), x, False)
  np.testing.assert_array_equal(module.apply(variables, x, False), tinyvit.gelu(x))
  options = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(2)}}
  trained, moved = module.apply(variables, x, True, **options)
  np.testing.assert_array_equal(trained, tinyvit.gelu(x))
  assert not np.allclose(moved["batch_stats"]["reduce"]["norm"]["mean"], 0)
  variables["params"]["reduce"]["norm"]["scale"] = jnp.ones(3)
  assert not np.allclose(module.apply(variables, x, False), tinyvit.gelu(x))


def test_gelu_is_the_exact_form(x64):
  """Values, both derivatives and tangents, against x Phi(x)."""
  x = jnp.linspace(-6, 6, 49)
  cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
  density = np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)
  first, second = cdf + x * density, (2 - np.square(x)) * density
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-14)
  close(tinyvit.gelu(x), x * cdf)
  close(jax.vmap(jax.grad(tinyvit.gelu))(x), first)
  close(jax.vmap(jax.grad(jax.grad(tinyvit.gelu)))(x), second)
  with models.forward_mode():
    close(jax.jvp(tinyvit.gelu, (x,), (jnp.cos(x),))[1], first * np.cos(x))


# Stochastic depth


def test_rates_rise_linearly_over_the_blocks():
  rates = {}

  def watch(call, args, kwargs, context):
    if context.method_name == "__call__" and type(context.module) is DropPath:
      rates.setdefault(context.module.path[0], []).append(context.module.rate)
    return call(*args, **kwargs)

  variables, image = shapes(), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  with nn.intercept_methods(watch):
    jax.eval_shape(models.make("tinyvit", 10).apply, variables, image)
  wanted = np.linspace(0, 0.1, 12)
  assert list(rates) == UNITS
  for number, (unit, found) in enumerate(rates.items()):
    assert len(found) == (1 if unit.startswith("stage0") else 2)
    np.testing.assert_allclose(found, wanted[number], rtol=1e-12)


def drop(rate, y, train=True, seed=0):
  return DropPath(rate).apply({}, y, train, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_branches_are_left_out_per_sample_and_keep_their_mean(rate):
  n = 20_000
  y = jax.random.normal(jax.random.key(1), (n, 2, 3))
  kept = np.asarray(drop(rate, y))
  gone = np.all(kept == 0, axis=(1, 2))
  np.testing.assert_array_equal(np.any(kept == 0, axis=(1, 2)), gone)  # all of a sample or nothing
  np.testing.assert_allclose(kept[~gone], y[~gone] / (1 - rate), rtol=1e-6)
  assert abs(gone.mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / n)
  means = np.asarray(drop(rate, jnp.ones((n, 1)))).mean()
  assert abs(means - 1) < 4 * math.sqrt(rate / (1 - rate) / n)
  assert not np.array_equal(kept, drop(rate, y, seed=1))
  np.testing.assert_array_equal(kept, drop(rate, y))


class Pair(nn.Module):
  """The two branches of a block."""

  @nn.compact
  def __call__(self, y):
    return [DropPath(0.5)(y, True) for _ in range(2)]


def test_the_branches_of_a_block_are_drawn_independently():
  n = 10_000
  one, two = Pair().apply({}, jnp.ones((n, 1)), rngs={"dropout": jax.random.key(0)})
  assert abs(np.corrcoef(one[:, 0], two[:, 0])[0, 1]) < 4 / math.sqrt(n)


def test_evaluation_and_rate_zero_drop_nothing_and_need_no_key():
  y = jnp.ones((3, 2))
  assert DropPath(0.5).apply({}, y, False) is y
  assert DropPath(0.0).apply({}, y, True) is y


# The network at small widths: the same code, compiled in seconds


IMAGES = np.random.default_rng(1).standard_normal((6, 32, 32, 3))
REAL = np.array([1.0, 1, 1, 1, 0, 0])


@pytest.fixture
def small(monkeypatch):
  """Return parameters and statistics, all random, of three stages of one narrow block."""
  monkeypatch.setattr(tinyvit, "WIDTHS", (4, 8, 8))
  monkeypatch.setattr(tinyvit, "DEPTHS", (1, 1, 1))
  monkeypatch.setattr(tinyvit, "HEADS", (None, 2, 2))
  monkeypatch.setattr(tinyvit, "WINDOWS", (None, 7, 3))
  tree = jax.eval_shape(models.make("tinyvit", 5).init, jax.random.key(0), IMAGES)
  rng = np.random.default_rng(0)
  draw = lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape))
  stats = jax.tree.map(lambda leaf: 1 + jnp.abs(draw(leaf)), tree["batch_stats"])
  return jax.tree.map(draw, tree["params"]), stats


def network(params, stats, x, mask=None, key=None, train=True, **options):
  module = models.make("tinyvit", 5, **options)
  return models.forward(module, params, stats, x, train=train, mask=mask, key=key)


def run(small, images, seed=0, **options):
  """Return logits of real samples, new statistics and gradients of a smooth function of them."""

  def loss(params, stats, x, key):
    logits, stats = network(params, stats, x, REAL, key, drop_path=0.5, **options)
    return jnp.sum(jnp.sin(logits[:4])), (logits[:4], stats)

  slopes, out = jax.jit(jax.grad(loss, has_aux=True))(*small, images, jax.random.key(seed))
  return *out, slopes


def assert_close(found, wanted):
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    assert a.dtype == jnp.float64
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, float(np.abs(b).max())))


@pytest.mark.slow
def test_training_with_the_padded_path_stock_convolutions_and_other_padding_samples(x64, small):
  """Logits, statistics and all gradients are those of the default; another key's are not."""
  wanted = run(small, IMAGES)
  assert_close(run(small, IMAGES, padded=True), wanted)
  assert_close(run(small, IMAGES, lowering="lax"), wanted)
  assert_close(run(small, np.concatenate([IMAGES[:4], 9 * IMAGES[4:]])), wanted)
  assert not np.allclose(run(small, IMAGES, seed=1)[0], wanted[0])


def test_forward_mode_reaches_through_the_whole_network(x64, small):
  """Whether it can be traced and lowered; the layers' own tests check tangents."""
  params, stats = small
  tangent = jax.jit(
    lambda p, x: jax.jvp(lambda p: network(p, stats, x, drop_path=0.0)[0], (p,), (p,))[1]
  )
  with models.forward_mode():
    (out,) = jax.tree.leaves(tangent.lower(params, IMAGES).out_info)
  assert (out.shape, out.dtype) == ((6, 5), jnp.float64)


def test_built_variables_follow_the_default_float_type(x64):
  leaves = jax.tree.leaves(
    jax.eval_shape(models.make("tinyvit", 5).init, jax.random.key(0), IMAGES)
  )
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float64")}


def test_training_without_a_key_is_refused(small):
  trace = lambda **options: jax.eval_shape(functools.partial(network, **options), *small, IMAGES)
  with pytest.raises(ModelError, match="dropout") as raised:
    trace()
  assert "\n" not in str(raised.value)
  assert trace(drop_path=0.0)[0].shape == trace(train=False)[0].shape == (6, 5)
