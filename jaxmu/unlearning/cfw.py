"""CFW, confuse, fine-tune, weaken: noise on the first convolution, fine-tuning, a little noise.

Solution 3 of the NeurIPS 2023 unlearning challenge (methods.md 6.3).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmu.models import structure
from jaxmu.training import Pass, Phase, schedules, sgd
from jaxmu.training.losses import correct, cross_entropy, mean
from jaxmu.training.method import COMMON, SIG, Method
from jaxmu.training.phase import Report
from jaxmu.unlearning.parts import draws
from jaxmu.unlearning.parts.gates import stem_is_a_layer


def prepare(key, variables, view, hp):
  """Confuse the convolution; return the class weights besides, [C]."""
  std = hp["start_confuser_std"]
  params = add_noise(std > 0, key, view, variables["params"], hp, "noise0", std)
  weights = balanced_weights(view.labels("retain"), view.task.num_classes)
  return {**variables, "params": params}, weights


def add_noise(when, key, view, params, hp, draw, std):
  """theta <- theta + std xi on the convolutions in `scope` if `when`, xi standard normal.

  A branch is compiled alike in every program. Outside of one XLA would fuse the sum with what
  follows, and round it once or twice depending on the number of members.
  """
  everywhere = hp["scope"] == "all_convs"
  stem = stem_is_a_layer(view.task.module)
  chosen = lambda leaf: leaf.kind == "conv" and (everywhere or (leaf.stem and stem))
  noisy = structure.mask(params, chosen)
  given = draws.given(view, "cfw", draw, params if everywhere else structure.stem_kernel(params))

  def add(params):
    if given is None:
      noise = draws.unit_normals(key, params, noisy)
    else:
      noise = given if everywhere else jax.tree.map(lambda _: given, params)
    shift = lambda p, xi, here: p + jnp.asarray(std, p.dtype) * xi if here else p
    return jax.tree.map(shift, params, noise, noisy)

  return lax.cond(when, add, lambda params: params, params)


def balanced_weights(labels, num_classes):
  """Return w_c = n / (C n_c), with C the number of classes that occur; 0 for the others."""
  counts = jnp.bincount(labels, length=num_classes).astype(float)
  occurring = jnp.sum(counts > 0)
  return jnp.where(counts > 0, labels.size / (occurring * jnp.maximum(counts, 1)), 0)


def loss(forward, params, batch_stats, batch, class_weights, hp, key):
  """CE(B) times the mean class weight of the batch; `per_sample` weights each sample by its own."""
  del key
  logits, batch_stats = forward(params, batch_stats, batch.x, batch.weight)
  values, weights = cross_entropy(logits, batch.y), class_weights[batch.y]
  if hp["per_sample"]:
    value = mean(weights * values, batch.weight)
  else:
    value = mean(weights, batch.weight) * mean(values, batch.weight)
  return value, Report(batch_stats, mean(correct(logits, batch.y), batch.weight))


def weaken(key, view, variables, memory, epoch, class_weights, hp):
  """Add the second noise at the end of the last epoch but one; momentum is kept."""
  del class_weights
  now = epoch == hp["num_epochs"] - 2
  std = hp["final_confuser_std"]
  return add_noise(now, key, view, variables["params"], hp, "noise1", std), memory


FINE_TUNE = Pass(
  stream="retain",
  loss=loss,
  transform=lambda hp, aux: sgd(hp["momentum"], hp["weight_decay"]),
  schedule=lambda hp, steps: schedules.cosine(hp["learning_rate"], hp["num_epochs"], steps),
)

NOISE = (
  "unit normal array like the stem's kernel; with scope all_convs a tree like params, whose "
  "convolution kernels are used"
)

METHOD = Method(
  name="cfw",
  title="Confuse, fine-tune, weaken",
  summary="Add noise to the first convolution, fine-tune on retain with class weights, and add a "
  "little noise again before the last epoch.",
  paper="NeurIPS 2023 unlearning challenge, rank 3",
  needs=frozenset({"retain"}),
  defaults={
    "start_confuser_std": 0.6,
    "final_confuser_std": 0.005,
    "learning_rate": 7e-4,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "num_epochs": 4,
    "scope": "stem",
    "per_sample": False,
  },
  space={"start_confuser_std": SIG, "final_confuser_std": SIG, **COMMON},
  choices={"scope": ("stem", "all_convs"), "per_sample": (False, True)},
  dead=("class_weight",),
  prepare=prepare,
  phases=lambda hp: (Phase("weighted fine-tune", (FINE_TUNE,), after=weaken),),
  oddities="Noise reaches the first convolution only, and none of TinyViT's (option scope: "
  "all_convs). The class weights multiply the batch's mean loss by their own mean, so they do not "
  "weigh classes against one another (option per_sample does).",
  draws={"noise0": f"start: {NOISE}", "noise1": f"before the last epoch: {NOISE}"},
)
