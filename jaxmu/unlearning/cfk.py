"""CF-k, catastrophic forgetting: fine-tune the last k blocks and the head on the retain set.

The rest of the network never moves. EU-k shares the trainable part and the fine-tuning
(methods.md 3), which stays anchored to the weights that it starts from.
"""

from jaxmu.training import Step, hyper
from jaxmu.training.method import FIXED, REFERENCE, Method
from jaxmu.training.phase import Variables
from jaxmu.unlearning.parts.last_blocks import (
  HYPER,
  Anchored,
  anchored,
  anchored_fine_tuning,
  inert,
)


def prepare(variables: Variables, step: Step) -> tuple[Variables, Anchored]:
  """Anchor the original's weights."""
  return variables, anchored(variables["params"], step, step.options["bn_mode"])


METHOD = Method(
  name="cfk",
  label="CF-k",
  title="Catastrophic forgetting of the last k blocks",
  summary="Fine-tune only the last k blocks and the head on retain, pulled back to the original.",
  paper="Goel et al. 2022, arXiv 2201.06640",
  needs=frozenset({"retain"}),
  hyper={**HYPER, "bn_mode": hyper.option("eval", "eval", "train")},
  prepare=prepare,
  phases=lambda options: anchored_fine_tuning(options, options["bn_mode"]),
  inert=inert,
  fidelities=(REFERENCE, FIXED),
  oddities="Eval-mode BatchNorm throughout (option bn_mode), and attention biases, which get no "
  "gradient in eval mode, stay as they are; 'fixed' trains them. sgda_weight_decay pulls to the "
  "original, not to 0. A network without block names trains its head alone.",
)
