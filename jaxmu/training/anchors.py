"""The two anchors of every comparison: the original and the retrained model (methods.md 1)."""

from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.method import Method
from jaxmu.training.objectives import classification

DEFAULTS = {
  "learning_rate": 0.1,
  "momentum": 0.9,
  "weight_decay": 5e-4,
  "batch_size": 256,
  "num_epochs": 182,
}


def _training(stream: str):
  """Augmentation, cross-entropy, heavy-ball SGD, cosine per epoch: the recipe of both anchors."""

  recipe = Pass(
    stream=stream,
    loss=classification,
    transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"]),
    schedule=lambda hp, steps: schedules.cosine(hp["learning_rate"], hp["num_epochs"], steps),
    augment=True,
  )
  return lambda hp: (Phase("train", (recipe,)),)


ORIGINAL = Method(
  name="original",
  title="Original model",
  summary="Trained on retain and forget set together; the input of every unlearning method.",
  paper="Cadet et al. 2024, arXiv 2410.01276",
  needs=frozenset({"retain", "forget"}),
  defaults=DEFAULTS,
  phases=_training("union"),
  draws={"union_order": "int [n_retain + n_forget], visiting order, retain samples counted first"},
)

RETRAINED = Method(
  name="retrained",
  title="Retrained model",
  summary="Trained on the retain set alone from the same initial weights; the gold standard.",
  paper="Cadet et al. 2024, arXiv 2410.01276",
  needs=frozenset({"retain"}),
  defaults=DEFAULTS,
  phases=_training("retain"),
)
