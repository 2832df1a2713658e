"""Logits of a Flax model's variables on images: the only part that needs jax."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmu import api
from jaxmu.data.overlap import shared
from jaxmu.data.samples import check_classes, check_sets
from jaxmu.errors import DataError
from jaxmu.evaluation.hashes import digest
from jaxmu.evaluation.inputs import Given, checked

if TYPE_CHECKING:
  import flax.linen as nn


def read(model: "nn.Module", variables: Mapping[str, Any], sets: Mapping[str, Any]) -> Given:
  """Predict every set with every model, in eval mode, and look which images two sets share.

  Args:
    variables: by model, {"params", "batch_stats"} of one seed or a list of them.
    sets: pairs (x, y) by set, as for `jaxmu.unlearn`.

  Raises:
    DataError, ModelError: as `jaxmu.predict` and `jaxmu.unlearn` do.
  """
  pairs = check_sets(sets)
  images = np.concatenate([x for x, _ in pairs.values()])
  logits = {}
  for name, given in variables.items():
    several = list(given) if isinstance(given, Sequence) else [given]
    if not several:
      raise DataError(f"{name} is an empty list; expected variables of at least one seed")
    logits[name] = np.stack([api.predict(model, one, images) for one in several])
  check_classes(pairs, logits["unlearned"].shape[-1])
  ends = np.cumsum([len(y) for _, y in pairs.values()]).tolist()
  positions = {name: np.arange(end - len(pairs[name].y), end) for name, end in zip(pairs, ends)}
  return checked(
    Given(
      logits,
      np.concatenate([y for _, y in pairs.values()]).astype(np.int64),
      positions,
      {name: digest(x) for name, (x, _) in pairs.items()},
      tuple(shared(pairs)),
    )
  )
