"""Plain fine-tuning on the retain set; FT and CT share it."""

from jaxmu.training import Pass, Phase, heavy_ball, schedules
from jaxmu.training.objectives import classification
from jaxmu.training.phase import Options


def fine_tune(options: Options) -> tuple[Phase, ...]:
  """Cross-entropy on the retain set, cosine per epoch."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=classification,
    transform=heavy_ball,
    schedule=schedules.cosine_rate,
  )
  return (Phase("fine-tune", (step,)),)
