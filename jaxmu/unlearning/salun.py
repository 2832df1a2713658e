"""SalUN, saliency unlearning: random labels, learnt by the weights that matter most for forgetting.

Fan et al., ICLR 2024 (methods.md 5.3).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmu.models import structure
from jaxmu.training import sgd
from jaxmu.training.method import COMMON, FIXED, REFERENCE, U01, Method
from jaxmu.unlearning.parts.gates import gate_updates, moves, scale_by_mask
from jaxmu.unlearning.parts.gradient_sums import signed_gradients
from jaxmu.unlearning.parts.random_labels import DRAWS, relabel, replaced_labels
from jaxmu.unlearning.parts.selection import count, smallest

MASK_OPTIMIZER = ("learning_rate", "momentum", "weight_decay")  # configured, never stepped


def prepare(key, variables, view, hp):
  """Keep the variables; mask the weights with the largest forget gradient.

  Returns:
    The variables, and {"mask": tree like params of bool arrays, True = trained; "labels": see SRL}.
  """
  gradient = forget_gradient(key, variables, view, hp)
  mask = most_salient(gradient, hp["threshold"], hp["threshold_rest"])
  return variables, {"mask": mask, "labels": replaced_labels(view)}


def forget_gradient(key, variables, view, hp):
  """G = sum over k of w_k grad CE(b_k) over the K shuffled forget batches, eval mode.

  fixed: w_k = 1. reference: w_k = K - k + 1, because it never clears gradients between batches and
  so counts the first batch K times; its attention biases have no gradient in eval mode.
  """
  batch_size = min(hp["batch_size"], view.size("forget"))
  order = view.order("forget", key, batch_size, pad=True)
  cumulative = hp["fidelity"] == REFERENCE
  weights = jnp.arange(order.full.index.shape[0], 0, -1) if cumulative else 1
  params, batch_stats = variables["params"], variables["batch_stats"]
  gradient, _ = signed_gradients(view, params, batch_stats, [(weights, order)], train=False)
  alive = lambda leaf, g: g if moves(leaf, hp, "eval") else jnp.zeros_like(g)
  return structure.map_leaves(alive, gradient)


def most_salient(gradient, fraction, rest=0.0):
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


def masked_sgd(hp, aux):
  """Mask the raw gradient, then decay and momentum; fixed: nothing masked moves at all."""
  parts = [scale_by_mask(aux["mask"]), sgd(hp["momentum"], hp["weight_decay"])]
  if hp["fidelity"] == FIXED:
    parts.append(gate_updates(aux["mask"]))
  return optax.chain(*parts)


def derive(hp, sizes):
  """Find what `threshold` loses in the arrays' precision: times 11 million it may be an entry."""
  del sizes
  return {"threshold_rest": hp["threshold"] - float(jnp.asarray(hp["threshold"], float))}


METHOD = Method(
  name="salun",
  title="Saliency unlearning",
  summary="Train on both sets with random labels for forget samples, but only the weights with the "
  "largest forget gradient.",
  paper="Fan et al., ICLR 2024",
  needs=frozenset({"retain", "forget"}),
  defaults={
    "threshold": 0.5,
    "learning_rate": 0.01,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_size": 256,
    "num_epochs": 10,
  },
  space={"threshold": U01, **COMMON},
  limits={"threshold": (0, 1)},
  dead=("mask_optimizer", *(f"mask_optimizer_{name}" for name in MASK_OPTIMIZER)),
  prepare=prepare,
  derive=derive,
  phases=lambda hp: (relabel(masked_sgd),),
  prepare_samples=lambda hp, sizes: 3 * sizes["forget"],
  fidelity=FIXED,
  fidelities=(REFERENCE, FIXED),
  oddities="'fixed' (our default) counts every forget batch once and holds masked weights still; "
  "the reference weights batch k of K by K-k+1 and lets weight decay move masked weights. On "
  "ResNet-18 at 32 pixels at most 37.9 % of the forget gradient is non-zero: a larger threshold "
  "adds weights that hardly ever move, and the method approaches SRL.",
  draws=DRAWS,
)
