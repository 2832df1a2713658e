"""The Python interface for your own Flax model and data.

`unlearn` and `unlearn_requests`, `predict`, `methods`.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.audit import outcome
from jaxmu.data.overlap import check_disjoint
from jaxmu.data.samples import Samples, as_array, check_classes, check_images, check_sets
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, MethodError, UnlearningWarning, shown
from jaxmu.execution import predictions, runner
from jaxmu.models import user_network
from jaxmu.settings.ranges import SAMPLES, Unfit, fit
from jaxmu.training import Task
from jaxmu.training.method import Method
from jaxmu.training.task import Arrays
from jaxmu.unlearning import METHODS, describe, get

Pair = tuple[Any, Any]
JUDGED, JUDGED_BATCH = 1000, 500  # samples on which the result is looked at, and those of a step
_ARGUMENTS = {"retain": "retain", "forget": "forget", "val": "validation"}  # set -> argument


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
    retain, forget, validation: (x float, normalised, [n, H, W, C]; y int [n]), disjoint. Only the
      sets that the method needs are trained on; the others are checked, and may be left out.
    key: typed PRNG key; `jax.random.key(0)` where None. Equal keys give equal results.
    shuffle: False visits every set in stored order.
    fidelity: "reference", "fixed", or None for the method's default (methods.md 0.2).
    randomness: replacements for the method's random draws, by name (`jaxmu.methods()[m]["draws"]`).
    **hyperparameters: of the method; names and defaults as in `jaxmu.methods()`.

  Returns:
    New variables, {"params", "batch_stats"} (without batch_stats where the model has none).

  Raises:
    MethodError: unknown method, hyper-parameter or draw, a missing set, or a key of the wrong form.
    DataError: images and labels of the wrong form (shape, type, label range, NaN), or in two sets.
    ModelError: variables or model of the wrong form.
    FloatingPointError: the model turned non-finite; the message says in which steps.

  Warns (`jaxmu.errors.UnlearningWarning`) where nothing changed, where the model no longer works on
  the retain set, or where two sets share a few samples.
  """
  chosen = _method(method)
  complete = chosen.hyperparameters(hyperparameters)
  key, draws = _key(key), _draws(randomness)
  _check_options(shuffle, fidelity)
  user_network.check_module(model)
  start = user_network.plain_variables(variables)
  sets = _sets(chosen, {"retain": retain, "forget": forget, "validation": validation})
  images = next(iter(sets.values())).x
  classes = user_network.count_classes(model, start, images)
  user_network.count_classes(model, start, images, train=True)
  user_network.refuse_unused(model, start, images)
  check_classes(sets, classes)
  _warn(check_disjoint(sets))
  population = Population(1, devices=(jax.devices()[0],))
  task = Task(model, classes, shuffle=shuffle)
  problem = _problem(
    population, task, {name: sets[_ARGUMENTS[name]] for name in sorted(chosen.needs)}
  )
  ended = runner.run(
    chosen, problem, _alone(start), hp=[complete], keys=key[None], fidelity=fidelity, draws=draws
  )
  if ended.failures[0]:
    raise FloatingPointError(
      f"{method} turned non-finite in {ended.failures[0]}; try a smaller learning_rate"
    )
  result = jax.tree.map(lambda leaf: leaf[0], ended.variables)
  if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(result)):
    raise FloatingPointError(
      f"{method} turned non-finite in its last step; try a smaller learning_rate"
    )
  _warn(_doubts(method, model, start, result, sets))
  return result if "batch_stats" in variables else {"params": result["params"]}


def unlearn_requests(
  method: str,
  model: nn.Module,
  variables: Mapping[str, Any],
  *,
  retain: Pair,
  requests: Sequence[Pair],
  key: jax.Array | None = None,
  **options,
) -> Iterator[dict[str, Any]]:
  """Unlearn requests for deletion one after another; yield the variables after each.

  Every request starts from the model that the one before left. What later ones will delete is still
  there, so it is retained until its turn comes; what earlier ones deleted is never seen again.

  >>> for unlearned in jaxmu.unlearn_requests("ft", model, variables, retain=(x, y),
  ...                                         requests=[(x_1, y_1), (x_2, y_2)]):
  ...   print(jaxmu.predict(model, unlearned, x_test))

  Args:
    retain: samples that no request names, as for `unlearn`.
    requests: pairs (x, y), disjoint, in the order in which they came.
    key: of the first request, which is `unlearn` with it; the others' are folded from it.
    **options: everything else that `unlearn` takes, hyper-parameters as well.

  Raises:
    DataError: there is no request, or one has images or labels of another form.
    What `unlearn` raises and warns of, when its turn comes.
  """
  if not isinstance(requests, list | tuple) or not requests:
    raise DataError(f"requests must be a list of pairs (x, y), got {shown(requests)}")
  names = [f"requests[{k}]" for k in range(len(requests))]
  sets = check_sets({"retain": retain, **dict(zip(names, requests))})
  return _one_by_one(method, model, variables, sets, names, _key(key), options)


