"""Methods on a caller's model, one after another: the logits that each leaves, or why none."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmu import api
from jaxmu.api import options
from jaxmu.api.judgement import NonFinite
from jaxmu.api.model import read as read_model
from jaxmu.audit.distances import Parameters
from jaxmu.errors import UnlearningWarning, short
from jaxmu.evaluation.of_model import Images, predicted
from jaxmu.store.groups import Cost

# Warnings whose contents cautions have, too.
REPEATED = ("changed nothing", "destroyed the model", "turned non-finite", "the data hold twice")


class Asked(NamedTuple):
  """What all methods of a comparison share.

  Attributes:
    original: variables, one model for all or a list of K.
    classes: of the network.
    sets: pairs (x, y) by argument of `jaxmu.unlearn`.
    options: further arguments of it.
  """

  model: Any
  original: Any
  images: Images
  classes: int
  sets: Mapping[str, Any]
  seeds: tuple[int, ...]
  options: Mapping[str, Any]
  progress: bool = False


class Ran(NamedTuple):
  """What came of a method.

  Attributes:
    logits: [K, N, C], NaN for models that turned non-finite; None where the method did not run.
    failures: of each model where it turned non-finite, "" if it did not.
    error: why the method did not run, "" if it did.
    hyperparameters: all that it read.
    passes: work of one model; NaN where that is not known.
    cost: of all models together; None where that is not known.
    moved: Euclidean distance of each model's parameters from the original's, [K].
    curves: rows of every model, with its "seed".
    notes: what was warned of and no number shows.
  """

  logits: np.ndarray | None = None
  failures: tuple[str, ...] = ()
  error: str = ""
  hyperparameters: Mapping[str, Any] = {}
  passes: float = float("nan")
  cost: Cost | None = None
  moved: np.ndarray | None = None
  curves: tuple[Mapping[str, Any], ...] = ()
  notes: tuple[str, ...] = ()


def run(method: str, given: Mapping[str, Any], asked: Asked) -> Ran:
  """Run a method on all seeds; what goes wrong is a part of the result, and not the end.

  Args:
    given: its hyper-parameters.
  """
  call = lambda: api.unlearn(
    method,
    asked.model,
    asked.original,
    **asked.sets,
    seeds=asked.seeds,
    details=True,
    progress=asked.progress,
    **asked.options,
    **given,
  )
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UnlearningWarning)
    try:
      found = call()
    except NonFinite as error:
      found = lost(asked, error.failures)
    except Exception as error:  # another method may run where this one does not
      found = Ran(error=f"{type(error).__name__}: {short(str(error))}")
    else:
      found = of_models(asked, found)
  return found._replace(
    hyperparameters=options.method(method).hyperparameters(given), notes=tuple(_notes(caught))
  )


def of_models(asked: Asked, found: Sequence[api.Unlearned]) -> Ran:
  """Predict all images with the models of a method, and measure how far they moved."""
  first, start = found[0], time.perf_counter()
  sound = [one.variables for one in found if one.variables is not None]
  each = iter(predicted(first.method, asked.model, sound, asked.images))
  logits = [None if one.variables is None else next(each) for one in found]
  predict_seconds = time.perf_counter() - start
  shape = next(array for array in logits if array is not None).shape
  cost = Cost(
    models=len(found),
    wall_s=sum(one.seconds for one in found),
    compile_s=sum(one.compile_seconds for one in found),
    predict_s=predict_seconds,
    passes=sum(one.passes for one in found),
    steps=sum(row["steps"] for row in first.curves),
  )
  return Ran(
    np.stack([np.full(shape, np.nan, np.float32) if a is None else a for a in logits]),
    failures=tuple(one.failure for one in found),
    hyperparameters=first.hyperparameters,
    passes=first.passes,
    cost=cost,
    moved=np.array([_moved(asked, k, one.variables) for k, one in enumerate(found)]),
    curves=tuple(row | {"seed": one.seed} for one in found for row in one.curves),
  )


def lost(asked: Asked, failures: tuple[str, ...]) -> Ran:
  """Return what there is of a method of which no model is finite."""
  shape = len(asked.seeds), len(asked.images.labels), asked.classes
  return Ran(np.full(shape, np.nan, np.float32), failures)


def _moved(asked: Asked, k: int, variables: Any) -> float:
  if variables is None:
    return float("nan")
  begun = asked.original[k] if isinstance(asked.original, list) else asked.original
  alone = lambda given: jax.tree.map(
    lambda leaf: np.asarray(leaf)[None], read_model(asked.model, given).variables["params"]
  )
  found = Parameters(alone(variables), {"original": alone(begun)})
  return float(found.distances["original"]["l2"][0])


def _notes(caught: Sequence[warnings.WarningMessage]) -> list[str]:
  """Return what numbers do not show; what is no business of ours is warned of again."""
  found = []
  for one in caught:
    if not issubclass(one.category, UnlearningWarning):
      warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    elif not any(words in str(one.message) for words in REPEATED):
      found.append(str(one.message))
  return list(dict.fromkeys(found))
