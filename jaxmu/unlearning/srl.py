"""SRL, successive random labels: train on everything, forget samples under labels drawn at random.

Random relabelling of Golatkar et al. 2020 and Graves et al. 2021, in the variant of the SalUn code
(methods.md 2.3). SalUN runs this phase too.
"""

from jaxmu.training import Step, hyper
from jaxmu.training.method import Method
from jaxmu.training.phase import Variables
from jaxmu.unlearning.parts.random_labels import DRAWS, Relabelling, relabel, replaced_labels


def prepare(variables: Variables, step: Step) -> tuple[Variables, Relabelling]:
  """Change nothing; look replaced labels up."""
  return variables, Relabelling(replaced_labels(step.view))


METHOD = Method(
  name="srl",
  label="SRL",
  title="Successive random labels",
  summary="Train on both sets, forget samples under random labels drawn anew at every visit.",
  paper="Golatkar et al. 2020; Graves et al. 2021",
  needs=frozenset({"retain", "forget"}),
  hyper=hyper.training(learning_rate=0.1, num_epochs=5),
  prepare=prepare,
  phases=relabel,
  oddities="A random label may be the true one. The reference configures a cosine schedule but "
  "never advances it, so the rate is constant; it restarts its label generator every epoch, where "
  "we draw fresh labels.",
  draws=DRAWS,
)
