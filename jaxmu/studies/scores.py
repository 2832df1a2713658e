"""A number for every sample by which a request ranks them: a file, or what a study found.

`.npy` holds a number for each sample of the data set, training samples first (those of the training
part will do). A run directory of a U-LiRA study gives the accuracy of its attack on the original
models, sample by sample: how exposed each is.
"""

import hashlib
from pathlib import Path

import numpy as np

from jaxmu.data import Dataset, Facts
from jaxmu.errors import DataError, short
from jaxmu.settings import Settings
from jaxmu.store import Run

ORIGINAL = "original"


def read(path: str, dataset: Dataset) -> np.ndarray:
  """Return a number for every sample, [N]; NaN where there is none.

  Raises:
    DataError: there are no such scores, or they are of other data.
    StoreError: the run directory is damaged.
  """
  found, total = _numbers(path), len(dataset.labels)
  if not _is_file(path):
    _check_same(path, dataset)
  elif len(found) not in (dataset.num_train, total):
    raise DataError(
      f"scores {path} hold {len(found)} numbers; expected one for each of the {total} samples of "
      f"{dataset.name}, or of its {dataset.num_train} training samples"
    )
  scores = np.full(total, np.nan)
  scores[: len(found)] = found
  return scores


def identify(path: str) -> str:
  """Return the SHA-256 of the numbers, however they are stored; raise as `read` does."""
  return hashlib.sha256(np.ascontiguousarray(_numbers(path), "<f8").tobytes()).hexdigest()


def _is_file(path: str) -> bool:
  return Path(path).suffix == ".npy"


def _numbers(path: str) -> np.ndarray:
  return _of_file(path) if _is_file(path) else _of_study(path)


def _of_study(path: str) -> np.ndarray:
  """Return how exposed samples are, up to the last one of the study's pool."""
  table = Run.open(path).table("samples")
  own = table[table["method"] == ORIGINAL]
  if "accuracy" not in own or not len(own):
    raise DataError(f"{path} has no accuracies of single samples; expected a U-LiRA study's run")
  scores = np.full(int(own["sample"].max()) + 1, np.nan)
  scores[own["sample"].to_numpy(int)] = own["accuracy"].to_numpy(float)
  return scores


def _of_file(path: str) -> np.ndarray:
  try:
    with Path(path).expanduser().open("rb") as stream:
      found = np.lib.format.read_array(stream, allow_pickle=False)
  except FileNotFoundError as error:
    raise DataError(
      f"scores {path} do not exist; give a .npy file or a study's run directory: "
      "--config.scenario.scores=PATH"
    ) from error
  except Exception as error:  # what damaged bytes raise has no end
    raise DataError(
      f"scores {path} cannot be read ({short(f'{type(error).__name__}: {error}')}); expected a "
      "plain .npy array"
    ) from error
  if found.ndim != 1 or found.dtype.kind not in "iuf":
    raise DataError(
      f"scores {path} hold {found.dtype} of shape {found.shape}; expected one number per sample"
    )
  return found.astype(float)


def _check_same(path: str, dataset: Dataset) -> None:
  made = Run.open(path).manifest.dataset
  if made.sha256 != dataset.sha256:
    raise DataError(
      f"scores {path} are of data {made.name} with SHA-256 {made.sha256[:12]}..., and this run "
      f"reads {dataset.name} with {dataset.sha256[:12]}...; expected the same data and labels"
    )


def facts_for(settings: Settings, dataset: Dataset) -> Facts:
  """Return what a request may go by; raise as `read` does."""
  path = settings.scenario.scores
  return Facts.of(dataset, read(path, dataset) if path else None)
