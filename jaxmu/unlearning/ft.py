"""FT, fine-tuning: keep training on the retain set and let catastrophic forgetting do the rest."""

from jaxmu.training import hyper
from jaxmu.training.method import Method
from jaxmu.unlearning.parts.fine_tuning import fine_tune

METHOD = Method(
  name="ft",
  label="FT",
  title="Fine-tuning",
  summary="Continue training on the retain set only.",
  paper="Golatkar et al. 2020; Warnecke et al. 2021",
  needs=frozenset({"retain"}),
  hyper=hyper.training(learning_rate=0.1, num_epochs=5),
  phases=fine_tune,
  oddities="No augmentation, unlike the training of the original.",
)
