"""CFW, confuse, fine-tune, weaken: noise on the first convolution, fine-tuning, a little noise.

Solution 3 of the NeurIPS 2023 unlearning challenge (methods.md 6.3).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu import models
from jaxmu.models import structure
from jaxmu.training import Pass, Phase, Report, Step, heavy_ball, hyper, schedules
from jaxmu.training.losses import cross_entropy, mean
from jaxmu.training.method import Method
from jaxmu.training.objectives import report
from jaxmu.training.phase import Array, Options, Tree, Variables
from jaxmu.training.task import Batch
from jaxmu.unlearning.parts import draws


def prepare(variables: Variables, step: Step) -> tuple[Variables, Array]:
  """Confuse the convolution; return the class weights besides, [C]."""
  std = step.hp["start_confuser_std"]
  params = add_noise(std > 0, variables["params"], step, "noise0", std)
  counts = step.view.class_counts("retain", step.options["num_classes"])
  size = jnp.sum(counts) if step.view.ragged else step.view.size("retain")
  weights = balanced_weights(counts, size)
  return {**variables, "params": params}, weights


def add_noise(when: Array, params: Tree, step: Step, draw: str, std: Array) -> Tree:
  """theta <- theta + std xi on the convolutions in `scope` if `when`, xi standard normal.

  A branch is compiled alike in every program. Outside of one XLA would fuse the sum with what
  follows, and round it once or twice depending on the number of members.
  """
  view, everywhere = step.view, step.options["scope"] == "all_convs"
  noisy = _noisy(view.task.module, params, everywhere)
  given = draws.given(view, "cfw", draw, params if everywhere else structure.stem_kernel(params))

  def add(params: Tree) -> Tree:
    if given is None:
      noise = draws.unit_normals(step.key, params, noisy)
    else:
      noise = given if everywhere else jax.tree.map(lambda _: given, params)
    shift = lambda p, xi, here: p + jnp.asarray(std, p.dtype) * xi if here else p
    return jax.tree.map(shift, params, noise, noisy)

  return lax.cond(when, add, lambda params: params, params)


def _noisy(module: Any, params: Tree, everywhere: bool) -> Tree:
  """Return a tree like params, True for the convolutions that receive noise."""
  stem = models.stem_is_a_layer(module)
  chosen = lambda leaf: leaf.kind == "conv" and (everywhere or (leaf.stem and stem))
  return structure.mask(params, chosen)


def balanced_weights(counts: Array, size: Array | int) -> Array:
  """Return w_c = n / (C n_c), with C the number of classes that occur; 0 for the others.

  Args:
    counts: float [C], n_c. size: n, their sum.
  """
  occurring = jnp.sum(counts > 0).astype(counts.dtype)
  return jnp.where(counts > 0, size / (occurring * jnp.maximum(counts, 1)), 0)


def loss(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
  """CE(B) times the mean class weight of the batch; `per_sample` weights each sample by its own."""
  logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
  values, weights = cross_entropy(logits, batch.y), step.aux[batch.y]
  if step.options["per_sample"]:
    value = mean(weights * values, batch.weight)
  else:
    value = mean(weights, batch.weight) * mean(values, batch.weight)
  return value, report(batch_stats, logits, batch.y, batch)


def weaken(variables: Variables, step: Step) -> tuple[Tree, tuple]:
  """Add the second noise at the end of the last epoch but one; momentum is kept."""
  now = step.epoch == step.hp["num_epochs"] - 2
  std = step.hp["final_confuser_std"]
  return add_noise(now, variables["params"], step, "noise1", std), step.memory


def phases(options: Options) -> tuple[Phase, ...]:
  """Fine-tune with class weights, cosine per epoch."""
  step = Pass(
    stream="retain",
    batch_size=options["batch_size"],
    loss=loss,
    transform=heavy_ball,
    schedule=schedules.cosine_rate,
  )
  return (Phase("weighted fine-tune", (step,), after=weaken),)


def inert(module: Any, params: Tree, options: Options) -> str:
  """Look for convolutions in `scope`."""
  everywhere = options["scope"] == "all_convs"
  some = any(jax.tree.leaves(_noisy(module, params, everywhere)))
  return "" if some else "convolution that its noise is for, and only fine-tunes"


NOISE = (
  "unit normal array like the stem's kernel; with scope all_convs a tree like params, whose "
  "convolution kernels are used"
)

METHOD = Method(
  name="cfw",
  label="CFW",
  title="Confuse, fine-tune, weaken",
  summary="Add noise to the first convolution, fine-tune on retain with class weights, and add a "
  "little noise again before the last epoch.",
  paper="NeurIPS 2023 unlearning challenge, rank 3",
  needs=frozenset({"retain"}),
  hyper={
    "start_confuser_std": hyper.strength(0.6),
    "final_confuser_std": hyper.strength(0.005),
    **hyper.training(learning_rate=7e-4, batch_size=64, num_epochs=4),
    "scope": hyper.option("stem", "stem", "all_convs"),
    "per_sample": hyper.option(False, False, True),
    "class_weight": hyper.DEAD,
  },
  prepare=prepare,
  phases=phases,
  inert=inert,
  oddities="Noise reaches the first convolution only, and none of TinyViT's (option scope: "
  "all_convs). The class weights multiply the batch's mean loss by their own mean, so they do not "
  "weigh classes against one another (option per_sample does).",
  draws={"noise0": f"start: {NOISE}", "noise1": f"before the last epoch: {NOISE}"},
)
