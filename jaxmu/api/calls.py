"""Unlearning, one request or several, on a caller's model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxmu.api import given_sets, judgement, notices, options, placement, running
from jaxmu.api.checked_call import Pair, prepare
from jaxmu.api.details import Unlearned
from jaxmu.api.preparation import Preparation
from jaxmu.data import rows
from jaxmu.data.samples import Samples, check_sets
from jaxmu.errors import DataError, MethodError, shown
from jaxmu.models.user_network import plain_variables
from jaxmu.training.anchors import ANCHORS
from jaxmu.training.method import Method


def unlearn(
  method: str | Method,
  model: Any,
  variables: Any = None,
  *,
  data: Pair | None = None,
  retain: Any = None,
  forget: Any = None,
  validation: Any = None,
  key: jax.Array | int | None = None,
  seeds: int | Sequence[int] | None = None,
  chunk: int = 1,
  preprocess: Callable[[jax.Array], jax.Array] | None = None,
  mean: Any = None,
  std: Any = None,
  shuffle: bool = True,
  fidelity: str | None = None,
  randomness: Mapping[str, Any] | None = None,
  progress: bool = False,
  details: bool = False,
  memory_limit: int | None = None,
  **hyperparameters,
) -> Any:
  """Remove the influence of the forget set from a trained network.

  >>> unlearned = jaxmu.unlearn("msg", model, variables, retain=(x_r, y_r), forget=(x_f, y_f),
  ...                           key=jax.random.key(0), learning_rate=1e-3, num_epochs=5)

  Args:
    method: a name of `jaxmu.methods()`, or "original"/"retrained": see `jaxmu.train`, `retrain`;
      also MODULE:NAME of a method of your own, or its value.
    model: a linen module whose call takes x [B, ...] and a train flag (`train`, `training`,
      `deterministic`, `use_running_average` ...) and returns logits [B, classes]; or an nnx module.
    variables: {"params", "batch_stats"}; batch_stats may be absent. Of an nnx module an nnx.State;
      its own where None. Neither is modified. Of several models, one for each seed, a list.
    retain, forget, validation: (x [n, ...]; y int [n]), disjoint; x float and normalised, such as
      images [n, H, W, C], or as the next arguments take it. Only the sets that the method needs are
      trained on; the others are checked, and may be left out. Beside `data` positions in it or
      masks; also what yields batches (x, y), read once into a temporary file.
    data: (x [N, ...]; y int [N]), all samples; x may be memory-mapped, or an array of h5py or zarr.
    key: a seed or a typed PRNG key; 0 where None. Equal keys give equal results.
    seeds: for several models in one compiled program: how many (seeds 0, 1, 2 ...), or a list of
      seeds. Each result is what a call with this seed as `key` gives; on CPUs bit for bit.
    chunk: of several models, how many a device computes together (vmap). 1 keeps each one's bits;
      more may be faster on accelerators, and is slower on CPUs.
    preprocess: a function by which jax turns batches of stored x into the network's input, floats
      [B, ...]; one function object for all calls, as programs are looked up by it.
    mean, std: of uint8 images scaled to [0, 1], per channel or one number; in place of preprocess.
    shuffle: False visits every set in stored order.
    fidelity: where paper and published code differ, "reference" follows the code and "fixed" the
      paper; None: the method's default (docs/fidelity.md).
    randomness: replacements for the method's random draws, by name (`jaxmu.methods()[m]["draws"]`).
    progress: show bars in terminals and notebooks and lines elsewhere, on standard error.
    details: return a record of the call besides.
    memory_limit: bytes of samples that may be copied to the device. More are read batch by batch
      while it computes, with the same result; None: half of what an accelerator has free, and on a
      CPU a quarter of the machine's, at most 1 GiB.
    **hyperparameters: of the method; names and defaults as in `jaxmu.methods()`. Of "original" and
      "retrained" also `optimizer` (of optax, or a function that makes one, such as `optax.adamw`),
      `loss` (of logits and labels, for each sample), `augment` (of a batch of stored x and a key),
      `label_smoothing` and `class_weights`.

  Returns:
    New variables, {"params", "batch_stats"} (without batch_stats where the model has none), each
    leaf of the type that it had. Of an nnx module a new nnx.State, for `nnx.update(model, state)`.
    With `details` an `Unlearned`, whose `variables` these are. With `seeds`, or a list of
    variables, a list of as many results, NumPy arrays; None for a model that turned non-finite.

  Raises:
    MethodError: unknown method, hyper-parameter or draw, a missing set, wrong key or seeds.
    DataError: images and labels of the wrong form (shape, type, label range, NaN), or in two sets.
    ModelError: variables or model of the wrong form.
    FloatingPointError: the model, or each of several, turned non-finite; it says in which steps.

  Warns (`jaxmu.errors.UnlearningWarning`) where nothing changed, where a model no longer works on
  the retain set or some of several turned non-finite, where the network lacks what the method acts
  on, where two sets share a few samples, or where images look like pixels that nobody normalised.
  """
  options.check(fidelity, shuffle=shuffle, progress=progress, details=details)
  call = prepare(
    method,
    model,
    variables,
    data=data,
    retain=retain,
    forget=forget,
    validation=validation,
    key=key,
    seeds=seeds,
    chunk=chunk,
    preprocess=preprocess,
    mean=mean,
    std=std,
    shuffle=shuffle,
    memory_limit=memory_limit,
    **hyperparameters,
  )
  method, draws, starts = call.method.name, options.draws(randomness), call.starts
  level = call.method.resolve_fidelity(fidelity)
  with call.watch(bool(progress)) as watch, placement.reading(call.problem.arrays):
    ended = running.run(
      call.method,
      call.problem,
      starts,
      watch,
      hp=[call.hyperparameters] * len(starts.keys),
      fidelity=level,
      draws=draws,
    )
  notices.warn(judgement.failures(method, [one.failure for one in ended], starts.seeds))
  before = lambda k: starts.of(k).variables
  after = [None if one.variables is None else plain_variables(one.variables) for one in ended]
  # What training begins with is no model that could be lost.
  judged = {} if method in ANCHORS else call.sets
  notices.warn(judgement.doubts(method, call.task, before, after, judged, starts.seeds))
  results = [
    None if one.variables is None else starts.of(k).wrap(one.variables)
    for k, one in enumerate(ended)
  ]
  if details:
    known = {"method": method, "fidelity": level, "hyperparameters": call.hyperparameters}
    results = [
      Unlearned(
        variables=result,
        curves=tuple(watch.curves[k]),
        seconds=one.seconds,
        compile_seconds=one.compile_seconds,
        passes=one.passes,
        seed=starts.seeds[k] if starts.seeds else None,
        failure=one.failure,
        **known,
      )
      for k, (result, one) in enumerate(zip(results, ended))
    ]
  return results if starts.seeds else results[0]


def unlearn_requests(
  method: str,
  model: Any,
  variables: Any = None,
  *,
  data: Pair | None = None,
  retain: Any,
  requests: Sequence[Any],
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
    data: all samples, as for `unlearn`.
    retain: samples that no request names, as for `unlearn`.
    requests: pairs (x, y), disjoint, in the order in which they came; beside `data` positions in it
      or masks.
    key: of the first request, which is `unlearn` with it; the others' are folded from it.
    **more: everything else that `unlearn` takes, hyper-parameters as well.

  Raises:
    DataError: there is no request, or one has images or labels of another form.
    MethodError: seeds were given: requests are of one model.

  What `unlearn` raises and warns of comes when its turn does.
  """
  if not isinstance(requests, list | tuple) or not requests:
    raise DataError(
      f"requests must be a list of pairs (x, y), got {shown(requests)}; beside data= "
      "expected lists of positions"
    )
  if len(requests) == 2 and getattr(requests[0], "ndim", 0) > 1:
    raise DataError("requests is a pair (x, y); expected a list of pairs, such as [(x, y)]")
  if "seeds" in more or isinstance(variables, list | tuple):
    raise MethodError("unlearn_requests goes on with one model; call it for each one, with key=")
  if "forget" in more:
    raise DataError("forget= is for jaxmu.unlearn; expected its samples as one of requests")
  names = [f"requests[{k}]" for k in range(len(requests))]
  prepared = Preparation(*(more.get(name) for name in ("preprocess", "mean", "std")))
  given = given_sets.pairs({"retain": retain, **dict(zip(names, requests))}, data)
  sets = check_sets(given, prepared.stored)
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
    kept = rows.together([own.x for own in left]), np.concatenate([own.y for own in left])
    own = key if k == 0 else jax.random.fold_in(key, k)
    found = unlearn(method, model, present, retain=kept, forget=tuple(sets[name]), key=own, **more)
    yield found
    present = found.variables if isinstance(found, Unlearned) else found
