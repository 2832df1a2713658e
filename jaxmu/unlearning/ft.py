"""FT, fine-tuning: keep training on the retain set and let catastrophic forgetting do the rest."""

from jaxmu.training.method import COMMON, Method
from jaxmu.unlearning.parts.fine_tuning import fine_tune

METHOD = Method(
  name="ft",
  title="Fine-tuning",
  summary="Continue training on the retain set only.",
  paper="Golatkar et al. 2020; Warnecke et al. 2021",
  needs=frozenset({"retain"}),
  defaults={
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 256,
    "num_epochs": 5,
  },
  space=COMMON,
  phases=lambda hp: (fine_tune(),),
  oddities="No augmentation, unlike the training of the original.",
)
