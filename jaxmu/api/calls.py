"""Unlearning, one request or several, on a caller's model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu.api import arrays, judgement, options
from jaxmu.api.details import Unlearned, Watch
from jaxmu.api.model import Model, read
from jaxmu.api.preparation import Preparation
from jaxmu.api.training_options import taken
from jaxmu.data.overlap import check_disjoint
from jaxmu.data.samples import Samples, check_classes, check_sets
from jaxmu.engine.population import Population
from jaxmu.errors import DataError, shown
from jaxmu.execution import runner
from jaxmu.execution.observations import Outcome
from jaxmu.models.user_network import plain_variables
from jaxmu.training import Task
from jaxmu.training.method import Method

Pair = tuple[Any, Any]


def unlearn(
  method: str | Method,
  model: Any,
  variables: Any = None,
  *,
  retain: Pair | None = None,
  forget: Pair | None = None,
  validation: Pair | None = None,
  key: jax.Array | int | None = None,
  preprocess: Callable[[jax.Array], jax.Array] | None = None,
  mean: Any = None,
  std: Any = None,
  shuffle: bool = True,
  fidelity: str | None = None,
  randomness: Mapping[str, Any] | None = None,
  progress: bool = False,
  details: bool = False,
  **hyperparameters,
) -> Any:
  """Remove the influence of the forget set from a trained network.

  >>> unlearned = jaxmu.unlearn("msg", model, variables, retain=(x_r, y_r), forget=(x_f, y_f),
  ...                           key=jax.random.key(0), learning_rate=1e-3, num_epochs=5)

  Args:
    method: a name of `jaxmu.methods()`, or "original"/"retrained" to train from `variables`; also
      MODULE:NAME of a method of your own, or its value.
    model: a linen module whose call takes x [B, ...] and a train flag (`train`, `training`,
      `deterministic`, `use_running_average` ...) and returns logits [B, classes]; or an nnx module.
    variables: {"params", "batch_stats"}; batch_stats may be absent. Of an nnx module an nnx.State;
      its own where None. Neither is modified.
    retain, forget, validation: (x [n, ...]; y int [n]), disjoint; x float and normalised, such as
      images [n, H, W, C], or as the next arguments take it. Only the sets that the method needs are
      trained on; the others are checked, and may be left out.
    key: a seed or a typed PRNG key; 0 where None. Equal keys give equal results.
    preprocess: a function by which jax turns batches of stored x into the network's input, floats
      [B, ...]; one function object for all calls, as programs are looked up by it.
    mean, std: of uint8 images scaled to [0, 1], per channel or one number; in place of preprocess.
    shuffle: False visits every set in stored order.
    fidelity: "reference", "fixed", or None for the method's default (methods.md 0.2).
    randomness: replacements for the method's random draws, by name (`jaxmu.methods()[m]["draws"]`).
    progress: show bars in terminals and notebooks and lines elsewhere, on standard error.
    details: return a record of the call besides.
    **hyperparameters: of the method; names and defaults as in `jaxmu.methods()`. Of "original" and
      "retrained" also `optimizer` (of optax, or a function that makes one, such as `optax.adamw`),
      `loss` (of logits and labels, for each sample), `augment` (of a batch of stored x and a key),
      `label_smoothing` and `class_weights`.

  Returns:
    New variables, {"params", "batch_stats"} (without batch_stats where the model has none), each
    leaf of the type that it had. Of an nnx module a new nnx.State, for `nnx.update(model, state)`.
    With `details` an `Unlearned`, whose `variables` these are.

  Raises:
    MethodError: unknown method, hyper-parameter or draw, a missing set, or a key of the wrong form.
    DataError: images and labels of the wrong form (shape, type, label range, NaN), or in two sets.
    ModelError: variables or model of the wrong form.
    FloatingPointError: the model turned non-finite; the message says in which steps.

  Warns (`jaxmu.errors.UnlearningWarning`) where nothing changed, where the model no longer works on
  the retain set, where the network lacks what the method acts on, or where two sets share a few
  samples.
  """
  training = taken(options.method(method), hyperparameters)
  chosen, hyperparameters = training.method, training.hyperparameters
  method = chosen.name
  complete = chosen.hyperparameters(hyperparameters)
  key, draws = options.key(key), options.draws(randomness)
  options.check(fidelity, shuffle=shuffle, progress=progress, details=details)
  network = read(model, variables)
  prepared = Preparation(preprocess, mean, std)
  given = {"retain": retain, "forget": forget, "validation": validation}
  sets = arrays.sets(chosen, given, prepared.stored)
  stored = next(iter(sets.values())).x
  classes = network.classes(prepared.network_input(stored), train=True)
  check_classes(sets, classes)
  training.check(network.variables["params"], classes)
  judgement.warn(check_disjoint(sets))
  judgement.warn(judgement.idle(chosen, complete, network.network, network.variables["params"]))
  population = Population(1, devices=(jax.devices()[0],))
  rule = training.rule(prepared.rule(stored), stored)
  task = Task(network.network, classes, rule, shuffle=bool(shuffle))
  problem = arrays.problem(population, task, chosen.needs, sets)
  leaves = len(jax.tree.leaves(network.variables["params"]))
  with Watch(method, leaves, bool(progress)) as watch:
    ended = runner.run(
      chosen,
      problem,
      arrays.alone(network.variables),
      hp=[complete],
      keys=key[None],
      fidelity=fidelity,
      draws=draws,
      on_leg=watch.leg,
      on_compile=watch.compiling,
    )
  found = _finite(method, network, ended)
  after = plain_variables(found)
  judgement.warn(judgement.doubts(method, task, network.variables, after, sets))
  result, level = network.wrap(found), chosen.resolve_fidelity(fidelity)
  if not details:
    return result
  return watch.details(result, ended, method=method, fidelity=level, hyperparameters=complete)


def _finite(method: str, network: Model, ended: Outcome) -> dict[str, Any]:
  """Return the result in the caller's types; `FloatingPointError` where it is not finite."""
  where = ended.failures[0]
  found = network.rounded(jax.tree.map(lambda leaf: leaf[0], ended.variables))
  if not where and not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found)):
    where = "its last step"
  if where:
    raise FloatingPointError(f"{method} turned non-finite in {where}; try a smaller learning_rate")
  return found


