"""SalUN, saliency unlearning: random labels, learnt by the weights that matter most for forgetting.

Fan et al., ICLR 2024 (methods.md 5.3).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmu.models import structure
from jaxmu.training import Phase, Step, View, heavy_ball, hyper
from jaxmu.training.method import FIXED, REFERENCE, Method, Sizes
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.unlearning.parts.gates import gate_updates, has_gradient, scale_by_mask
from jaxmu.unlearning.parts.gradient_sums import signed_gradients
from jaxmu.unlearning.parts.random_labels import DRAWS, Relabelling, relabel, replaced_labels
from jaxmu.unlearning.parts.selection import count, lost, smallest

MASK_OPTIMIZER = ("learning_rate", "momentum", "weight_decay")  # configured, never stepped


def prepare(variables: Variables, step: Step) -> tuple[Variables, Relabelling]:
  """Keep the variables; mask the weights with the largest forget gradient.

  Returns:
    The variables, the mask and replaced labels.
  """
  gradient = forget_gradient(variables, step)
  mask = most_salient(gradient, step.hp["threshold"], step.hp["threshold_rest"])
  return variables, Relabelling(replaced_labels(step.view), mask)


def forget_gradient(variables: Variables, step: Step) -> Tree:
  """G = sum over k of w_k grad CE(b_k) over the K shuffled forget batches, eval mode.

  fixed: w_k = 1. reference: w_k = K - k + 1, because it never clears gradients between batches and
  so counts the first batch K times; its attention biases have no gradient in eval mode.
  """
  view, options = step.view, step.options
  batch_size = min(options["batch_size"], view.size("forget"))
  order = view.order("forget", step.key, batch_size, pad=True)
  cumulative = options["fidelity"] == REFERENCE
  weights = _remaining(view, batch_size, order.full.index.shape[0]) if cumulative else 1
  params, batch_stats = variables["params"], variables["batch_stats"]
  gradient, _ = signed_gradients(view, params, batch_stats, [(weights, order)], train=False)
  alive = lambda leaf, g: g if has_gradient(leaf, options, "eval") else jnp.zeros_like(g)
  return structure.map_leaves(alive, gradient)


def _remaining(view: View, batch_size: int, batches: int) -> Array:
  """Return K, K - 1, ... for a pass's batches; those beyond a member's own K are never read."""
  if view.ragged:
    return view.steps("forget", batch_size) - jnp.arange(batches)
  return jnp.arange(batches, 0, -1)


def most_salient(gradient: Tree, fraction: Array | float, rest: Array | float = 0.0) -> Tree:
  """Mark the floor(fraction P) largest of all P entries of |G|, over all leaves together.

  Among equal entries the choice is arbitrary: the first ones in stored order are left out.

  Args:
    rest: what the fraction lost when it was rounded to its dtype.
  """
  leaves, tree = jax.tree.flatten(gradient)
  size = jnp.concatenate([jnp.abs(leaf).reshape(-1) for leaf in leaves])
  kept = count(fraction, size.size, floor=True, rest=rest)
  closed = smallest(size, size.size - kept)
  ends = np.cumsum([leaf.size for leaf in leaves])
  parts = jnp.split(~closed, ends[:-1])
  return jax.tree.unflatten(tree, [part.reshape(g.shape) for part, g in zip(parts, leaves)])


def masked_sgd(step: Step) -> optax.GradientTransformation:
  """Mask the raw gradient, then decay and momentum; fixed: nothing masked moves at all."""
  mask = step.aux.mask
  parts = [scale_by_mask(mask), heavy_ball(step)]
  if step.options["fidelity"] == FIXED:
    parts.append(gate_updates(mask))
  return optax.chain(*parts)


def phases(options: Options) -> tuple[Phase, ...]:
  """Train as SRL does, but only where the mask lets it."""
  return relabel(options, masked_sgd)


def derive(hp: Mapping[str, Any], sizes: Sizes) -> dict[str, float]:
  """Find what `threshold` loses in the arrays' precision: times 11 million it may be an entry."""
  return {"threshold_rest": lost(hp["threshold"])}


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count the gradient of the forget set."""
  return 3 * sizes["forget"]


METHOD = Method(
  name="salun",
  label="SalUN",
  title="Saliency unlearning",
  summary="Train on both sets with random labels for forget samples, but only the weights with the "
  "largest forget gradient.",
  paper="Fan et al., ICLR 2024",
  needs=frozenset({"retain", "forget"}),
  hyper={
    "threshold": hyper.share(0.5),
    **hyper.training(learning_rate=0.01, momentum=0.0, weight_decay=0.0, num_epochs=10),
    "mask_optimizer": hyper.DEAD,
    **{f"mask_optimizer_{name}": hyper.DEAD for name in MASK_OPTIMIZER},
  },
  prepare=prepare,
  derive=derive,
  phases=phases,
  prepare_samples=work,
  fidelity=FIXED,
  fidelities=(REFERENCE, FIXED),
  oddities="'fixed' (our default) counts every forget batch once and holds masked weights still; "
  "the reference weights batch k of K by K-k+1 and lets weight decay move masked weights. On "
  "ResNet-18 at 32 pixels at most 37.9 % of the forget gradient is non-zero: a larger threshold "
  "adds weights that hardly ever move, and the method approaches SRL.",
  draws=DRAWS,
)
