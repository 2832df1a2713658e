"""Prepared tensorflow-datasets folders: file order, cache, resizing, and doing without one."""

import builtins
import io
import json
import os
import socket

import numpy as np
import pytest
from PIL import Image

from jaxmu import data
from jaxmu.data import arrays, tfds_source
from jaxmu.errors import DataError

needs_data = pytest.mark.skipif(
  "TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set (prepared data sets)"
)
RNG = np.random.default_rng(0)


def feature(kind, **content):
  return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **content}


def write_folder(root, name, images, labels, *, ids=True, version="1.0.0", sizes=(9, 4)):
  """Write a tiny data set in tensorflow-datasets' layout, records shuffled, without TensorFlow."""
  from array_record.python.array_record_module import ArrayRecordWriter
  from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

  folder = root / name / version
  folder.mkdir(parents=True)
  size, channels = images.shape[1], images.shape[-1]
  dims = {"dimensions": [str(size), str(size), str(channels)]}
  features = {
    "image": feature("image_feature.Image", image={"dtype": "uint8", "shape": dims}),
    "label": feature("class_label_feature.ClassLabel", classLabel={"numClasses": "3"}),
  }
  if ids:
    features["id"] = feature("text_feature.Text", text={})
  spec = feature("features_dict.FeaturesDict", featuresDict={"features": features})
  (folder / "features.json").write_text(json.dumps(spec))
  (folder / "label.labels.txt").write_text("cat\ndog\nowl\n")
  splits, start = [], 0
  for part, count in zip(("train", "test"), sizes):
    file = folder / f"{name}-{part}.array_record-00000-of-00001"
    writer = ArrayRecordWriter(str(file), "group_size:4")
    order = RNG.permutation(count) if ids else range(count)
    for i in order:
      png = io.BytesIO()
      Image.fromarray(images[start + i].squeeze()).save(png, "PNG")
      values = {"image": png.getvalue(), "id": f"{part}_{i:05d}".encode()}
      entries = {
        key: tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[values[key]]))
        for key in ("image", "id")[: 1 + ids]
      }
      label = tf_feature_pb2.Int64List(value=[int(labels[start + i])])
      entries["label"] = tf_feature_pb2.Feature(int64_list=label)
      example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=entries))
      writer.write(example.SerializeToString())
    writer.close()
    splits.append(
      {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": part,
        "numBytes": "1",
        "shardLengths": [str(count)],
      }
    )
    start += count
  info = {"fileFormat": "array_record", "name": name, "splits": splits, "version": version}
  (folder / "dataset_info.json").write_text(json.dumps(info))
  return folder


COLOUR = RNG.integers(0, 256, (13, 32, 32, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (13, 28, 28, 1), dtype=np.uint8)
LABELS = np.arange(13) % 3


@pytest.fixture(autouse=True)
def offline(request, tmp_path, monkeypatch):
  """Refuse the network, and give each test that makes its own data a cache of its own."""

  def refuse(*_):
    raise AssertionError("the network was asked")

  monkeypatch.setattr(socket.socket, "connect", refuse)
  monkeypatch.setattr(socket, "getaddrinfo", refuse)
  if "real" not in request.node.name:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_records_come_in_the_order_of_their_ids(tmp_path, caplog, capfd):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  dataset = data.load("cifar10", data_dir=str(tmp_path))
  np.testing.assert_array_equal(dataset.images, COLOUR)
  np.testing.assert_array_equal(dataset.labels, LABELS)
  assert (dataset.num_train, dataset.class_names) == (9, ("cat", "dog", "owl"))
  assert (dataset.augmentation, dataset.channels) == ("crop_flip", 3)
  assert "group size" not in caplog.text + "".join(capfd.readouterr())


def test_grey_images_are_resized_once_and_stay_grey(tmp_path):
  write_folder(tmp_path, "mnist", GREY, LABELS, ids=False)
  dataset = data.load("mnist", data_dir=str(tmp_path))
  assert (dataset.images.shape, dataset.channels) == ((13, 32, 32, 1), 3)
  assert (dataset.mean, dataset.std) == ((0.1307,) * 3, (0.3081,) * 3)
  for image, original in zip(dataset.images[:10], GREY):
    expected = Image.fromarray(original[..., 0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image[..., 0], np.asarray(expected))


def test_newest_version_is_read_and_half_made_ones_are_not(tmp_path):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS, version="3.0.2")
  newest = write_folder(tmp_path, "cifar10", COLOUR, LABELS, version="3.0.10")
  (tmp_path / "cifar10" / "4.0.0").mkdir()
  write_folder(tmp_path, "cifar10", COLOUR, LABELS, version="incomplete.X_5.0.0")
  assert tfds_source.find("cifar10", str(tmp_path)) == newest


def test_folder_comes_from_the_argument_then_the_environment(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "a"))
  assert tfds_source.data_root("") == tmp_path / "a"
  assert tfds_source.data_root(str(tmp_path / "b")) == tmp_path / "b"
  monkeypatch.delenv("TFDS_DATA_DIR")
  assert tfds_source.data_root(None).name == "tensorflow_datasets"
  assert "~" not in str(tfds_source.data_root(None))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_absent_data_set_names_the_command(tmp_path, name):
  with pytest.raises(DataError) as caught:
    data.load(name, data_dir=str(tmp_path))
  message = str(caught.value)
  assert f"`python bin/prepare_data.py {name}`" in message
  assert "--config.data_dir or TFDS_DATA_DIR" in message
  assert str(tmp_path) in message
  assert "\n" not in message


