"""GA, gradient ascent: climb the loss on the forget set."""

from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.method import COMMON, Method
from jaxmu.training.objectives import ascent

ASCEND = Pass(
  stream="forget",
  loss=ascent,
  transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"]),
  schedule=lambda hp, steps: schedules.constant(hp["learning_rate"]),
)

METHOD = Method(
  name="ga",
  title="Gradient ascent",
  summary="Ascend the loss on the forget set; never sees retained data.",
  paper="Thudi et al. 2022; Graves et al. 2021",
  needs=frozenset({"forget"}),
  defaults={
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 256,
    "num_epochs": 10,
  },
  space=COMMON,
  phases=lambda hp: (Phase("ascend", (ASCEND,)),),
  oddities="Train-mode BatchNorm: the running statistics drift towards the forget set.",
)
