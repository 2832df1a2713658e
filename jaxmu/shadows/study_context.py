"""What all stages of a study share: where it lies, its data, its scores and its populations."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxmu.data import Dataset
from jaxmu.data.shadow_splits import ShadowStudy
from jaxmu.engine import keys
from jaxmu.engine.population import member_keys
from jaxmu.settings import Settings
from jaxmu.shadows.models import splits_of
from jaxmu.shadows.scores import Model, Scores
from jaxmu.store import Run
from jaxmu.studies import preparation
from jaxmu.studies.preparation import Bench
from jaxmu.studies.stage import stage_identity
from jaxmu.unlearning import ANCHORS


@dataclasses.dataclass(frozen=True, eq=False)
class Lab:
  """A study at work.

  Attributes:
    study: who trains on what.
    lowering: how each convolution of the network is computed.
  """

  run: Run
  settings: Settings
  dataset: Dataset
  study: ShadowStudy
  lowering: Any

  def scores(self, name: str) -> Scores:
    """Open the scores of a stage."""
    identity = stage_identity(self.run, self.settings, name)
    return Scores(self.run.path / "scores", name, len(self.study.pool), identity)

  def bench(self, name: str, wanted: list[Model]) -> Bench:
    """Lay out a population of models on the devices.

    As in the reference, all begin with the same weights and see one batch order. Methods draw from
    keys of their own.
    """
    (key,) = member_keys(self.settings.seeds)
    own = jnp.repeat(key[None], len(wanted))
    if name not in ANCHORS:
      own = jax.vmap(lambda model: keys.at(key, model[0], model[1]))(jnp.asarray(wanted))
    splits, chunk = splits_of(self.study, wanted), self.run.manifest.chunk
    return preparation.build(self.settings, self.dataset, splits, chunk, self.lowering, own)
