"""Plain fine-tuning on the retain set; FT and CT share it."""

from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Options


def fine_tune(options: Options) -> tuple[Phase, ...]:
  """Cross-entropy on the retain set, cosine per epoch."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=classification,
    transform=lambda step: sgd(step.hp["momentum"], step.hp["weight_decay"]),
    schedule=lambda hp, steps: schedules.cosine(hp["learning_rate"], hp["num_epochs"], steps),
  )
  return (Phase("fine-tune", (step,)),)
