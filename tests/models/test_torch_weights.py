"""PyTorch state dicts go in and out by name."""

import jax
import numpy as np
import pytest
from support import golden_rules

from jaxmu import models
from jaxmu.errors import ModelError


@pytest.fixture(scope="module")
def state_dict():
  return golden_rules.resnet18_weights()


class Tensor:
  """Stand in for a torch tensor, which offers its values through these three calls only."""

  def __init__(self, values):
    self.values = values

  def detach(self):
    return self

  def cpu(self):
    return self

  def numpy(self):
    return self.values


WEIGHTS = {"resnet18": golden_rules.resnet18_weights, "tinyvit": golden_rules.tinyvit_weights}


@pytest.mark.parametrize("model", WEIGHTS)
def test_round_trip(model):
  state_dict = WEIGHTS[model]()
  variables = models.from_torch(model, state_dict)
  back = models.to_torch(model, variables)
  assert set(back) == set(state_dict)
  for name, array in state_dict.items():
    assert back[name].dtype == array.dtype
    np.testing.assert_array_equal(back[name], array)


def test_imported_variables_have_the_tree_of_a_built_model(state_dict):
  imported = models.from_torch("resnet18", state_dict)
  _, built = models.build("resnet18", num_classes=10, image_size=32)
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(imported) == shapes(built)
  stem = imported["params"]["stem"]["conv"]["kernel"]
  np.testing.assert_array_equal(stem[1, 2, 0, 5], state_dict["conv1.weight"][5, 0, 1, 2])


def test_imported_tinyvit_has_the_tree_of_a_built_model():
  weights = golden_rules.tinyvit_weights()
  imported = models.from_torch("tinyvit", weights)
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  built = jax.eval_shape(models.make("tinyvit", 10).init, jax.random.key(0), image)
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(imported) == shapes(built)
  block = imported["params"]["stage2_3"]
  name = "layers.2.blocks.3"
  kernel = weights[f"{name}.local_conv.c.weight"]
  np.testing.assert_array_equal(block["local"]["conv"]["kernel"][0, 2, 0, 7], kernel[7, 0, 0, 2])
  np.testing.assert_array_equal(
    block["attention"]["attention_biases"], weights[f"{name}.attn.attention_biases"]
  )
  np.testing.assert_array_equal(
    block["mlp"]["expand"]["kernel"][5, 3], weights[f"{name}.mlp.fc1.weight"][3, 5]
  )


def test_classes_tensors_and_absent_counters(state_dict):
  small = {k: v for k, v in state_dict.items() if "num_batches" not in k}
  small["fc.weight"] = Tensor(np.ones((3, 512), np.float32))
  small["fc.bias"] = np.zeros(3, np.float32)
  assert models.from_torch("resnet18", small)["params"]["head"]["kernel"].shape == (512, 3)


def test_refusals(state_dict):
  without = {k: v for k, v in state_dict.items() if k != "layer1.0.bn1.bias"}
  with pytest.raises(ModelError, match=r"missing layer1\.0\.bn1\.bias, unexpected nothing"):
    models.from_torch("resnet18", without)
  with pytest.raises(ModelError, match=r"missing fc\.weight"):
    models.from_torch("resnet18", {})
  with pytest.raises(ModelError, match="missing nothing, unexpected a, b, c and 1 more"):
    models.from_torch("resnet18", {**state_dict, **dict.fromkeys("abcd", np.zeros(1))})
  narrow = {**state_dict, "layer1.0.conv1.weight": np.zeros((64, 32, 3, 3))}
  with pytest.raises(ModelError, match=r"'layer1.0.conv1.weight' has shape \(64, 32, 3, 3\)"):
    models.from_torch("resnet18", narrow)
  with pytest.raises(ModelError, match=r"'conv1.weight' must have 4 axes, got \(64,\)"):
    models.from_torch("resnet18", {**state_dict, "conv1.weight": np.zeros(64)})
  vit = {k: v for k, v in golden_rules.tinyvit_weights().items() if not k.endswith("_biases")}
  message = r"fit tinyvit: missing layers\.1\.blocks\.0\.attn\.attention_biases, .* and 7 more"
  with pytest.raises(ModelError, match=message):
    models.from_torch("tinyvit", vit)
  with pytest.raises(ModelError, match="no PyTorch names are defined for model 'cnn'"):
    models.from_torch("cnn", state_dict)
