"""The Python interface for your own Flax model and data: `unlearn`, `predict`, `methods`."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.engine.population import Population
from jaxmu.errors import DataError, MethodError, ModelError
from jaxmu.execution import predictions, runner
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import METHODS, describe, get

Pair = tuple[Any, Any]


def unlearn(
  method: str,
  model: nn.Module,
  variables: Mapping[str, Any],
  *,
  retain: Pair | None = None,
  forget: Pair | None = None,
  validation: Pair | None = None,
  key: jax.Array | None = None,
  shuffle: bool = True,
  fidelity: str | None = None,
  randomness: Mapping[str, Any] | None = None,
  **hyperparameters,
) -> dict[str, Any]:
  """Remove the influence of the forget set from a trained network.

  >>> unlearned = jaxmu.unlearn("msg", model, variables, retain=(x_r, y_r), forget=(x_f, y_f),
  ...                           key=jax.random.key(0), learning_rate=1e-3, num_epochs=5)

  Args:
    method: a name of `jaxmu.methods()`, or "original"/"retrained" to train from `variables`.
    model: a linen module whose call takes images [B, H, W, C] and a train flag (`train`,
      `training`, `deterministic`, `use_running_average` ...) and returns logits [B, classes].
    variables: {"params", "batch_stats"}; batch_stats may be absent. Not modified.
    retain, forget, validation: (x float, normalised, [n, H, W, C]; y int [n]). Only the sets that
      the method needs are read; the others may be left out.
    key: typed PRNG key; `jax.random.key(0)` where None. Equal keys give equal results.
    shuffle: False visits every set in stored order.
    fidelity: "reference", "fixed", or None for the method's default (methods.md 0.2).
    randomness: replacements for the method's random draws, by name (`jaxmu.methods()[m]["draws"]`).
    **hyperparameters: of the method; names and defaults as in `jaxmu.methods()`.

  Returns:
    New variables, {"params", "batch_stats"} (without batch_stats where the model has none).

  Raises:
    MethodError: unknown method, hyper-parameter or draw, a missing set, or a key of the wrong form.
    DataError: images and labels of the wrong form (shape, type, label range, NaN).
    ModelError: variables or model of the wrong form.
    FloatingPointError: the model turned non-finite; the message says in which steps.
  """  # fmt: skip
  chosen = get(method)
  _check_model(model)
  _check_variables(variables)
  given = {"retain": retain, "forget": forget, "val": validation}
  sets = {name: _pair(name, given[name], chosen) for name in sorted(chosen.needs)}
  first, _ = next(iter(sets.values()))
  classes = _count_classes(model, variables, first)
  for name, (x, y) in sets.items():
    _check_pair(name, x, y, first.shape[1:], classes)
  population = Population(1, devices=(jax.devices()[0],))
  problem = _problem(population, Task(model, classes, shuffle=shuffle), sets)
  outcome = runner.run(
    chosen, problem, _alone(_collections(variables)),
    hp=[chosen.hyperparameters(hyperparameters)], keys=_key(key)[None], fidelity=fidelity,
    draws=_alone(dict(randomness or {})),
  )  # fmt: skip
  if outcome.failures[0]:
    raise FloatingPointError(
      f"{method} turned non-finite in {outcome.failures[0]}; try a smaller learning_rate"
    )
  result = jax.tree.map(lambda leaf: leaf[0], outcome.variables)
  if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(result)):
    raise FloatingPointError(
      f"{method} turned non-finite in its last step; try a smaller learning_rate"
    )
  return result if "batch_stats" in variables else {"params": result["params"]}


def predict(
  model: nn.Module, variables: Mapping[str, Any], x: Any, *, batch_size: int = 500
) -> np.ndarray:
  """Return eval-mode logits [N, classes] for x, float, normalised, [N, H, W, C].

  Raises:
    DataError: for images of the wrong form or a batch size below 1.
    ModelError: for variables or a model of the wrong form.
  """
  _check_model(model)
  _check_variables(variables)
  if batch_size < 1:
    raise DataError(f"batch_size must be at least 1, got {batch_size}")
  x = np.asarray(x)
  _check_images("x", x)
  population = Population(1, devices=(jax.devices()[0],))
  task = Task(model, _count_classes(model, variables, x))
  arrays = population.share(Arrays(jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
  stacked = _alone(_collections(variables))
  return predictions.logits(population, task, arrays, stacked, batch_size)[0]


def methods() -> dict[str, dict[str, Any]]:
  """Return name -> title, summary, paper, needs, hyperparameters, fidelity, oddities and draws."""
  return {name: describe(method) for name, method in METHODS.items()}


def _collections(variables):
  return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def _alone(tree):
  """Make one model a population of one: leaves [...] become [1, ...]."""
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def _key(key):
  key = jax.random.key(0) if key is None else key
  if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    key = jax.random.key_data(key)  # else an old-style key, [2] already
  if getattr(key, "shape", None) != (2,) or key.dtype != jnp.uint32:
    raise MethodError(f"key must be one threefry key, such as jax.random.key(0); got {key!r}")
  return jax.random.wrap_key_data(key)


def _check_model(model):
  if not isinstance(model, nn.Module):
    raise ModelError(f"model must be an instance of flax.linen.Module, got {model!r:.60}")
  try:
    hash(model)
  except TypeError as error:
    raise ModelError(
      f"{type(model).__name__} has a list, dict or array among its attributes, so programs cannot "
      "be looked up by it; use tuples"
    ) from error


def _check_variables(variables):
  if not isinstance(variables, Mapping) or "params" not in variables:
    given = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
    raise ModelError(f"variables must be a mapping with 'params' (and 'batch_stats'), got {given}")


def _pair(name, pair, method):
  if pair is None:
    argument = "validation" if name == "val" else name
    raise MethodError(f"{method.name} needs {argument}=(x, y), which was not given")
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    raise DataError(f"{name} must be a pair (x, y), got {type(pair).__name__}")
  x, y = (np.asarray(part) for part in pair)
  _check_images(name, x)
  return x, y


def _check_images(name, x):
  if x.ndim != 4 or len(x) == 0:
    raise DataError(f"{name}: images must have shape [n >= 1, H, W, C], got {x.shape}")
  if not np.issubdtype(x.dtype, np.floating):
    raise DataError(f"{name}: images must be float and normalised, got {x.dtype}")
  bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3)))
  if len(bad):
    raise DataError(f"{name}: {len(bad)} images hold NaN or infinity, the first at index {bad[0]}")


def _check_pair(name, x, y, shape, classes):
  if x.shape[1:] != shape:
    raise DataError(f"{name}: images have shape {x.shape[1:]}, those of another set {shape}")
  if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
    raise DataError(
      f"{name}: labels must be integers of shape ({len(x)},), got {y.dtype} {y.shape}"
    )
  if y.min() < 0 or y.max() >= classes:
    raise DataError(f"{name}: labels must lie in 0..{classes - 1}, got {y.min()}..{y.max()}")


def _count_classes(model, variables, x) -> int:
  """Ask the model, without computing anything, how many logits it gives."""
  task = Task(model, 0)
  spec = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.asarray(x[:0]).dtype)
  forward = lambda x: task.forward(
    variables["params"], variables.get("batch_stats", {}), x, train=False
  )
  return jax.eval_shape(forward, spec)[0].shape[-1]


def _problem(population, task, sets):
  """Concatenate the sets and remember where each one lies."""
  x = jnp.concatenate([jnp.asarray(x) for x, _ in sets.values()])
  y = jnp.concatenate([jnp.asarray(y, jnp.int32) for _, y in sets.values()])
  ends = np.cumsum([len(labels) for _, labels in sets.values()])
  index = {
    name: np.arange(end - len(labels), end, dtype=np.int32)[None]
    for (name, (_, labels)), end in zip(sets.items(), ends)
  }
  return runner.Problem(population, task, population.share(Arrays(x, y)), index)
