"""CF-k, catastrophic forgetting: fine-tune the last k blocks and the head on the retain set.

The rest of the network never moves. EU-k shares the trainable part and the fine-tuning
(methods.md 3), which stays anchored to the weights that it starts from.
"""

from jaxmu.training.method import FIXED, REFERENCE, Method
from jaxmu.unlearning.parts.last_blocks import (
  AMENDED,
  DEAD,
  DEFAULTS,
  SPACE,
  anchored,
  anchored_fine_tuning,
)


def prepare(key, variables, view, hp):
  """Anchor the original's weights."""
  del key
  params = variables["params"]
  return variables, anchored(params, hp, view.task.num_classes, hp["bn_mode"])


METHOD = Method(
  name="cfk",
  title="Catastrophic forgetting of the last k blocks",
  summary="Fine-tune only the last k blocks and the head on retain, pulled back to the original.",
  paper="Goel et al. 2022, arXiv 2201.06640",
  needs=frozenset({"retain"}),
  defaults={**DEFAULTS, "bn_mode": "eval"},
  space=SPACE,
  amended=AMENDED,
  choices={"bn_mode": ("eval", "train")},
  dead=DEAD,
  prepare=prepare,
  phases=lambda hp: (anchored_fine_tuning(hp["bn_mode"]),),
  fidelities=(REFERENCE, FIXED),
  oddities="Eval-mode BatchNorm throughout (option bn_mode), and attention biases, which get no "
  "gradient in eval mode, stay as they are; 'fixed' trains them. sgda_weight_decay pulls to the "
  "original, not to 0. A network without block names trains its head alone.",
)
