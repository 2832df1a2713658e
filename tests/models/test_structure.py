"""Leaf descriptions of this package's networks and of a user's."""

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models
from jaxmu.errors import ModelError
from jaxmu.models import structure


class Own(nn.Module):
  """A user's network with automatic names, two linear layers, a LayerNorm and a biased stem."""

  @nn.compact
  def __call__(self, x):
    for _ in range(11):
      x = nn.Conv(4, (3, 3))(x)
    x = nn.LayerNorm()(x.mean((1, 2)))
    for _ in range(10):
      x = nn.Dense(6)(x)
    return nn.Dense(7)(x)


def params_of(module, channels=3, size=32):
  image = jnp.zeros((1, size, size, channels))
  return jax.eval_shape(module.init, jax.random.key(0), image)["params"]


def described(params, **options):
  return jax.tree.leaves(structure.describe(params, **options))


RESNET18 = params_of(models.make("resnet18", 10))


def test_resnet18_kinds():
  leaves = described(RESNET18, num_classes=10)
  kinds = [leaf.kind for leaf in leaves]
  assert {kind: kinds.count(kind) for kind in set(kinds)} == {
    "conv": 20,
    "norm": 40,
    "linear_w": 1,
    "linear_b": 1,
  }
  sizes = jax.tree.map(
    lambda leaf, p: p.size * (leaf.kind == "conv"), structure.describe(RESNET18), RESNET18
  )
  assert sum(jax.tree.leaves(sizes)) == 11_166_912


def test_resnet18_stem_head_and_blocks():
  leaves = described(RESNET18)
  assert [leaf.path for leaf in leaves if leaf.stem] == [("stem", "conv", "kernel")]
  assert [leaf.path for leaf in leaves if leaf.head] == [("head", "bias"), ("head", "kernel")]
  blocks = [leaf.block for leaf in leaves]
  assert [blocks.count(block) for block in (0, 1, 2, 3, 4, None)] == [3, 12, 15, 15, 15, 2]
  assert structure.num_blocks(RESNET18) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_cnn_stem_head_and_blocks(channels):
  params = params_of(models.make("cnn", 10, width=3), channels, 8)
  leaves = described(params, num_classes=10)
  assert [leaf.path for leaf in leaves if leaf.stem] == [("stem", "conv", "kernel")]
  assert {leaf.path[0] for leaf in leaves if leaf.head} == {"head"}
  assert structure.num_blocks(params) == 3


def test_user_network_in_natural_order():
  params = params_of(Own())
  leaves = {leaf.path: leaf for leaf in described(params)}
  assert [path for path in leaves if leaves[path].head] == [
    ("Dense_10", "bias"),
    ("Dense_10", "kernel"),
  ]
  assert [path for path in leaves if leaves[path].stem] == [("Conv_0", "kernel")]
  assert leaves["Conv_0", "bias"].kind == "other"
  assert leaves["LayerNorm_0", "scale"].kind == leaves["LayerNorm_0", "bias"].kind == "norm"
  assert {leaf.block for leaf in leaves.values()} == {None}
  assert structure.num_blocks(params) == 0


def test_head_is_found_by_its_width_and_stem_by_its_channels():
  kernel = lambda *shape: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[-1])}
  params = {
    "body": kernel(3, 3, 8, 8),
    "entry": kernel(3, 3, 2, 8),
    "classifier": kernel(8, 5),
    "projector": kernel(8, 16),
  }
  leaves = described(params, num_classes=5, channels=2)
  assert {leaf.path[0] for leaf in leaves if leaf.head} == {"classifier"}
  assert {leaf.path[0] for leaf in leaves if leaf.stem} == {"entry"}
  with pytest.raises(ModelError, match="no linear layer has 6 outputs"):
    structure.describe(params, num_classes=6)


def test_networks_without_linear_layers_or_convolutions():
  leaves = described({"map": {"kernel": jnp.zeros((1, 1, 3, 5))}}, num_classes=5)
  assert not any(leaf.head for leaf in leaves)
  leaves = described({"out": {"kernel": jnp.zeros((3, 5))}}, num_classes=5)
  assert leaves[0].head
  assert not leaves[0].stem
  assert structure.stem_kernel({"out": {"kernel": jnp.zeros((3, 5))}}) is None


def test_attention_tables_and_unknown_leaves():
  params = {"attn": {"attention_biases": jnp.zeros((4, 49))}, "scalar": jnp.zeros(())}
  assert [leaf.kind for leaf in described(params)] == ["attn_bias", "other"]


def test_mask_and_map_leaves_keep_the_tree():
  params = flax.core.freeze(
    {"stem": {"kernel": jnp.ones((3, 3, 3, 2))}, "head": {"kernel": jnp.ones((2, 4))}}
  )
  chosen = structure.mask(params, lambda leaf: leaf.head, num_classes=4)
  assert jax.tree.structure(chosen) == jax.tree.structure(params)
  assert (chosen["stem"]["kernel"], chosen["head"]["kernel"]) == (False, True)
  double = lambda leaf, p, q: p + q if leaf.kind == "conv" else p
  doubled = structure.map_leaves(double, params, params)
  np.testing.assert_array_equal(doubled["stem"]["kernel"], 2)
  np.testing.assert_array_equal(doubled["head"]["kernel"], 1)


@pytest.mark.parametrize(
  ("name", "block"),
  [("stem", 0), ("stage0", 0), ("stage3", 3), ("stage12_1", 12), ("head", None), ("stages", None)],
)
def test_block_id(name, block):
  assert structure.block_id((name, "kernel")) == block


def test_resnet18_always_trains_its_34_main_batch_norm_leaves():
  """RNI's pool holds the other 28, the six of the shortcuts' BatchNorms among them."""
  image = jnp.zeros((1, 32, 32, 3))
  variables = jax.eval_shape(models.make("resnet18", 10).init, jax.random.key(0), image)
  always = jax.tree.leaves(structure.always_trained(**variables))
  pool = [leaf for leaf, in_all in zip(described(RESNET18), always) if not in_all]
  assert (sum(always), len(pool)) == (34, 28)
  kinds = [leaf.kind for leaf in pool]
  assert [kinds.count(kind) for kind in ("conv", "norm", "linear_w", "linear_b")] == [20, 6, 1, 1]
  assert all("shortcut" in leaf.path for leaf in pool if leaf.kind == "norm")


def test_layer_norms_and_networks_without_statistics_are_not_always_trained():
  norm = lambda: {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
  params = {"block": {"norm": norm(), "other": norm()}, "kernel": jnp.ones((3, 4))}
  stats = {"block": {"norm": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}}
  always = structure.always_trained(params, stats)
  assert always["block"]["norm"] == {"scale": True, "bias": True}
  assert always["block"]["other"] == {"scale": False, "bias": False}
  assert not any(jax.tree.leaves(structure.always_trained(params, {})))
