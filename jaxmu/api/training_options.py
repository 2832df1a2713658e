"""What a caller trains an original or a retrained model with, beside hyper-parameters."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmu.data.augment import Augmented, Rule, augmented
from jaxmu.errors import MethodError, shown
from jaxmu.settings.ranges import BELOW_ONE, POSITIVE, Unfit, fit
from jaxmu.training import own_recipe
from jaxmu.training.anchors import ANCHORS, trained_by
from jaxmu.training.method import Method
from jaxmu.training.own_recipe import PAPER, Recipe

OPTIONS = ("optimizer", "loss", "augment", "label_smoothing", "class_weights")


class Training(NamedTuple):
  """A method, the hyper-parameters that were given, and how stored samples are augmented."""

  method: Method
  hyperparameters: dict[str, Any]
  recipe: Recipe
  augment: Any = None

  def rule(self, rule: Rule | None, x: np.ndarray) -> Rule | None:
    """Return what becomes of stored samples like x; `DataError` where they cannot be augmented."""
    if self.augment is None:
      return rule
    made = Augmented(self.augment, rule)
    like = jax.ShapeDtypeStruct((2, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype))
    jax.eval_shape(lambda *given: augmented(made, *given), like, jax.random.key(0))
    return made

  def check(self, params: Any, num_classes: int) -> None:
    """Try the recipe on shapes; `MethodError` where a part of it does not fit."""
    if self.recipe != PAPER:
      own_recipe.check(self.recipe, params, num_classes)


def taken(method: Method, given: Mapping[str, Any]) -> Training:
  """Take what says how an anchor is trained out of what is given with hyper-parameters.

  Raises:
    MethodError: a part of it is of the wrong form.
  """
  known = [name for name in OPTIONS if given.get(name) is not None]
  # {"learning_rate": ...} as an optimizer is the reference's way to group hyper-parameters.
  known = [name for name in known if not (name == "optimizer" and isinstance(given[name], Mapping))]
  if ANCHORS.get(method.name) is not method:
    return Training(method, dict(given), PAPER)
  asked = {name: given[name] for name in known}
  if "optimizer" in asked:
    own_recipe.check_optimizer(asked["optimizer"], "optimizer")
  for name in ("loss", "augment"):
    if name in asked and not (callable(asked[name]) and isinstance(asked[name], Hashable)):
      raise MethodError(f"{name} must be a function, got {shown(asked[name])}")
  recipe = Recipe(
    asked.get("optimizer"),
    asked.get("loss"),
    _number("label_smoothing", asked.get("label_smoothing", 0.0), BELOW_ONE),
    _weights(asked.get("class_weights", ())),
  )
  if recipe.loss is not None and recipe.label_smoothing:
    raise MethodError("loss= was given with label_smoothing=; expected one or the other")
  left_out = {name for name in OPTIONS if name in given and given[name] is None} | asked.keys()
  rest = {name: value for name, value in given.items() if name not in left_out}
  return Training(trained_by(method.name, recipe), rest, recipe, asked.get("augment"))


def _number(name: str, given: Any, within: Any) -> float:
  try:
    return float(fit(given, float, within))
  except Unfit as expected:
    raise MethodError(f"{name} must be {expected}, got {shown(given)}") from None


def _weights(given: Any) -> tuple[float, ...]:
  try:
    values = np.asarray(given, float)
  except (TypeError, ValueError):
    values = np.zeros(())
  if values.ndim != 1:
    raise MethodError(f"class_weights must be numbers, one for each class, got {shown(given)}")
  return tuple(_number("class_weights", float(value), POSITIVE) for value in values)
