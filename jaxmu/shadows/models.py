"""Which shadow models a study has, and what they train on."""

from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.data import Split
from jaxmu.data.shadow_splits import ShadowStudy, shadow_study
from jaxmu.errors import DataError
from jaxmu.settings import Settings
from jaxmu.shadows.scores import Model


def draw(settings: Settings, num_train: int) -> ShadowStudy:
  """Draw pool and splits from the training part of a data set, its first `num_train` samples.

  Raises:
    DataError: too few samples for the pool or the forget sets.
  """
  chosen = settings.ulira
  study = shadow_study(
    num_train,
    splits=chosen.splits,
    attempts=chosen.forgets,
    pool=chosen.pool or None,
    seed=settings.data.split_seed,
  )
  forget = study.split(0, 0).sizes["forget"]
  if forget < MINIMUM:
    raise DataError(
      f"a forget set of this study has {forget} samples, the attacks need at least {MINIMUM}; use "
      "more data or a larger config.ulira.pool"
    )
  return study


def models(study: ShadowStudy, settings: Settings, name: str) -> list[Model]:
  """List (split, forget set) of the models of a stage, in the order of training.

  A shared original is trained on retain and forget of its split's first forget set: the same
  samples as for the others.
  """
  every = [tuple(model) for model in study.models.tolist()]
  shared = name == "original" and settings.ulira.share_original
  return [model for model in every if model[1] == 0] if shared else every


def original_of(model: Model, settings: Settings) -> Model:
  """Return the original model from which `model` is unlearned."""
  return (model[0], 0) if settings.ulira.share_original else model


def splits_of(study: ShadowStudy, wanted: list[Model]) -> tuple[Split, ...]:
  """Return what each model retains and forgets."""
  return tuple(study.split(*model) for model in wanted)
