"""The two anchors of every comparison: the original and the retrained model (methods.md 1)."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxmu.settings import TrainingSettings
from jaxmu.training import Pass, Phase, heavy_ball, hyper, schedules
from jaxmu.training.method import Method
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Options

UNION_ORDER = "int [n_retain + n_forget], visiting order, retain samples counted first"


def _training(stream: str) -> Callable[[Options], tuple[Phase, ...]]:
  """Augmentation, cross-entropy, heavy-ball SGD, cosine per epoch: the recipe of both anchors."""

  def phases(options: Options) -> tuple[Phase, ...]:
    recipe = Pass(
      stream=stream,
      batch_size=options["batch_size"],
      loss=classification,
      transform=heavy_ball,
      schedule=schedules.cosine_rate,
      augment=True,
    )
    return (Phase("train", (recipe,)),)

  return phases


ORIGINAL = Method(
  name="original",
  label="Original",
  title="Original model",
  summary="Trained on retain and forget set together; the input of every unlearning method.",
  paper="Cadet et al. 2024, arXiv 2410.01276",
  needs=frozenset({"retain", "forget"}),
  hyper=hyper.training(learning_rate=0.1, num_epochs=182),
  phases=_training("union"),
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
  phases=_training("retain"),
)

ANCHORS: dict[str, Method] = {"original": ORIGINAL, "retrained": RETRAINED}


def recipe(settings: TrainingSettings, name: str) -> dict[str, Any]:
  """Return the complete hyper-parameters that settings give an anchor."""
  given = dataclasses.asdict(settings)
  given.pop("data_seed")
  return ANCHORS[name].hyperparameters(given)
