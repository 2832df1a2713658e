"""Plain fine-tuning on the retain set; FT and CT share it."""

from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.objectives import classification


def fine_tune(transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"])) -> Phase:
  """Cross-entropy on the retain set, cosine per epoch; CT runs this phase too."""
  step = Pass(
    stream="retain",
    loss=classification,
    transform=transform,
    schedule=lambda hp, steps: schedules.cosine(hp["learning_rate"], hp["num_epochs"], steps),
  )
  return Phase("fine-tune", (step,))
