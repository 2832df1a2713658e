"""GA, gradient ascent: climb the loss on the forget set."""

from jaxmu.training import Pass, Phase, heavy_ball, hyper, schedules
from jaxmu.training.method import Method
from jaxmu.training.objectives import ascent
from jaxmu.training.phase import Options


def phases(options: Options) -> tuple[Phase, ...]:
  """Ascend at a constant rate."""
  ascend = Pass(
    stream="forget",
    batch_size=options["batch_size"],
    loss=ascent,
    transform=heavy_ball,
    schedule=schedules.constant_rate,
  )
  return (Phase("ascend", (ascend,)),)


METHOD = Method(
  name="ga",
  label="GA",
  title="Gradient ascent",
  summary="Ascend the loss on the forget set; never sees retained data.",
  paper="Thudi et al. 2022; Graves et al. 2021",
  needs=frozenset({"forget"}),
  hyper=hyper.training(learning_rate=0.01, num_epochs=10),
  phases=phases,
  oddities="Train-mode BatchNorm: the running statistics drift towards the forget set.",
)
