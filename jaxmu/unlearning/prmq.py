"""PRMQ, prune, reinitialise, match, quantise: replace small weights by noise, match entropies.

Solution 4 of the NeurIPS 2023 unlearning challenge (methods.md 6.4).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.data import streams
from jaxmu.models import structure
from jaxmu.settings.ranges import EPOCHS, Range
from jaxmu.training import Pass, Phase, Report, Step, View, heavy_ball, hyper, schedules
from jaxmu.training.hyper import Distribution
from jaxmu.training.losses import cross_entropy, entropy, mean
from jaxmu.training.method import Method, Sizes
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Hp, Options, Tree, Variables
from jaxmu.training.task import Batch
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.selection import count, lost, smallest

REAL_EPOCHS = Range(0, EPOCHS.high, low_open=True)
POOL = ("conv", "linear_w", "linear_b")  # kinds of leaves that are pruned together
WEIGHTS = ("conv", "linear_w")  # those whose zeros are redrawn
COUNT_POWER = -0.1  # w_c = n_c^-0.1


class Teacher(NamedTuple):
  """What the loss reads besides the batch.

  Attributes:
    entropy: [N], of the original's predictions on retain samples; NaN elsewhere.
    class_weights: [C], 0 for classes that do not occur.
  """

  entropy: jax.Array
  class_weights: jax.Array


def prepare(variables: Variables, step: Step) -> tuple[Variables, Teacher]:
  """Cache the teacher's entropies; prune, and redraw what is zero."""
  view, hp, options = step.view, step.hp, step.options
  entropies = entropy(view.logits(variables, "retain", options["batch_size"]))
  counts = view.class_counts("retain", options["num_classes"])
  weights = jnp.where(counts > 0, jnp.maximum(counts, 1) ** COUNT_POWER, 0)
  params = variables["params"]
  pruned = prune(params, count(hp["prune_amount"], pool_size(params), rest=hp["prune_rest"]))
  params = reinitialise(step.key, view, params, pruned)
  return {**variables, "params": params}, Teacher(view.table({"retain": entropies}), weights)


def pool_size(params: Tree) -> int:
  """Return Q, the number of weights and linear biases of all convolutions and linear layers."""
  pooled = structure.mask(params, lambda leaf: leaf.kind in POOL)
  sizes = jax.tree.map(lambda p, chosen: p.size if chosen else 0, params, pooled)
  return sum(jax.tree.leaves(sizes))


def prune(params: Tree, number: Array) -> Tree:
  """Mark the `number` smallest |theta| of the whole pool: tree like params of bool arrays."""
  pooled = structure.mask(params, lambda leaf: leaf.kind in POOL)
  leaves, form = jax.tree.flatten(params)
  chosen = jax.tree.leaves(pooled)
  pool = [jnp.abs(leaf).reshape(-1) for leaf, inside in zip(leaves, chosen) if inside]
  marks = smallest(jnp.concatenate(pool), number)
  each = iter(jnp.split(marks, _ends(pool)))
  spread = lambda leaf, inside: next(each).reshape(leaf.shape) if inside else jnp.zeros((), bool)
  return jax.tree.unflatten(form, [spread(*each) for each in zip(leaves, chosen)])


def _ends(arrays: Sequence[Array]) -> list[int]:
  """Return the places at which a concatenation falls apart again."""
  return [sum(a.size for a in arrays[:i]) for i in range(1, len(arrays))]


def reinitialise(key: Array, view: View, params: Tree, pruned: Tree) -> Tree:
  """Redraw every weight that is pruned or zero from U[+-1/sqrt(fan_in)]; pruned biases become 0."""
  weights = structure.mask(params, lambda leaf: leaf.kind in WEIGHTS)
  fresh = draws.renew(key, view, "prmq", params, weights)

  def renew(old: Array, new: Array, gone: Array, is_weight: bool) -> Array:
    return jnp.where(gone | (old == 0), new, old) if is_weight else jnp.where(gone, 0, old)

  return jax.tree.map(renew, params, fresh, pruned, weights)


def loss(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """CE_w(B) + mean (H(p) - H(p_teacher))^2, CE_w a weighted mean by class."""
  teacher = step.aux
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  weights = teacher.class_weights[batch.y]
  if batch.weight is not None:
    weights = weights * batch.weight.astype(weights.dtype)
  apart = jnp.square(entropy(logits) - teacher.entropy[batch.index])
  value = mean(cross_entropy(logits, batch.y), weights) + mean(apart, batch.weight)
  return value, report(batch_stats, logits, batch.y, batch)


def quantise(variables: Variables, step: Step) -> Variables:
  """Round parameters and running statistics to the nearest float16, in their own dtype."""
  return jax.tree.map(nearest_half, variables)


def nearest_half(x: Array) -> Array:
  """Round to float16 and back.

  Written out because XLA may drop a pair of conversions (xla_allow_excess_precision). It never
  drops `reduce_precision`, which turns subnormal values to 0. As in PyTorch, float64 goes through
  float32.
  """
  single = x.astype(jnp.float32)
  subnormal = jnp.round(single * 2.0**24) * 2.0**-24
  rounded = lax.reduce_precision(single, exponent_bits=5, mantissa_bits=10)
  return jnp.where(jnp.abs(single) < 2.0**-14, subnormal, rounded).astype(x.dtype)


def derive(hp: Mapping[str, Any], sizes: Sizes) -> dict[str, float]:
  """Count steps and epochs; and find what `prune_amount` loses in the arrays' precision."""
  batches = streams.steps("retain", sizes, hp["batch_size"])
  steps = math.floor(hp["num_epochs"] * batches) + 1  # the reference stops after its budget
  return {
    "steps": steps,
    "epochs": math.ceil(steps / batches),
    "prune_rest": lost(hp["prune_amount"]),
  }


def phases(options: Options) -> tuple[Phase, ...]:
  """Fine-tune at a constant rate for a number of steps, not of epochs."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=loss,
    transform=heavy_ball,
    schedule=schedules.constant_rate,
    budget=lambda hp: hp["steps"],
  )
  return (Phase("match entropies", (step,), epochs=lambda hp: hp["epochs"]),)


def work(hp: Hp, sizes: Sizes, options: Options) -> float:
  """Count the teacher's answers."""
  return sizes["retain"]


METHOD = Method(
  name="prmq",
  label="PRMQ",
  title="Prune, reinitialise, match, quantise",
  summary="Redraw the smallest weights, fine-tune on retain while matching the original's output "
  "entropy, and round to half precision.",
  paper="NeurIPS 2023 unlearning challenge, rank 4",
  needs=frozenset({"retain"}),
  hyper={
    "prune_amount": hyper.share(0.99),
    "learning_rate": hyper.rate(5e-4),
    "momentum": hyper.mom(0.9),
    "weight_decay": hyper.decay(5e-4),
    "batch_size": hyper.batch(64),
    "num_epochs": hyper.epochs(3.2, within=REAL_EPOCHS, search=Distribution("uniform", 1.0, None)),
  },
  prepare=prepare,
  phases=phases,
  derive=derive,
  finish=quantise,
  prepare_samples=work,
  oddities="The number of epochs is real; training goes on for one step beyond it. A class that "
  "does not occur in retain gets weight 0, where the reference fails. Exact zeros are redrawn even "
  "if they were not pruned. The result holds float16 values.",
  draws={"fresh": "tree like params; its convolution and linear kernels replace the drawn ones"},
)