def unlearn_requests(
  method: str,
  model: Any,
  variables: Any = None,
  *,
  retain: Pair,
  requests: Sequence[Pair],
  key: jax.Array | int | None = None,
  **more,
) -> Iterator[Any]:
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
    **more: everything else that `unlearn` takes, hyper-parameters as well.

  Raises:
    DataError: there is no request, or one has images or labels of another form.

  What `unlearn` raises and warns of comes when its turn does.
  """
  if not isinstance(requests, list | tuple) or not requests:
    raise DataError(f"requests must be a list of pairs (x, y), got {shown(requests)}")
  names = [f"requests[{k}]" for k in range(len(requests))]
  prepared = Preparation(*(more.get(name) for name in ("preprocess", "mean", "std")))
  sets = check_sets({"retain": retain, **dict(zip(names, requests))}, prepared.stored)
  return _one_by_one(method, model, variables, sets, names, options.key(key), more)


def _one_by_one(
  method: str,
  model: Any,
  variables: Any,
  sets: Mapping[str, Samples],
  names: Sequence[str],
  key: jax.Array,
  more: Mapping[str, Any],
) -> Iterator[Any]:
  present = variables
  for k, name in enumerate(names):
    left = [sets["retain"], *(sets[later] for later in names[k + 1 :])]
    kept = tuple(np.concatenate(parts) for parts in zip(*left))
    own = key if k == 0 else jax.random.fold_in(key, k)
    found = unlearn(method, model, present, retain=kept, forget=tuple(sets[name]), key=own, **more)
    yield found
    present = found.variables if isinstance(found, Unlearned) else found
