"""The two anchors of every comparison: the original and the retrained model (methods.md 1)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from jaxmu.settings import RecipeSettings, TrainingSettings
from jaxmu.training import Pass, Phase, heavy_ball, hyper, own_recipe, schedules
from jaxmu.training.method import Method
from jaxmu.training.own_recipe import PAPER, Recipe
from jaxmu.training.phase import Options

STREAMS = {"original": "union", "retrained": "retain"}  # which samples each anchor trains on
UNION_ORDER = "int [n_retain + n_forget], visiting order, retain samples counted first"


def _training(stream: str, recipe: Recipe = PAPER) -> Callable[[Options], tuple[Phase, ...]]:
  """Augmentation, cross-entropy, heavy-ball SGD, cosine per epoch: the paper's for both anchors."""

  def phases(options: Options) -> tuple[Phase, ...]:
    training = Pass(
      stream=stream,
      batch_size=options["batch_size"],
      loss=own_recipe.objective(recipe),
      transform=heavy_ball,
      schedule=schedules.cosine_rate,
      augment=True,
      optimizer=None if recipe.optimizer is None else own_recipe.optimizer(recipe.optimizer),
    )
    return (Phase("train", (training,)),)

  return phases


ORIGINAL = Method(
  name="original",
  label="Original",
  title="Original model",
  summary="Trained on retain and forget set together; the input of every unlearning method.",
  paper="Cadet et al. 2024, arXiv 2410.01276",
  needs=frozenset({"retain", "forget"}),
  hyper=hyper.training(learning_rate=0.1, num_epochs=182),
  phases=_training(STREAMS["original"]),
  draws={"union_order": UNION_ORDER},
)

RETRAINED = Method(
  name="retrained",
  label="Retrained",
  title="Retrained model",
  summary="Trained on the retain set alone from the same initial weights; the gold standard.",
  paper="Cadet et al. 2024, arXiv 2410.01276",
  needs=frozenset({"retain"}),
  hyper=hyper.training(learning_rate=0.1, num_epochs=182),
  phases=_training(STREAMS["retrained"]),
)

ANCHORS: dict[str, Method] = {"original": ORIGINAL, "retrained": RETRAINED}


def recipe(settings: TrainingSettings, name: str) -> dict[str, Any]:
  """Return the complete hyper-parameters that settings give an anchor."""
  given = dataclasses.asdict(settings)
  given.pop("data_seed")
  return ANCHORS[name].hyperparameters(given)


def of_recipe(name: str, settings: RecipeSettings) -> Method:
  """Return an anchor as settings train it; that of the paper is one value for all.

  Raises:
    MethodError: a reference names nothing of the kind.
  """
  return trained_by(name, own_recipe.read(settings))


@functools.cache
def given(name: str) -> Method:
  """Return an anchor whose models are there already: nothing is trained.

  Their work is counted as that of training by the same hyper-parameters, so that the run-time
  efficiency of methods is what it would be if they had been trained here.
  """
  sets = ("retain", "forget") if STREAMS[name] == "union" else ("retain",)
  work = lambda hp, sizes, options: 3.0 * hp["num_epochs"] * sum(sizes[one] for one in sets)
  summary = f"{ANCHORS[name].summary} These models were given, and not trained here."
  return dataclasses.replace(
    ANCHORS[name], phases=lambda options: (), prepare_samples=work, summary=summary
  )


@functools.lru_cache(maxsize=16)
def trained_by(name: str, recipe: Recipe) -> Method:
  """Return an anchor that is trained by a recipe; equal recipes give one value."""
  if recipe == PAPER:
    return ANCHORS[name]
  return dataclasses.replace(ANCHORS[name], phases=_training(STREAMS[name], recipe))
