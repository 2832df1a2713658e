"""A recipe of a user's own for original and retrained models: checked, and made into parts."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmu.errors import MethodError, shown
from jaxmu.own_code import references
from jaxmu.settings import RecipeSettings
from jaxmu.training import objectives
from jaxmu.training.losses import cross_entropy, mean
from jaxmu.training.phase import Array, Loss, Optimizer, Report, Step, Tree
from jaxmu.training.schedules import Schedule, constant
from jaxmu.training.task import Batch

GIVEN = ("momentum", "weight_decay")  # hyper-parameters that an optimizer gets if it takes them


class Recipe(NamedTuple):
  """What is not as in the paper; hashable, as programs are looked up by it.

  Attributes:
    optimizer: one of optax, or a function that returns one; see `optimizer`.
    loss: a function of logits [B, C] and labels [B] that returns a number for each sample.
    label_smoothing: share of the target that is spread over all classes.
    class_weights: a number for each class; none: all alike.
  """

  optimizer: Any = None
  loss: Callable[[Array, Array], Array] | None = None
  label_smoothing: float = 0.0
  class_weights: tuple[float, ...] = ()


PAPER = Recipe()


def function(reference: str, what: str) -> Callable[..., Any]:
  """Return the function that a reference names; `MethodError` where there is none."""
  found = references.find(reference, what, MethodError)
  if not isinstance(found, Hashable) or not callable(found):
    raise MethodError(f"{what} {reference} is {shown(found)}; expected a function")
  return found


def read(settings: RecipeSettings) -> Recipe:
  """Return the recipe of settings; `MethodError` where a reference names nothing of the kind."""
  return Recipe(
    read_optimizer(settings.optimizer) if settings.optimizer else None,
    function(settings.loss, "loss") if settings.loss else None,
    settings.label_smoothing,
    settings.class_weights,
  )


def read_optimizer(reference: str) -> Any:
  """Return the optimizer, or the function that makes one, that a reference names."""
  found = references.find(reference, "optimizer", MethodError)
  check_optimizer(found, f"optimizer {reference}")
  return found


def check_optimizer(given: Any, called: str) -> None:
  """Raise `MethodError` for what is neither an optimizer of optax nor a function."""
  if not isinstance(given, optax.GradientTransformation) and not callable(given):
    raise MethodError(
      f"{called} is {shown(given)}; expected an optimizer of optax, such as optax.adamw, or a "
      "function that returns one"
    )
  if not isinstance(given, Hashable):
    raise MethodError(f"{called} cannot be hashed, and programs are looked up by it")


def optimizer(given: Any, called: str = "optimizer") -> Optimizer:
  """Return a user's optimizer as a pass takes it.

  Args:
    given: an optimizer of optax, whose updates are added to the parameters; or a function that
      returns one, and gets those of `learning_rate` (a function of the step count), `momentum` and
      `weight_decay` that it takes.
  """

  def build(step: Step, rate: Schedule) -> optax.GradientTransformation:
    return _loosely(_made(given, called, {name: step.hp[name] for name in GIVEN}, rate))

  return build


def _made(
  given: Any, called: str, hp: dict[str, Any], rate: Schedule
) -> optax.GradientTransformation:
  if isinstance(given, optax.GradientTransformation):
    return given
  found = references.call(given, called, MethodError, learning_rate=rate, **hp)
  if not isinstance(found, optax.GradientTransformation):
    raise MethodError(f"{called} gives {shown(found)}; expected an optimizer of optax")
  return found


def _loosely(chain: optax.GradientTransformation) -> optax.GradientTransformation:
  """Let an optimizer mix types where a program forbids it; updates have the parameters' types."""

  def init(params: Tree) -> Any:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
      return chain.init(params)

  def update(gradients: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
      updates, state = chain.update(gradients, state, params)
    return jax.tree.map(lambda own, like: own.astype(like.dtype), updates, gradients), state

  return optax.GradientTransformation(init, update)


def objective(recipe: Recipe) -> Loss:
  """Return the loss of a recipe; that of the paper is the one that all methods share."""
  if recipe._replace(optimizer=None) == PAPER:
    return objectives.classification

  def loss(params: Tree, batch_stats: Tree, batch: Batch, step: Step) -> tuple[Array, Report]:
    logits, batch_stats = step.forward(params, batch_stats, batch.x, batch.weight)
    values = mean(per_sample(recipe, logits, batch.y), batch.weight)
    if recipe.class_weights:
      weights = jnp.asarray(recipe.class_weights, logits.dtype)
      values /= mean(jnp.take(weights, batch.y), batch.weight)
    return values, objectives.report(batch_stats, logits, batch.y, batch)

  return loss


def per_sample(recipe: Recipe, logits: Array, labels: Array) -> Array:
  """Return the loss of each sample, times the weight of its class: [B, C], [B] -> [B].

  Smoothed targets weigh each class by its own weight, as PyTorch's cross-entropy does.
  """
  weights = jnp.asarray(recipe.class_weights or [1.0] * logits.shape[-1], logits.dtype)
  if recipe.loss is not None:
    return _own_loss(recipe.loss, logits, labels) * jnp.take(weights, labels)
  sharp = cross_entropy(logits, labels) * jnp.take(weights, labels)
  if not recipe.label_smoothing:
    return sharp
  share = jnp.asarray(recipe.label_smoothing, logits.dtype)
  spread = -jnp.mean(weights[None] * jax.nn.log_softmax(logits, axis=-1), axis=-1)
  return (1 - share) * sharp + share * spread


def _own_loss(function: Callable[[Array, Array], Array], logits: Array, labels: Array) -> Array:
  given = f"logits {logits.shape} and labels {labels.shape}"
  with (
    references.guarded(MethodError, f"loss cannot be applied to {given}"),
    jax.numpy_dtype_promotion("standard"),
    jax.numpy_rank_promotion("allow"),
  ):
    found = function(logits, labels)
  if getattr(found, "shape", None) != labels.shape or not jnp.issubdtype(found.dtype, jnp.floating):
    raise MethodError(
      f"loss gives {shown(found)}; expected a float for each sample, of shape {labels.shape}: "
      "leave out its mean, which leaves padding out and weighs classes"
    )
  return found.astype(logits.dtype)


def check(recipe: Recipe, params: Tree, num_classes: int) -> None:
  """Try a recipe on shapes, and an optimizer on two numbers, before anything is compiled.

  Args:
    params: of one model; shapes will do.

  Raises:
    MethodError: a part of it raises, gives something else, or weighs other classes.
  """
  if recipe.class_weights and len(recipe.class_weights) != num_classes:
    raise MethodError(
      f"class_weights are {len(recipe.class_weights)} numbers; expected {num_classes}, one for "
      "each class"
    )
  if recipe.loss is not None:
    logits = jax.ShapeDtypeStruct((2, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    jax.eval_shape(lambda *given: per_sample(recipe, *given), logits, labels)
  if recipe.optimizer is not None:
    _try_optimizer(recipe.optimizer, params)


def _try_optimizer(given: Any, params: Tree) -> None:
  hp = dict.fromkeys(GIVEN, 0.0)

  def twice(params: Tree) -> Any:
    made = _loosely(_made(given, "optimizer", hp, constant(0.1)))
    state = made.init(params)
    return made.update(params, state, params)[1], state

  what = "optimizer cannot be applied to this network's parameters"
  with references.guarded(MethodError, what):
    after, before = jax.eval_shape(twice, params)
  kinds = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
  if kinds(after) != kinds(before):
    raise MethodError("optimizer changes shapes or types of its state, which a compiled loop keeps")
  # An optimizer of optax goes down, and what is still to be multiplied by -rate goes up.
  few = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
  try:
    made = _loosely(_made(given, "optimizer", hp, constant(0.1)))
    updates = jax.tree.leaves(made.update(jax.tree.map(jnp.ones_like, few), made.init(few), few)[0])
  except Exception:  # one that wants the network's own names; then nothing is known
    return
  if any((leaf > 0).any() for leaf in updates) and not any((leaf < 0).any() for leaf in updates):
    raise MethodError(
      "optimizer goes up the gradient, so it lacks its learning rate; expected one as optax.sgd, "
      "which ends in optax.scale_by_learning_rate(learning_rate)"
    )