def test_second_load_comes_from_the_cache(tmp_path, monkeypatch):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  first = data.load("cifar10", data_dir=str(tmp_path))
  monkeypatch.delattr(tfds_source, "_decode")
  second = data.load("cifar10", data_dir=str(tmp_path))
  assert second.sha256 == first.sha256
  assert second.class_names == first.class_names


def test_changed_files_are_read_again(tmp_path):
  folder = write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  data.load("cifar10", data_dir=str(tmp_path))
  for file in folder.iterdir():
    file.unlink()
  folder.rmdir()
  write_folder(tmp_path, "cifar10", COLOUR, (LABELS + 1) % 3)
  again = data.load("cifar10", data_dir=str(tmp_path))
  np.testing.assert_array_equal(again.labels, (LABELS + 1) % 3)


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_damaged_cache_is_made_again(tmp_path, damage):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  data.load("cifar10", data_dir=str(tmp_path))
  (cached,) = (tmp_path / "cache").rglob("*.npz")
  whole = cached.read_bytes()
  cached.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
  np.testing.assert_array_equal(data.load("cifar10", data_dir=str(tmp_path)).images, COLOUR)
  assert cached.stat().st_size == len(whole)


def test_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  np.testing.assert_array_equal(data.load("cifar10", data_dir=str(tmp_path)).images, COLOUR)


def test_torn_cache_write_leaves_nothing(tmp_path, monkeypatch):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)

  def full(*_, **__):
    raise OSError("No space left on device")

  monkeypatch.setattr(tfds_source.np, "savez", full)
  np.testing.assert_array_equal(data.load("cifar10", data_dir=str(tmp_path)).images, COLOUR)
  assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("file", ["cifar10-train.array_record-00000-of-00001", "features.json"])
def test_damaged_data_set_gives_one_line(tmp_path, file):
  folder = write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  whole = (folder / file).read_bytes()
  (folder / file).write_bytes(whole[: len(whole) // 3])
  with pytest.raises(DataError, match=r"cannot be read .*; remove that folder and run") as caught:
    data.load("cifar10", data_dir=str(tmp_path))
  assert "\n" not in str(caught.value)


def test_tensorflow_is_not_needed(tmp_path, monkeypatch):
  write_folder(tmp_path, "cifar10", COLOUR, LABELS)
  original = builtins.__import__

  def no_tensorflow(name, *rest, **options):
    if name.split(".")[0] == "tensorflow":
      raise ImportError(name)
    return original(name, *rest, **options)

  monkeypatch.setattr(builtins, "__import__", no_tensorflow)
  assert data.load("cifar10", data_dir=str(tmp_path)).num_train == 9


def test_resize_keeps_images_of_the_right_size_and_equals_pil_in_colour():
  assert tfds_source.resize(COLOUR, 32) is COLOUR
  small = tfds_source.resize(COLOUR[:2], 16)
  expected = Image.fromarray(COLOUR[1]).resize((16, 16), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(small[1], np.asarray(expected))


# the first labels of CIFAR's original training files
FIRST = {
  "cifar10": [6, 9, 9, 4, 1, 1, 2, 7, 8, 3],
  "cifar100": [19, 29, 0, 11, 1, 86, 90, 28, 23, 31],
}


@needs_data
@pytest.mark.parametrize(
  "name",
  ["mnist", "fashion_mnist", "cifar10", pytest.param("cifar100", marks=pytest.mark.slow)],
)
def test_real_data_sets(name):
  import tensorflow_datasets as tfds

  if tfds_source.find(name) is None:
    pytest.skip(f"{name} is not prepared in TFDS_DATA_DIR")
  info = tfds.builder_from_directory(tfds_source.find(name)).info
  dataset = data.load(name)
  assert dataset.num_train == info.splits["train"].num_examples
  assert len(dataset.labels) == dataset.num_train + info.splits["test"].num_examples
  assert dataset.images.shape[1:] == (32, 32, 3 if "cifar" in name else 1)
  assert dataset.num_classes == info.features["label"].num_classes
  assert np.bincount(dataset.labels, minlength=dataset.num_classes).min() > 0
  if name in FIRST:
    assert dataset.labels[:10].tolist() == FIRST[name]
    assert dataset.num_train == 50_000
    mean, _ = arrays.channel_statistics(dataset.images[: dataset.num_train])
    np.testing.assert_allclose(mean, dataset.mean, atol=2e-3)


@needs_data
def test_real_mnist_resized_equals_pil():
  import tensorflow_datasets as tfds

  if tfds_source.find("mnist") is None:
    pytest.skip("mnist is not prepared in TFDS_DATA_DIR")
  dataset = data.load("mnist")
  builder = tfds.builder_from_directory(tfds_source.find("mnist"))
  with tfds_source.quiet():
    records = builder.as_data_source(split="train").__getitems__(range(10))
  for record, image in zip(records, dataset.images):
    expected = Image.fromarray(record["image"][..., 0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image[..., 0], np.asarray(expected))
