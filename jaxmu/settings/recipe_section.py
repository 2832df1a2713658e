"""The section of a config that trains original and retrained models otherwise than the paper."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import ValidationInfo
from pydantic.dataclasses import dataclass

from jaxmu.own_code.names import is_reference
from jaxmu.settings.entries import Entry
from jaxmu.settings.ranges import BELOW_ONE, POSITIVE, Unfit, fit
from jaxmu.settings.readers import decimal, file_path, pieces, sha256
from jaxmu.settings.sections import STRICT


def _own(kind: str) -> Callable[[Any, ValidationInfo], str]:
  """Return a reader of a reference to a user's own code, or of nothing."""

  def read(given: Any, info: ValidationInfo) -> str:
    text = fit(given, str)
    if text and not is_reference(text):
      raise Unfit("MODULE:NAME, as in my_module:name")
    if text and info.context is not None and kind in info.context.own:
      info.context.own[kind](text)
    return text

  return read


def _weights(given: Any, info: ValidationInfo) -> tuple[float, ...]:
  del info
  try:
    return tuple(fit(decimal(one), float, POSITIVE) for one in pieces(given))
  except Unfit as error:
    raise Unfit(f"numbers apart by commas, each {error}") from None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecipeSettings:
  """How original and retrained models are trained, beside `training`.

  Empty entries are the paper's recipe.
  """

  optimizer: Annotated[
    str,
    Entry(
      "optimizer in place of SGD: `MODULE:NAME` of one of optax (`optax:adamw`), or of your own "
      "function that returns such a one; it gets `learning_rate` (that of `training`, annealed), "
      "`momentum` and `weight_decay` if it takes them",
      read=_own("optimizers"),
    ),
  ] = ""
  loss: Annotated[
    str,
    Entry(
      "loss in place of cross-entropy: `MODULE:NAME` of a function of logits and labels that "
      "returns a number for each sample",
      read=_own("losses"),
    ),
  ] = ""
  label_smoothing: Annotated[
    float,
    Entry(
      "share of the target that is spread over all classes, of cross-entropy", within=BELOW_ONE
    ),
  ] = 0.0
  class_weights: Annotated[
    tuple[float, ...],
    Entry("a weight for each class, by which losses are averaged; empty: all alike", read=_weights),
  ] = ()
  augment: Annotated[
    str,
    Entry(
      "augmentation in place of the data set's: `MODULE:NAME` of a function of a batch of "
      "stored images and a jax key that returns such a batch. Methods that augment use it, too",
      read=_own("augmentations"),
    ),
  ] = ""
  start: Annotated[
    str,
    Entry(
      "weights that original and retrained models start from, in place of random ones: "
      "an `.npz` file, a state dict of PyTorch, or a checkpoint's folder. A last layer of other "
      "classes is drawn",
      read=file_path,
      incidental=True,
    ),
  ] = ""
  start_sha256: Annotated[
    str,
    Entry(
      "SHA-256 of these weights: found when a config is read. Where it is given, others are "
      "refused",
      read=sha256,
    ),
  ] = ""
  original: Annotated[
    str,
    Entry(
      "original models of your own, in such files: a path with `{{seed}}` where they differ (and "
      "`{{draw}}`, `{{split}}`, `{{forget}}` where members have them). Nothing is trained for them",
      read=file_path,
    ),
  ] = ""
  retrained: Annotated[
    str,
    Entry("retrained models of your own, likewise (and `{{round}}`)", read=file_path),
  ] = ""

  @property
  def changed(self) -> dict[str, Any]:
    """What differs from the paper's recipe and decides numbers, JSON-ready."""
    fields = [field for field in dataclasses.fields(self) if field.name != "start"]
    found = {field.name: getattr(self, field.name) for field in fields}
    plain = lambda value: list(value) if isinstance(value, tuple) else value
    return {f.name: plain(found[f.name]) for f in fields if found[f.name] != f.default}
