"""Checkpoints of one stacked pytree with metadata, through orbax (v1 API).

A checkpoint is a directory: an orbax checkpoint, and `metadata.json` with what the caller stored,
the tree of shapes and dtypes, a SHA-256 of the arrays, and size and SHA-256 of each of orbax's
files. `load` verifies the files before orbax opens them: orbax reads many at once, and what it
still reads when one fails would complain later, from another thread. A checkpoint is made beside
its final path and renamed, so it exists whole or not at all. On disk the tree is nested
dictionaries: the fields of named tuples and the positions of lists become keys. Dictionaries
without entries, which hold no array, are named in the metadata.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import files

if TYPE_CHECKING:
  pass

METADATA = "metadata.json"
_SEPARATOR = "/"


class Leaf(NamedTuple):
  """Shape and dtype of one array of a checkpoint."""

  shape: tuple[int, ...]
  dtype: str

  @property
  def nbytes(self) -> int:
    return int(np.prod(self.shape, dtype=np.int64)) * _dtype(self.dtype).itemsize


class Description(NamedTuple):
  """What a checkpoint holds: the caller's metadata, and leaves by name ("params/head/kernel").

  Attributes:
    empty: names of the dictionaries without entries ("batch_stats" of a network without BatchNorm).
    sha256: of all arrays, with their names, shapes and dtypes.
    files: size in bytes and SHA-256 of orbax's files, by their path inside the checkpoint.
  """

  metadata: dict[str, Any]
  leaves: dict[str, Leaf]
  empty: tuple[str, ...]
  sha256: str
  files: dict[str, tuple[int, str]]


def save(path: str | Path, tree: Any, metadata: Mapping[str, Any]) -> None:
  """Write a pytree of arrays and numbers, and JSON metadata; replace what is at `path`.

  Arrays may lie on any number of devices; typed PRNG keys are stored as their key data.

  Raises:
    CheckpointError: the folder cannot be written.
  """
  import orbax.checkpoint.experimental.v1 as ocp

  path = Path(path).absolute()
  leaves = _leaves(tree)
  document = {
    "metadata": metadata,
    "leaves": {name: {"shape": x.shape, "dtype": x.dtype.name} for name, x in leaves.items()},
    "empty": _empty(tree),
    "sha256": _digest(leaves),
  }
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    _sweep(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    context = ocp.Context()
    context.array.saving.use_compression = False  # weights shrink by 7 % and take 4 times as long
    with _quiet(), context:
      # Zarr cannot hold an array without entries; its shape and dtype in the metadata are enough.
      ocp.save(temporary, _nest({n: x for n, x in leaves.items() if x.size}))
    # Not synced: forcing gigabytes to disk stalls training for seconds. A kill cannot hurt (the
    # rename comes last), and what a power cut damages does not have its SHA-256.
    document["files"] = files.digests(temporary)
    files.write_json(temporary / METADATA, document, sync=False)
    remove(path)
    temporary.rename(path)
  except OSError as error:
    raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load(path: str | Path, like: Any = None) -> tuple[Any, dict[str, Any]]:
  """Read the tree (NumPy arrays, bit for bit as saved) and the metadata.

  Args:
    like: a pytree of arrays, shape structs or numbers; the result has its structure, and every
      leaf must have its shape and dtype. Without it, nested dictionaries.

  Raises:
    CheckpointError: absent, damaged, or not like `like`.
  """
  import orbax.checkpoint.experimental.v1 as ocp

  path = Path(path).absolute()
  description = describe(path)
  if like is not None:
    _check_like(path, description.leaves, like)
  try:
    files.verify(path, description.files)
    with _quiet():
      stored = ocp.load(path) if any(0 not in x.shape for x in description.leaves.values()) else {}
  except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
    raise _damaged(path, str(error).strip().partition("\n")[0] or type(error).__name__) from None
  leaves = _leaves(stored)
  for name, (shape, dtype) in description.leaves.items():
    if 0 in shape:
      leaves[name] = np.zeros(shape, _dtype(dtype))
  if _digest(leaves) != description.sha256:
    raise _damaged(path, "its arrays do not have the stored SHA-256")
  tree = _nest(leaves, description.empty) if like is None else _restore(leaves, like)
  return tree, description.metadata


def describe(path: str | Path) -> Description:
  """Read the metadata, shapes and dtypes without reading arrays or starting JAX.

  Raises:
    CheckpointError: absent or damaged.
  """
  path = Path(path)
  if not exists(path):
    raise CheckpointError(f"no checkpoint at {path}; run the same command again to make it")
  try:
    document = files.read_json(path / METADATA)
    leaves = {
      name: Leaf(tuple(leaf["shape"]), leaf["dtype"]) for name, leaf in document["leaves"].items()
    }
    empty = tuple(map(str, document["empty"]))
    stored = {name: (int(size), str(digest)) for name, (size, digest) in document["files"].items()}
    return Description(dict(document["metadata"]), leaves, empty, document["sha256"], stored)
  except (StoreError, KeyError, TypeError, ValueError, AttributeError):
    raise _damaged(path, f"{METADATA} cannot be read") from None


def exists(path: str | Path) -> bool:
  """Tell whether a whole checkpoint lies at `path`."""
  return (Path(path) / METADATA).is_file()


def _leaves(tree: Any) -> dict[str, np.ndarray]:
  """Return the leaves on the host by name, the same names for every type of container."""
  import jax

  named = {}
  for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    named[_name(key_path)] = np.ascontiguousarray(jax.device_get(leaf)).reshape(np.shape(leaf))
  return named


def _empty(tree: Any) -> list[str]:
  """Name the dictionaries of a tree that have no entries, and so no leaf that would recall them."""
  import jax

  vacant = lambda node: isinstance(node, Mapping) and not node
  nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=vacant)
  return [_name(key_path) for key_path, node in nodes if key_path and vacant(node)]


def _name(key_path: tuple) -> str:
  import jax

  return jax.tree_util.keystr(key_path, simple=True, separator=_SEPARATOR)


def _nest(leaves: Mapping[str, np.ndarray], empty: Sequence[str] = ()) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for name, leaf in [*leaves.items(), *((name, {}) for name in empty)]:
    *folders, last = name.split(_SEPARATOR)
    place = tree
    for folder in folders:
      place = place.setdefault(folder, {})
    place[last] = leaf
  return tree


def _restore(leaves: Mapping[str, np.ndarray], like: Any) -> Any:
  """Put the leaves into the structure of `like`; numbers become numbers and keys keys again."""
  import jax

  def restore(key_path, target):
    value = leaves[_name(key_path)]
    if isinstance(target, bool | int | float):
      return type(target)(value.item())
    if jax.dtypes.issubdtype(target.dtype, jax.dtypes.prng_key):
      known = isinstance(target, jax.Array)  # a shape struct hides its generator: the default one
      return jax.random.wrap_key_data(value, impl=jax.random.key_impl(target) if known else None)
    return value

  return jax.tree_util.tree_map_with_path(restore, like)


def _check_like(path: Path, stored: Mapping[str, Leaf], like: Any) -> None:
  import jax

  wanted = {_name(key_path): x for key_path, x in jax.tree_util.tree_leaves_with_path(like)}
  if missing := sorted(wanted.keys() ^ stored.keys()):
    where = "is not" if missing[0] in wanted else "is unexpectedly"
    raise CheckpointError(f"{path} does not fit: '{missing[0]}' {where} in it; {_ADVICE}")
  for name, x in wanted.items():
    if isinstance(x, bool | int | float):
      x = np.asarray(x)
    elif jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      x = jax.eval_shape(jax.random.key_data, x)
    found = stored[name]
    if (found.shape, found.dtype) != (tuple(x.shape), np.dtype(x.dtype).name):
      raise CheckpointError(
        f"{path} does not fit: '{name}' is {found.dtype}{list(found.shape)}, expected"
        f" {np.dtype(x.dtype).name}{list(x.shape)}; {_ADVICE}"
      )


_ADVICE = "delete it and run the same command again"


def _damaged(path: Path, reason: str) -> CheckpointError:
  return CheckpointError(f"checkpoint {path} is damaged ({reason}); {_ADVICE}")


def _digest(leaves: Mapping[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name, x in sorted(leaves.items()):
    digest.update(f"{name}:{x.dtype.name}{list(x.shape)};".encode())
    digest.update(x.reshape(-1).view(np.uint8))
  return digest.hexdigest()


def _dtype(name: str) -> np.dtype:
  """Return the dtype, also of the types that only accelerators know (bfloat16 ...)."""
  import ml_dtypes

  return np.dtype(getattr(ml_dtypes, name, name))


def remove(path: Path) -> None:
  """Rename, then delete: a kill in between leaves no half checkpoint under the name."""
  if path.exists():
    trash = path.with_name(f".{path.name}.tmp-old")
    shutil.rmtree(trash, ignore_errors=True)
    path.rename(trash)
    shutil.rmtree(trash)


def _sweep(path: Path) -> None:
  """Delete what killed writers left beside `path`."""
  for leftover in path.parent.glob(f".{path.name}.tmp*"):
    shutil.rmtree(leftover)


@contextmanager
def _quiet() -> Iterator[None]:
  """Keep orbax's log lines off the terminal, where they would cut through the progress bar."""
  from absl import logging

  level = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(level)
