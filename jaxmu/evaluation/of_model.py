"""Logits of a Flax model's variables on images: the only part that needs jax."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxmu import api
from jaxmu.api import given_sets
from jaxmu.api.model import read as read_model
from jaxmu.api.preparation import Preparation
from jaxmu.data import rows
from jaxmu.data.overlap import Shared, shared
from jaxmu.data.samples import Samples, check_classes, check_sets
from jaxmu.errors import DataError
from jaxmu.evaluation.hashes import digest
from jaxmu.evaluation.inputs import Given, checked

if TYPE_CHECKING:
  import flax.linen as nn

PREPARATIONS = ("preprocess", "mean", "std")
HOW = (*PREPARATIONS, "memory_limit")  # arguments of predictions


class Images(NamedTuple):
  """The sets of an evaluation as images, one set after the other.

  Attributes:
    pairs: (x, y) by set.
    x: all images, [N, ...], or rows of them that are read when they are needed.
    labels: int [N].
    positions: by set, [n].
    how: preprocess, mean, std and memory_limit, as for `jaxmu.predict`.
  """

  pairs: Mapping[str, Samples]
  x: Any
  labels: np.ndarray
  positions: Mapping[str, np.ndarray]
  how: Mapping[str, Any]

  def shared(self) -> tuple[Shared, ...]:
    """Return what every two sets share."""
    return tuple(shared(self.pairs))

  def hashes(self) -> dict[str, dict[str, Any]]:
    """Return what identifies the images of each set."""
    return {name: digest(x) for name, (x, _) in self.pairs.items()}


def read_images(
  sets: Mapping[str, Any], how: Mapping[str, Any] | None = None, data: Any = None
) -> Images:
  """Check sets of images, and join them.

  Args:
    sets: pairs (x, y) by set, or positions in data, as for `jaxmu.unlearn`.
    how: preprocess, mean, std and memory_limit; None where a network takes images as they are.
    data: a pair (x, y) of all samples, or None.

  Raises:
    DataError: as `jaxmu.unlearn` does.
  """
  how = {name: value for name, value in (how or {}).items() if value is not None}
  stored = Preparation(*(how.get(name) for name in PREPARATIONS)).stored
  pairs = check_sets(given_sets.pairs(sets, data), stored)
  ends = np.cumsum([len(y) for _, y in pairs.values()]).tolist()
  return Images(
    pairs,
    rows.together([x for x, _ in pairs.values()]),
    np.concatenate([y for _, y in pairs.values()]).astype(np.int64),
    {name: np.arange(end - len(pairs[name].y), end) for name, end in zip(pairs, ends)},
    how,
  )


def predicted(name: str, model: Any, given: Any, images: Images) -> np.ndarray:
  """Return logits [K, N, C] of the variables of one seed, or of a list of them.

  Raises:
    DataError: there is no seed, or one without a model.
    ModelError: as `jaxmu.predict` does.
  """
  return np.stack([api.predict(model, one, images.x, **images.how) for one in _seeds(name, given)])


def _seeds(name: str, given: Any) -> list[Any]:
  """Return the variables of each seed; `DataError` where one has none."""
  several = list(given) if isinstance(given, Sequence) else [given]
  if not several:
    raise DataError(f"{name} is an empty list; expected variables of at least one seed")
  for k, one in enumerate(several):
    if one is None and isinstance(given, Sequence):
      raise DataError(
        f"{name}[{k}] is None, as of a model that turned non-finite; leave this seed out of all "
        "models"
      )
  return several


def read(
  model: "nn.Module",
  variables: Mapping[str, Any],
  sets: Mapping[str, Any],
  how: Mapping[str, Any] | None = None,
  data: Any = None,
) -> Given:
  """Predict every set with every model, in eval mode, and look which images two sets share.

  Args:
    variables: by model, {"params", "batch_stats"} of one seed or a list of them.
    sets: pairs (x, y) by set, or positions in data, as for `jaxmu.unlearn`.
    how: preprocess, mean, std and memory_limit, as for `jaxmu.predict`.
    data: a pair (x, y) of all samples, or None.

  Raises:
    DataError, ModelError: as `jaxmu.predict` and `jaxmu.unlearn` do.
  """
  images = read_images(sets, how, data)
  for name, given in variables.items():  # all of them before the first is computed with
    for one in _seeds(name, given):
      read_model(model, one)
  logits = {name: predicted(name, model, given, images) for name, given in variables.items()}
  check_classes(images.pairs, logits["unlearned"].shape[-1])
  return checked(Given(logits, images.labels, images.positions, images.hashes(), images.shared()))
