"""Weights in files of several kinds fit a network leaf by leaf, or are refused by name."""

import sys
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
import orbax.checkpoint.experimental.v1 as ocp_v1
import pytest
from flax.traverse_util import flatten_dict

from jaxmu import models
from jaxmu.errors import CheckpointError, ModelError
from jaxmu.store import checkpoint, given_weights

_, CNN = models.build("cnn", num_classes=4, image_size=8, channels=1, width=4)
CNN = jax.tree.map(np.asarray, CNN)
FLAT = flatten_dict(CNN, sep="/")


def write_torch(path):
  arrays = models.to_torch("resnet18", RESNET, tensors=False)
  np.savez(path, **{name: array for name, array in arrays.items() if "batches" not in name})


def resnet(classes):
  module = models.make("resnet18", classes)
  return jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))


RESNET = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), resnet(3))
FORMS = {
  "npz": lambda path: np.savez(path, **FLAT),
  "checkpoint": lambda path: checkpoint.save(path, CNN, {}),
  "checkpoint of one": lambda path: checkpoint.save(path, jax.tree.map(lambda x: x[None], CNN), {}),
  "orbax": lambda path: ocp.PyTreeCheckpointer().save(path, CNN),
  "orbax v1": lambda path: ocp_v1.save(path, CNN),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_leaves_bit_for_bit(form, tmp_path):
  path = tmp_path / ("weights.npz" if form == "npz" else "weights")
  FORMS[form](path)
  found = given_weights.read(str(path), "cnn", CNN, whole=True)
  assert found.keys() == FLAT.keys()
  assert all(np.array_equal(found[name], FLAT[name]) for name in FLAT)
  assert len(given_weights.sha256(str(path))) == 64


def test_names_of_pytorch_are_read(tmp_path, monkeypatch):
  write_torch(tmp_path / "w.npz")
  found = given_weights.read(str(tmp_path / "w.npz"), "resnet18", RESNET, whole=True)
  assert found["params/stage1_0/first/conv/kernel"].shape == (3, 3, 64, 64)
  with np.load(tmp_path / "w.npz") as file:
    state_dict = dict(file)
  torch = types.ModuleType("torch")
  torch.load = lambda path, map_location, weights_only: {"state_dict": state_dict, "epoch": 3}
  monkeypatch.setitem(sys.modules, "torch", torch)
  (tmp_path / "w.pt").touch()
  same = given_weights.read(str(tmp_path / "w.pt"), "resnet18", RESNET, whole=True)
  assert all(np.array_equal(same[name], found[name]) for name in found)


def test_a_last_layer_of_other_classes_is_left_out_of_weights_to_start_from(tmp_path):
  write_torch(tmp_path / "w.npz")
  found = given_weights.read(str(tmp_path / "w.npz"), "resnet18", resnet(10), whole=False)
  wanted = set(flatten_dict(resnet(10), sep="/"))
  assert wanted - found.keys() == {"params/head/kernel", "params/head/bias"}
  with pytest.raises(
    ModelError, match=r"params/head/bias has shape .3,.; expected .10,., as resnet"
  ):
    given_weights.read(str(tmp_path / "w.npz"), "resnet18", resnet(10), whole=True)


def without(name):
  return {key: value for key, value in FLAT.items() if key != name}


WRONG = {
  "a leaf is absent": (
    without("params/stem/conv/kernel"),
    "lack params/stem/conv/kernel; expected",
  ),
  "a leaf too many": (
    FLAT | {"params/more": np.zeros(2)},
    "hold params/more; expected those of cnn",
  ),
  "another shape": (
    FLAT | {"params/stem/conv/kernel": np.zeros((3, 3, 1, 9), "f")},
    r"params/stem/conv/kernel has shape \(3, 3, 1, 9\); expected \(3, 3, 1, 4\), as cnn has it",
  ),
  "several models": (
    {name: np.stack([leaf] * 3) for name, leaf in FLAT.items()},
    "are those of 3 models; expected one",
  ),
  "not finite": (FLAT | {"params/stem/conv/kernel": np.full((3, 3, 1, 4), np.nan)}, "holds NaN or"),
  "names of PyTorch": (
    {"conv1.weight": np.zeros(3)},
    "no PyTorch names are defined for model 'cnn'",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_of_another_network_are_refused(name, tmp_path):
  arrays, message = WRONG[name]
  np.savez(tmp_path / "w.npz", **arrays)
  with pytest.raises(ModelError, match=message):
    given_weights.read(str(tmp_path / "w.npz"), "cnn", CNN, whole=True)


def test_what_is_no_file_of_weights_is_refused(tmp_path, monkeypatch):
  read = lambda name: given_weights.read(str(tmp_path / name), "cnn", CNN, whole=True)
  (tmp_path / "w.txt").touch()
  (tmp_path / "w.pth").write_bytes(b"x")
  (tmp_path / "folder").mkdir()
  with pytest.raises(
    CheckpointError, match=r"are of no known form; expected an .npz file, a file of"
  ):
    read("w.txt")
  with pytest.raises(CheckpointError, match="folder are no checkpoint of orbax: "):
    read("folder")
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(CheckpointError, match=r"are a file of PyTorch, which is not installed"):
    read("w.pth")
  with pytest.raises(CheckpointError, match=r"do not exist; expected an .npz file"):
    given_weights.sha256(str(tmp_path / "absent"))


def test_a_damaged_file_of_pytorch_is_refused(tmp_path, monkeypatch):
  torch = types.ModuleType("torch")
  torch.load = lambda *given, **more: 1 / 0
  monkeypatch.setitem(sys.modules, "torch", torch)
  (tmp_path / "w.pt").touch()
  with pytest.raises(CheckpointError, match="cannot be read by PyTorch: ZeroDivisionError"):
    given_weights.read(str(tmp_path / "w.pt"), "cnn", CNN, whole=True)


def test_the_hash_of_a_folder_is_that_of_its_files(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "deep" / "file").write_text("1")
  a, b = (str(tmp_path / name) for name in "ab")
  assert given_weights.sha256(a) == given_weights.sha256(b)
  (tmp_path / "b" / "deep" / "file").write_text("2")
  assert given_weights.sha256(a) != given_weights.sha256(b)
