"""PyTorch state dicts go in and out by name."""

import builtins
from collections import OrderedDict
from functools import partial

import jax
import numpy as np
import pytest
from support import golden_rules, torchvision_rules

from jaxmu import models
from jaxmu.errors import ModelError


@pytest.fixture(scope="module")
def state_dict():
  return golden_rules.resnet18_weights()


class Tensor:
  """Stand in for a torch tensor, which offers its values through these three calls only."""

  def __init__(self, values, dtype=None, requires_grad=False):
    self.values, self.dtype, self.requires_grad = values, dtype, requires_grad

  def detach(self):
    return Tensor(self.values, self.dtype)

  def cpu(self):
    return self

  def float(self):
    return Tensor(self.values)

  def numpy(self):
    if self.requires_grad:
      raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
    if self.dtype == "torch.bfloat16":
      raise TypeError("Got unsupported ScalarType BFloat16")
    return self.values


WEIGHTS = {"tinyvit": golden_rules.tinyvit_weights}
WEIGHTS |= {name: partial(torchvision_rules.weights, name) for name in torchvision_rules.SIZES}


@pytest.mark.parametrize("model", WEIGHTS)
def test_round_trip(model):
  state_dict = WEIGHTS[model]()
  variables = models.from_torch(model, state_dict)
  back = models.to_torch(model, variables, tensors=False)
  assert set(back) == set(state_dict)
  if model != "tinyvit":  # which is not torchvision's
    assert list(back) == list(state_dict)
  for name, array in state_dict.items():
    assert back[name].dtype == array.dtype
    np.testing.assert_array_equal(back[name], array)


def test_what_comes_back_is_ones_own(state_dict):
  back = models.to_torch("resnet18", models.from_torch("resnet18", state_dict), tensors=False)
  assert type(back) is OrderedDict
  assert all(array.flags.writeable and array.flags.c_contiguous for array in back.values())


@pytest.mark.parametrize("prefixes", [("module.",), ("_orig_mod.",), ("_orig_mod.", "module.")])
def test_prefixes_of_wrappers_are_taken_off(state_dict, prefixes):
  prefix = "".join(prefixes)
  wrapped = {prefix + name: array for name, array in state_dict.items()}
  plain, found = (models.from_torch("resnet18", given) for given in (state_dict, wrapped))
  jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_a_prefix_that_not_all_names_have_is_a_name(state_dict):
  wrapped = {f"module.{name}": array for name, array in state_dict.items()}
  with pytest.raises(ModelError, match=r"does not fit resnet18: missing fc\.weight"):
    models.from_torch("resnet18", {**wrapped, "epoch": np.ones(1)})


def test_a_whole_module_is_taken(state_dict):
  class Network:
    def state_dict(self):
      return OrderedDict((f"module.{name}", Tensor(array)) for name, array in state_dict.items())

  plain, found = (models.from_torch("resnet18", given) for given in (state_dict, Network()))
  jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_a_file_with_more_than_a_state_dict_is_refused(state_dict):
  message = "'model' is a mapping itself: give the state dict alone that lies in the file"
  with pytest.raises(ModelError, match=message):
    models.from_torch("resnet18", {"epoch": 3, "model": state_dict})


def test_tensors_without_pytorch_are_refused(state_dict, monkeypatch):
  variables, real = models.from_torch("resnet18", state_dict), builtins.__import__

  def without_torch(name, *args, **kwargs):
    if name == "torch":
      raise ModuleNotFoundError("No module named 'torch'")
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without_torch)
  with pytest.raises(ModelError, match="ask for NumPy arrays with tensors=False"):
    models.to_torch("resnet18", variables)


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
  small["fc.weight"] = Tensor(np.ones((3, 512), np.float32), requires_grad=True)
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


ONE = np.ones((64,), np.float32)
WRONG_ENTRIES = {  # of "bn1.weight"
  "nan": (ONE * np.nan, "holds NaN or infinity; expected the weights of a trained network"),
  "whole numbers": (ONE.astype(int), "is int64; expected float32"),
  "nothing": (None, "expected an array of numbers, got None"),
  "ragged": ([[1.0], [1.0, 2.0]], "list cannot be read as an array (setting an array"),
  "masked": (np.ma.array(ONE, mask=ONE > 0), "got a masked array, whose mask would be ignored"),
}


@pytest.mark.parametrize("half", [ONE.astype("f2"), Tensor(ONE, "torch.bfloat16")])
def test_entries_in_half_precision_are_widened(state_dict, half):
  found = models.from_torch("resnet18", {**state_dict, "bn1.weight": half})
  scale = found["params"]["stem"]["norm"]["scale"]
  np.testing.assert_array_equal(scale, ONE)
  assert scale.dtype == np.float32


@pytest.mark.parametrize("case", WRONG_ENTRIES)
def test_entries_that_are_no_weights_are_refused(state_dict, case):
  entry, message = WRONG_ENTRIES[case]
  with pytest.raises(ModelError) as caught:
    models.from_torch("resnet18", {**state_dict, "bn1.weight": entry})
  assert str(caught.value).startswith("state dict entry 'bn1.weight'")
  assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [None, [1, 2], "resnet18.pt", {0: ONE}])
def test_what_is_no_state_dict_is_refused(given):
  with pytest.raises(
    ModelError, match="state dict of resnet18 must map names to arrays, as torch_"
  ):
    models.from_torch("resnet18", given)


def test_one_class_is_none(state_dict):
  one = {**state_dict, "fc.weight": state_dict["fc.weight"][:1], "fc.bias": np.zeros(1, "f")}
  with pytest.raises(
    ModelError, match=r"of one class; expected at least 2 outputs, got \(1, 512\)"
  ):
    models.from_torch("resnet18", one)


def test_variables_of_another_network_do_not_become_a_state_dict(state_dict):
  variables = models.from_torch("resnet18", state_dict)
  with pytest.raises(ModelError, match=r"state dict does not fit resnet18: missing fc\.weight"):
    models.to_torch("resnet18", {"params": {"stem": variables["params"]["stem"]}})
  head = {"params": {**variables["params"], "other": {"kernel": ONE[None]}}}
  with pytest.raises(
    ModelError, match="variables hold params/other/kernel, which resnet18 does no"
  ):
    models.to_torch("resnet18", head)
  with pytest.raises(ModelError, match=r"missing .*running_mean.*unexpected nothing"):
    models.to_torch("resnet18", {"params": variables["params"]})
  with pytest.raises(ModelError, match="variables must be a mapping with 'params'"):
    models.to_torch("resnet18", None)
