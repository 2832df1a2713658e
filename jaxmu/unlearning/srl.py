"""SRL, successive random labels: train on everything, forget samples under labels drawn at random.

Random relabelling of Golatkar et al. 2020 and Graves et al. 2021, in the variant of the SalUn code
(methods.md 2.3). SalUN runs this phase too.
"""

from jaxmu.training.method import COMMON, Method
from jaxmu.unlearning.parts.random_labels import DRAWS, relabel, replaced_labels


def prepare(key, variables, view, hp):
  """Change nothing; look replaced labels up."""
  del key, hp
  return variables, {"labels": replaced_labels(view)}


METHOD = Method(
  name="srl",
  title="Successive random labels",
  summary="Train on both sets, forget samples under random labels drawn anew at every visit.",
  paper="Golatkar et al. 2020; Graves et al. 2021",
  needs=frozenset({"retain", "forget"}),
  defaults={
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 256,
    "num_epochs": 5,
  },
  space=COMMON,
  prepare=prepare,
  phases=lambda hp: (relabel(),),
  oddities="A random label may be the true one. The reference configures a cosine schedule but "
  "never advances it, so the rate is constant; it restarts its label generator every epoch, where "
  "we draw fresh labels.",
  draws=DRAWS,
)
