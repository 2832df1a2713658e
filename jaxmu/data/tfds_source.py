"""Read prepared tensorflow-datasets folders (array_record) without TensorFlow or a network.

The folder is found here rather than by `tfds.builder`, which asks the network about a data set that
is absent and retries for minutes. Decoding takes seconds, so the arrays are kept in a cache of the
user.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmu.engine.runtime import cache_home
from jaxmu.errors import DataError

LAYOUT = 2  # of the cache files; raise it when what they hold changes
COARSE = "coarse_label"
NOISE = ("was created with group size", "OpenCV is not installed")  # about speed only


@dataclass(frozen=True, eq=False)
class Source:
  """Hold a decoded data set: train samples first, then test, each in the original file order."""

  images: np.ndarray  # uint8 [N, size, size, channels]
  labels: np.ndarray  # int64 [N]
  num_train: int
  class_names: tuple[str, ...]
  coarse: np.ndarray | None = None  # int64 [N], superclass of each sample (CIFAR-100)
  coarse_names: tuple[str, ...] = ()


def data_root(data_dir: str | None) -> Path:
  """Choose the folder of prepared sets: `data_dir`, else TFDS_DATA_DIR, else TFDS's default."""
  given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return Path(given).expanduser()


def find(name: str, data_dir: str | None = None) -> Path | None:
  """Find the newest prepared version of a data set, as a folder; None where there is none."""
  versions = [path.parent for path in (data_root(data_dir) / name).glob("*/dataset_info.json")]
  numbered = [path for path in versions if path.name.replace(".", "").isdecimal()]
  return max(numbered, key=lambda path: [int(p) for p in path.name.split(".")], default=None)


def read(name: str, data_dir: str | None = None, *, image_size: int) -> Source:
  """Read a prepared data set at `image_size`; raise `DataError` where it is absent or damaged."""
  folder = find(name, data_dir)
  if folder is None:
    raise DataError(
      f"data set '{name}' is not prepared in {data_root(data_dir)}; run `python "
      f"bin/prepare_data.py {name}` where there is a network, or point --config.data_dir or "
      "TFDS_DATA_DIR at a folder that has it"
    )
  cache = _cache_path(name, folder, image_size)
  source = _from_cache(cache)
  if source is None:
    source = _decode(name, folder, image_size)
    _to_cache(cache, source)
  return source


def prepare(name: str, data_dir: str | None = None) -> Path:
  """Download a data set and write it as array_record; needs TensorFlow and a network.

  Returns the folder written. Raises `DataError` where the download or the preparation fails.
  """
  import tensorflow_datasets as tfds

  root = data_root(data_dir)
  try:
    builder = tfds.builder(name, data_dir=root, file_format="array_record")
    builder.download_and_prepare()
  except (OSError, RuntimeError, ValueError, AssertionError, tfds.download.DownloadError) as error:
    raise DataError(
      f"data set '{name}' could not be prepared in {root} ({_brief(error)}); check the network and "
      "that the folder can be written, then run this again"
    ) from error
  return Path(builder.data_dir)


def resize(images: np.ndarray, size: int) -> np.ndarray:
  """Resize uint8 images [N, H, W, C] to [N, size, size, C]: PIL bilinear with 8-bit rounding."""
  if images.shape[1:3] == (size, size):
    return images
  from PIL import Image

  grey = images.shape[-1] == 1
  resized = [
    np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BILINEAR))
    for x in (images[..., 0] if grey else images)
  ]
  return np.stack(resized)[..., None] if grey else np.stack(resized)


def _decode(name: str, folder: Path, image_size: int) -> Source:
  with quiet():
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder_from_directory(folder)
      if not builder.is_prepared():
        raise ValueError("its preparation was not completed")
      parts = [_decode_part(builder, part, image_size) for part in ("train", "test")]
    except (OSError, RuntimeError, ValueError, IndexError, KeyError) as error:
      raise DataError(
        f"data set '{name}' in {folder} cannot be read ({_brief(error)}); remove that folder and "
        f"run `python bin/prepare_data.py {name}`"
      ) from error
    images, labels, coarse = (
      None if joined[0] is None else np.concatenate(joined) for joined in zip(*parts)
    )
    features = builder.info.features
    return Source(
      images=images,
      labels=labels,
      num_train=len(parts[0][0]),
      class_names=tuple(features["label"].names),
      coarse=coarse,
      coarse_names=() if coarse is None else tuple(features[COARSE].names),
    )


def _decode_part(
  builder, part: str, image_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Decode one split. CIFAR records are shuffled, but `id` gives their place in the original."""
  records = builder.as_data_source(split=part)
  examples = records.__getitems__(range(len(records)))
  if "id" in examples[0]:
    examples.sort(key=lambda example: example["id"])
  images = np.stack([example["image"] for example in examples])
  of_all = lambda name: np.array([example[name] for example in examples])
  coarse = of_all(COARSE) if COARSE in examples[0] else None
  return resize(images, image_size), of_all("label"), coarse


def _brief(error: BaseException) -> str:
  """Give the type of an error and the first line of what it says."""
  return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Drop the log lines about reading speed: array_record reports its group size as an error."""
  logger = logging.getLogger("absl")
  drop = lambda record: not any(text in record.getMessage() for text in NOISE)
  logger.addFilter(drop)
  try:
    yield
  finally:
    logger.removeFilter(drop)


def _cache_path(name: str, folder: Path, image_size: int) -> Path:
  """Name the cache file after all that decides its content, so that it can never be stale."""
  stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.iterdir())]
  key = json.dumps([LAYOUT, name, folder.name, image_size, stats])
  digest = hashlib.sha256(key.encode()).hexdigest()[:16]
  return cache_home() / "data" / f"{name}-{folder.name}-{digest}.npz"


def _from_cache(path: Path) -> Source | None:
  """Load a cached data set; None where it is absent or damaged, as it can be made again."""
  try:
    with path.open("rb") as stream, np.load(stream) as saved:
      return Source(
        images=saved["images"],
        labels=saved["labels"],
        num_train=int(saved["num_train"]),
        class_names=tuple(str(name) for name in saved["class_names"]),
        coarse=saved.get("coarse"),
        coarse_names=tuple(str(name) for name in saved["coarse_names"]),
      )
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None


def _to_cache(path: Path, source: Source) -> None:
  """Save atomically; a cache that cannot be written (read-only home, full disk) is done without."""
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
      temporary = Path(file.name)
      np.savez(file, **{name: value for name, value in vars(source).items() if value is not None})
    temporary.replace(path)
  except OSError:
    if temporary is not None:
      temporary.unlink(missing_ok=True)
