"""NG+, negative gradient plus: descend on retain and ascend on forget in the same step."""

import jax

from jaxmu.data.streams import Pair
from jaxmu.models import structure
from jaxmu.settings.ranges import NOT_NEGATIVE
from jaxmu.training import Pass, Phase, Report, Step, heavy_ball, hyper, schedules
from jaxmu.training.hyper import Hyper
from jaxmu.training.method import FIXED, REFERENCE, Method
from jaxmu.training.objectives import anchor_penalty, classification
from jaxmu.training.phase import Array, Options, Tree, Variables
from jaxmu.unlearning.parts.gates import has_gradient


def prepare(variables: Variables, step: Step) -> tuple[Variables, Tree]:
  """Keep the original's weights as the anchor."""
  return variables, variables["params"]


def loss(params: Tree, batch_stats: Tree, batch: Pair, step: Step) -> tuple[Array, Report]:
  """alpha [CE(B_r) + (omega/2) ||theta - theta_a||^2] - (1 - alpha) CE(B_f) (methods.md 2.4).

  Two forward passes; in train mode BatchNorm's statistics move on retain, then on forget samples.
  """
  alpha, read = step.hp["alpha"], with_copies(params, step)
  retain, first = classification(read, batch_stats, batch.retain, step)
  forget, last = classification(read, first.batch_stats, batch.forget, step)
  retain = retain + anchor_penalty(step.hp["anchor"], params, step.aux)
  return alpha * retain - (1 - alpha) * forget, last._replace(accuracy=first.accuracy)


def copies(params: Tree, step: Step) -> tuple[Array, ...]:
  """Return the leaves of which the reference's network reads a copy: TinyViT's attention biases.

  It is made when an epoch switches to eval mode. The cross-entropies give these leaves no gradient,
  but the anchor term still reads them, so that autograd's is exactly zero and not none: decay and
  momentum move them, and the network sees that in the next epoch.
  """
  leaves = zip(jax.tree.leaves(params), jax.tree.leaves(_copied(params, step.options)))
  return tuple(leaf for leaf, copied in leaves if copied)


def with_copies(params: Tree, step: Step) -> Tree:
  """Return the parameters as the network reads them: copies in the place of their leaves."""
  kept = iter(step.memory)
  choose = lambda leaf, copied: next(kept) if copied else leaf
  return jax.tree.map(choose, params, _copied(params, step.options))


def refresh(variables: Variables, step: Step) -> tuple[Tree, tuple[Array, ...]]:
  """Begin an epoch: copy what is copied anew."""
  return variables["params"], copies(variables["params"], step)


def _copied(params: Tree, options: Options) -> Tree:
  return structure.mask(params, lambda leaf: not has_gradient(leaf, options, options["bn_mode"]))


def phases(options: Options) -> tuple[Phase, ...]:
  """Descend and ascend at a constant rate."""
  step = Pass(
    stream="zip_cycle",
    batch_size=options["batch_size"],
    loss=loss,
    transform=heavy_ball,
    schedule=schedules.constant_rate,
    batch_norm=options["bn_mode"],
  )
  return (Phase("descend and ascend", (step,), memory=copies, before=refresh),)


METHOD = Method(
  name="ngplus",
  label="NG+",
  title="Negative gradient plus",
  summary="Descend on retain and ascend on forget batches in one step, BatchNorm frozen.",
  paper="Kurmanji et al., NeurIPS 2023",
  needs=frozenset({"retain", "forget"}),
  hyper={
    **hyper.training(learning_rate=0.01, weight_decay=0.0, num_epochs=10),
    "alpha": hyper.share(0.95),
    "anchor": Hyper(0.0, NOT_NEGATIVE),
    "bn_mode": hyper.option("eval", "eval", "train"),
  },
  prepare=prepare,
  phases=phases,
  fidelities=(REFERENCE, FIXED),
  oddities="Eval-mode BatchNorm throughout (option bn_mode). TinyViT's attention biases get no "
  "gradient in eval mode, but weight decay and momentum move them; 'fixed' trains them. The anchor "
  "penalty is a constant 0 in the reference and an option here.",
)
