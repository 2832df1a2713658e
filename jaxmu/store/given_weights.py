"""Weights of one model that somebody gives, in a file or a checkpoint, fitted to a network."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmu import models
from jaxmu.data import npz_file
from jaxmu.errors import CheckpointError, ModelError, short
from jaxmu.models import structure
from jaxmu.models.user_network import COLLECTIONS, plain_variables
from jaxmu.store import checkpoint, named_leaves

KIND = npz_file.Kind("weights file", "", "**flax.traverse_util.flatten_dict(variables, sep='/')")
ITEMS = ("state", "pytree", "default")  # folders in which orbax puts a tree that is written alone
TORCH = (".pt", ".pth", ".bin")
FORMS = f"an .npz file, a file of PyTorch ({', '.join(TORCH)}), or the folder of a checkpoint"


def located(path: str) -> Path:
  """Return where a file or folder lies; `CheckpointError` where there is none."""
  place = Path(path).expanduser()
  if not place.is_file() and not place.is_dir():
    raise CheckpointError(f"weights {path} do not exist; expected {FORMS}")
  return place


def sha256(path: str) -> str:
  """Return the SHA-256 of a file, or of all files of a folder; `CheckpointError` where none is."""
  place, digest = located(path), hashlib.sha256()
  try:
    if place.is_file():
      with place.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
    for file in sorted(file for file in place.rglob("*") if file.is_file()):
      content = file.read_bytes()
      digest.update(f"{file.relative_to(place).as_posix()}\n{len(content)}\n".encode() + content)
  except OSError as error:
    raise CheckpointError(f"weights {path} cannot be read: {error.strerror}") from error
  return digest.hexdigest()


def read(path: str, network: str, like: Mapping[str, Any], *, whole: bool) -> dict[str, np.ndarray]:
  """Return the leaves of a model by name ("params/head/kernel").

  Args:
    network: its name, by which PyTorch's names are known.
    like: variables of ONE model of the network; shapes will do.
    whole: False: the last layer may be of other classes, and is then left out.

  Raises:
    CheckpointError: there is no such file, or it is damaged or of another form.
    ModelError: leaves are absent, of other shapes, or those of another network.
  """
  found = _flat(plain_variables(_variables(located(path), path, network)))
  wanted = _flat(like)
  found = _one(found, wanted, path)
  head = {f"params/{'/'.join(leaf.path)}" for leaf in _leaves(like["params"]) if leaf.head}
  fits = lambda name: name in found and found[name].shape == wanted[name].shape
  if not whole and not all(map(fits, head)):
    wanted = {name: leaf for name, leaf in wanted.items() if name not in head}
    found = {name: leaf for name, leaf in found.items() if name not in head}
  for name in sorted(wanted.keys() ^ found.keys()):
    lack = "lack" if name in wanted else "hold"
    raise ModelError(f"weights {path} {lack} {name}; expected those of {network} alone")
  for name, leaf in wanted.items():
    if not fits(name):
      raise ModelError(
        f"weights {path}: {name} has shape {found[name].shape}; expected {leaf.shape}, as "
        f"{network} has it for these data"
      )
  return {name: np.asarray(found[name], wanted[name].dtype) for name in wanted}


def _variables(place: Path, path: str, network: str) -> Mapping[str, Any]:
  if place.is_dir():
    return _checkpoint(place, path)
  if place.suffix in TORCH:
    return models.from_torch(network, _torch(place, path))
  if place.suffix != ".npz":
    raise CheckpointError(f"weights {path} are of no known form; expected {FORMS}")
  arrays = npz_file.read(path, KIND)
  if any(name.partition("/")[0] in COLLECTIONS for name in arrays):
    return named_leaves.nest(arrays)
  return models.from_torch(network, arrays)


def _checkpoint(place: Path, path: str) -> Any:
  if checkpoint.exists(place):
    return checkpoint.load(place)[0]
  import orbax.checkpoint as ocp

  items = (place, *(place / name for name in ITEMS))
  item = next((item for item in items if (item / "_METADATA").is_file()), place).absolute()
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      reader = ocp.PyTreeCheckpointer()
      found = reader.metadata(item).item_metadata.tree
      host = ocp.RestoreArgs(restore_type=np.ndarray)  # on whatever devices it was written
      return reader.restore(item, restore_args=jax.tree.map(lambda leaf: host, found))
  except Exception as error:  # what orbax raises for a folder of another kind has no end
    raise CheckpointError(
      f"weights {path} are no checkpoint of orbax: {type(error).__name__}: {short(str(error))}"
    ) from error


def _torch(place: Path, path: str) -> Any:
  try:
    import torch
  except ModuleNotFoundError as error:
    raise CheckpointError(
      f"weights {path} are a file of PyTorch, which is not installed; install it, or give the "
      "state dict as an .npz file of arrays"
    ) from error
  try:
    found = torch.load(place, map_location="cpu", weights_only=True)
  except Exception as error:  # damaged files raise anything
    raise CheckpointError(
      f"weights {path} cannot be read by PyTorch: {type(error).__name__}: {short(str(error))}"
    ) from error
  return found["state_dict"] if isinstance(found, Mapping) and "state_dict" in found else found


def _one(
  found: dict[str, np.ndarray], wanted: Mapping[str, Any], path: str
) -> dict[str, np.ndarray]:
  """Take one model out of a checkpoint of several, if it is one of one."""
  stacked = [
    name
    for name, leaf in found.items()
    if name in wanted and leaf.ndim == len(wanted[name].shape) + 1
  ]
  if not found or len(stacked) < len(found):
    return found
  members = {leaf.shape[0] for leaf in found.values()}
  if members != {1}:
    raise ModelError(f"weights {path} are those of {max(members)} models; expected one")
  return {name: leaf[0] for name, leaf in found.items()}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  found: dict[str, Any] = {}
  for name, child in tree.items():
    if isinstance(child, Mapping):
      found |= _flat(child, f"{prefix}{name}/")
    else:
      found[f"{prefix}{name}"] = child
  return found


def _leaves(params: Any) -> list[structure.Leaf]:
  return jax.tree.leaves(structure.describe(params))