def _one_by_one(
  method: str,
  model: nn.Module,
  variables: Mapping[str, Any],
  sets: Mapping[str, Samples],
  names: Sequence[str],
  key: jax.Array,
  options: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
  present = variables
  for k, name in enumerate(names):
    left = [sets["retain"], *(sets[later] for later in names[k + 1 :])]
    kept = tuple(np.concatenate(parts) for parts in zip(*left))
    own = key if k == 0 else jax.random.fold_in(key, k)
    present = unlearn(
      method, model, present, retain=kept, forget=tuple(sets[name]), key=own, **options
    )
    yield present


def predict(
  model: nn.Module, variables: Mapping[str, Any], x: Any, *, batch_size: int = 500
) -> np.ndarray:
  """Return eval-mode logits [N, classes] for x, float, normalised, [N, H, W, C].

  Raises:
    DataError: for images of the wrong form or a batch size below 1.
    ModelError: for variables or a model of the wrong form.
  """
  user_network.check_module(model)
  start = user_network.plain_variables(variables)
  try:
    batch_size = fit(batch_size, int, SAMPLES)
  except Unfit as expected:
    raise DataError(f"batch_size must be {expected}, got {shown(batch_size)}") from None
  x = check_images("x", x)
  task = Task(model, user_network.count_classes(model, start, x))
  user_network.refuse_unused(model, start, x)
  return _logits(task, start, x, batch_size)


def methods() -> dict[str, dict[str, Any]]:
  """Return name -> title, summary, paper, needs, hyperparameters, fidelity, oddities and draws."""
  return {name: describe(method) for name, method in METHODS.items()}


def _logits(task: Task, variables: Mapping[str, Any], x: np.ndarray, batch_size: int) -> np.ndarray:
  population = Population(1, devices=(jax.devices()[0],))
  arrays = population.share(Arrays(jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
  return predictions.logits(population, task, arrays, _alone(variables), batch_size)[0]


def _alone(tree):
  """Make one model a population of one: leaves [...] become [1, ...]."""
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def _method(name: Any) -> Method:
  if not isinstance(name, str):
    raise MethodError(f"method must be a name of jaxmu.methods(), got {shown(name)}")
  return get(name)


def _key(key: Any) -> jax.Array:
  given, key = key, jax.random.key(0) if key is None else key
  if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    key = jax.random.key_data(key)  # else an old-style key, [2] already
  if getattr(key, "shape", None) != (2,) or key.dtype != jnp.uint32:
    raise MethodError(
      f"key must be one threefry key, such as jax.random.key(0); got {shown(given)}"
    )
  return jax.random.wrap_key_data(key)


def _draws(randomness: Any) -> dict[str, Any]:
  """Return the replacements of random draws as arrays with a leading axis of one member."""
  if not isinstance(randomness, Mapping | None):
    raise MethodError(f"randomness must map draws to arrays, got {shown(randomness)}")

  def read(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
      return {key: read(f"{name}/{key}", child) for key, child in value.items()}
    array = as_array(f"randomness: {name}", value)
    if array.dtype.kind not in "iufV":  # V: bfloat16 and its like
      raise MethodError(f"randomness: {name} must hold numbers, got {shown(array)}")
    return jnp.asarray(array)[None]

  try:
    return {name: read(name, value) for name, value in (randomness or {}).items()}
  except DataError as error:
    raise MethodError(str(error)) from error


def _check_options(shuffle: Any, fidelity: Any) -> None:
  if not isinstance(shuffle, bool | np.bool_):
    raise MethodError(f"shuffle must be True or False, got {shown(shuffle)}")
  if not isinstance(fidelity, str | None):
    raise MethodError(f"fidelity must be default, reference or fixed, got {shown(fidelity)}")


def _sets(method: Method, given: Mapping[str, Any]) -> dict[str, Samples]:
  """Check all sets that were given, those that the method needs first."""
  for name in sorted(method.needs):
    if given[_ARGUMENTS[name]] is None:
      argument = _ARGUMENTS[name]
      raise MethodError(f"{method.name} needs {argument}=(x, y), which was not given")
  return check_sets({name: given[name] for name in sorted(given) if given[name] is not None})


def _warn(sentences: Iterable[str]) -> None:
  for sentence in sentences:
    warnings.warn(sentence, UnlearningWarning, stacklevel=3)  # at the line that called `unlearn`


def _doubts(
  method: str,
  model: nn.Module,
  before: Mapping[str, Any],
  after: Mapping[str, Any],
  sets: Mapping[str, Samples],
) -> list[str]:
  """Say where unlearning changed nothing, or destroyed the model: wrong, and not an exception.

  A destroyed model is seen on samples that it should still classify, at most `JUDGED` of them.
  """
  same = lambda old, new: np.array_equal(np.asarray(old, new.dtype), np.asarray(new))
  if all(jax.tree.leaves(jax.tree.map(same, before["params"], after["params"]))):
    return [
      f"{method} changed nothing: every parameter is as it was; raise its rate, its epochs or the "
      "share that it changes"
    ]
  name = next((name for name in ("retain", "validation") if name in sets), None)
  if name is None:
    return []
  x, y = sets[name]
  chosen = np.linspace(0, len(x) - 1, min(len(x), JUDGED)).astype(int)
  task = Task(model, 0)
  logits = lambda variables: _logits(task, variables, x[chosen], JUDGED_BATCH)
  damage = outcome.damage(lambda: logits(before), logits(after), y[chosen])
  advice = "use a smaller rate, fewer epochs or a smaller share"
  where = f"on {len(chosen)} samples of {name}"
  return [f"{method} destroyed the model: {damage} ({where}); {advice}"] if damage else []


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
