"""Checkpoints of one stacked pytree with metadata, through orbax (v1 API).

A checkpoint is a directory: an orbax checkpoint, and `metadata.json` with what the caller stored,
the tree of shapes and dtypes, a SHA-256 of the arrays, size and SHA-256 of each of orbax's files,
and its own SHA-256. `load` verifies the files before orbax opens them: orbax reads many at once,
and what it still reads when one fails would complain later, from another thread. A checkpoint is
made beside its final path and renamed, so it exists whole or not at all. On disk the tree is nested
dictionaries: the fields of named tuples and the positions of lists become keys. Dictionaries
without entries, which hold no array, are named in the metadata.
"""

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmu import stopping
from jaxmu.errors import CheckpointError, StoreError
from jaxmu.store import attempts, files, named_leaves, private_names

METADATA = "metadata.json"
_SIGNS = {
  sign: os.strerror(number)
  for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
  for sign in (os.strerror(number), f"OS error {number}:")
} | {"RESOURCE_EXHAUSTED": os.strerror(errno.ENOSPC)}


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
  path = Path(path).absolute()
  leaves = named_leaves.leaves(tree)
  document = {
    "metadata": metadata,
    "leaves": {name: {"shape": x.shape, "dtype": x.dtype.name} for name, x in leaves.items()},
    "empty": named_leaves.empty(tree),
    "arrays": _digest(leaves),
  }
  _sweep(path)
  with _writing(path), _attempt(path) as made:
    _check_space(made.parent, sum(x.nbytes for x in leaves.values()))
    _save_arrays(made, {name: x for name, x in leaves.items() if x.size})
    # Not synced: forcing gigabytes to disk stalls training for seconds. A kill cannot hurt (the
    # rename comes last), and what a power cut damages does not have its SHA-256.
    document["files"] = files.digests(made)
    files.write_sealed(made / METADATA, document, sync=False)
    while not attempts.renamed(made, path):  # another writer may put its own in between
      remove(path)


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
    with _orbax():
      stored = ocp.load(path) if any(0 not in x.shape for x in description.leaves.values()) else {}
  except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
    raise _damaged(path, str(error).strip().partition("\n")[0] or type(error).__name__) from None
  leaves = named_leaves.leaves(stored)
  for name, (shape, dtype) in description.leaves.items():
    if 0 in shape:
      leaves[name] = np.zeros(shape, _dtype(dtype))
  if _digest(leaves) != description.sha256:
    raise _damaged(path, "its arrays do not have the stored SHA-256")
  if like is None:
    return named_leaves.nest(leaves, description.empty), description.metadata
  return named_leaves.restore(leaves, like), description.metadata


def describe(path: str | Path) -> Description:
  """Read the metadata, shapes and dtypes without reading arrays or starting JAX.

  Raises:
    CheckpointError: absent or damaged.
  """
  path = Path(path)
  if not exists(path):
    raise CheckpointError(f"no checkpoint at {path}; run the same command again to make it")
  try:
    document = files.read_sealed(path / METADATA)
    leaves = {
      name: Leaf(tuple(leaf["shape"]), leaf["dtype"]) for name, leaf in document["leaves"].items()
    }
    empty = tuple(map(str, document["empty"]))
    stored = {name: (int(size), str(digest)) for name, (size, digest) in document["files"].items()}
    return Description(dict(document["metadata"]), leaves, empty, document["arrays"], stored)
  except (StoreError, KeyError, TypeError, ValueError, AttributeError):
    raise _damaged(path, f"{METADATA} cannot be read") from None


def exists(path: str | Path) -> bool:
  """Tell whether a whole checkpoint lies at `path`."""
  return (Path(path) / METADATA).is_file()


def _check_like(path: Path, stored: Mapping[str, Leaf], like: Any) -> None:
  import jax

  wanted = {
    named_leaves.name(key_path): x for key_path, x in jax.tree_util.tree_leaves_with_path(like)
  }
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
  """Rename, then delete: a kill in between leaves no half checkpoint under the name.

  What killed writers and removers left beside `path` goes, too.
  """
  _sweep(path)
  trash = private_names.private(path)
  with private_names.writing(path):
    try:
      path.rename(trash)
    except FileNotFoundError:  # or another process was faster
      return
  shutil.rmtree(trash, ignore_errors=True)


def _sweep(path: Path) -> None:
  """Delete what is left beside `path`: under private names, and under those of earlier versions."""
  private_names.sweep(path.parent)
  for leftover in path.parent.glob(f".{glob.escape(path.name)}.tmp*"):
    shutil.rmtree(leftover, ignore_errors=True)


def _check_space(folder: Path, nbytes: int) -> None:
  """Refuse before orbax starts: its threads take long to find that their neighbours failed."""
  if shutil.disk_usage(folder).free < nbytes:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _save_arrays(path: Path, leaves: Mapping[str, np.ndarray]) -> None:
  """Have orbax write arrays with entries; Zarr holds no others, and the metadata describe those."""
  import orbax.checkpoint.experimental.v1 as ocp

  context = ocp.Context()
  context.array.saving.use_compression = False  # weights shrink by 7 % and take 4 times as long
  with _orbax(), context:
    ocp.save(path, named_leaves.nest(leaves))


@contextmanager
def _attempt(path: Path) -> Iterator[Path]:
  """Give a name in a private folder, so that orbax's own temporary folders lie in that, too."""
  attempt = attempts.attempt_folder(path)
  try:
    yield attempt / path.name
  finally:
    shutil.rmtree(attempt, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
  """Turn what stops a writer into a CheckpointError of one line."""
  try:
    yield
  except StoreError as error:
    raise CheckpointError(f"cannot write {path}: {str(error).rpartition(': ')[2]}") from None
  except OSError as error:
    raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None
  except ValueError as error:  # tensorstore's, for whatever the system says
    for sign, reason in _SIGNS.items():
      if sign in str(error):
        raise CheckpointError(f"cannot write {path}: {reason}") from None
    raise


@contextmanager
def _orbax() -> Iterator[None]:
  """Run orbax to its end, and without its log lines.

  Its threads would go on, and complain, after an interruption. Log lines cut through the progress
  bar; errors are raised here, and need no traceback of a thread beside them.
  """
  from absl import logging

  level = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    with stopping.uninterrupted():
      yield
  finally:
    logging.set_verbosity(level)
