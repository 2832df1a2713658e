"""`jaxmu.tune`: hyper-parameters for a caller's model, found on validation samples."""

import dataclasses
import importlib
import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.api import checked_call, fresh_models, misnamed, options, placement
from jaxmu.api.checked_call import Pair
from jaxmu.api.starting import read_starts
from jaxmu.api.trials import NUMBERS, SETS, Judge, Judged
from jaxmu.audit.formulas import search_score
from jaxmu.audit.text import plural
from jaxmu.errors import DataError, MethodError, closest, shown
from jaxmu.search import choice, own_ranges
from jaxmu.search.random_draws import RandomDraws
from jaxmu.search.sampler import Search, Searching
from jaxmu.search.space import LONGEST, REFERENCE, Space
from jaxmu.settings.ranges import EPOCHS, SEED, TRIALS, Range, Unfit, fit
from jaxmu.training.anchors import RETRAINED
from jaxmu.training.method import Method

AMENDED, RANDOM, SAMPLERS = "amended", "random", ("random", "nsga3", "tpe")
_MORE = {"chunk", "fidelity", "mean", "memory_limit", "preprocess", "shuffle", "std"}
BATCH = 16  # trials that are drawn before their results are looked at
OPTIMISTIC = (
  "S is the least of many noisy numbers, so it promises too much: judge the choice with "
  "jaxmu.compare or jaxmu.evaluate, on seeds and samples that had no part in this search."
)


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What `jaxmu.tune` found; printed as a few lines.

  Attributes:
    method: what was tuned.
    hyperparameters: of the best trial, complete: `jaxmu.unlearn(method, ..., **hyperparameters)`.
      The method's defaults where every trial failed.
    score: S of the best trial, 0 is ideal; optimistic, see `OPTIMISTIC`. Infinite if all failed.
    untouched: S of the originals, without any unlearning.
    trials: a row for each trial, in the order drawn: "trial", "S", its parts "v1" to "v4" (thirds
      of differences in retain, forget and validation accuracy to retrained models; attack on
      validation samples), "failed" (seeds that turned non-finite), means over seeds of "RA", "FA",
      "VA", "V_MIA", and each hyper-parameter. The first trial has the defaults, cut to the ranges.
    retrained: the models that trials were compared with.
    seeds: on which each trial ran.
  """

  method: str
  hyperparameters: Mapping[str, Any]
  score: float
  untouched: float
  trials: pd.DataFrame
  retrained: Any = dataclasses.field(repr=False)
  seeds: tuple[int, ...]

  def __str__(self) -> str:
    count, failed = len(self.trials), int(np.isinf(self.trials["S"]).sum())
    lost = f", {failed} of them failed" if failed else ""
    lines = [f"{self.method}: {plural(count, 'trial')} on {plural(len(self.seeds), 'seed')}{lost}"]
    if math.isinf(self.score):
      return "\n".join([*lines, "No trial gave a model: the hyper-parameters are the defaults."])
    drawn = ", ".join(f"{name}={_short(value)}" for name, value in self.hyperparameters.items())
    first = float(self.trials["S"].iloc[0])
    beside = f"defaults {first:.3f}, without unlearning {self.untouched:.3f}; 0 is ideal"
    lines += [f"Distance from retraining: S {self.score:.3f} ({beside}): {drawn}", OPTIMISTIC]
    return "\n".join(lines)


def tune(
  method: str,
  model: Any,
  original: Any = None,
  *,
  data: Pair | None = None,
  retain: Any,
  forget: Any,
  validation: Any,
  retrained: Any = None,
  training: Mapping[str, Any] | None = None,
  trials: int = 50,
  seeds: int | Sequence[int] | None = None,
  ranges: Mapping[str, Any] | str = AMENDED,
  max_epochs: int | None = None,
  sampler: str = RANDOM,
  sampler_seed: int = 0,
  progress: bool = False,
  **more,
) -> Tuned:
  """Search hyper-parameters of a method on validation samples, trials side by side in populations.

  >>> found = jaxmu.tune("srl", model, variables, retain=(x_r, y_r), forget=(x_f, y_f),
  ...                    validation=(x_v, y_v), training={"num_epochs": 30}, trials=50, seeds=3)
  >>> print(found)
  >>> unlearned = jaxmu.unlearn("srl", model, variables, retain=(x_r, y_r), forget=(x_f, y_f),
  ...                           **found.hyperparameters)

  Each trial runs on all seeds. It should leave what retraining leaves (docs/search.md): small
  differences in accuracy on retain, forget and validation set, and nothing for an attack on
  forgotten against validation samples. The trial of least mean S wins. No other samples have a
  part in it: keep those of `jaxmu.evaluate(unseen=...)` out of these sets.

  Args:
    model, original: as model and variables of `jaxmu.unlearn`: one original or a list of K.
    retain, forget, validation: pairs (x, y), or beside `data` positions in it or masks; no model
      was trained on the last one.
    data: (x, y) of all samples, as for `jaxmu.unlearn`.
    retrained: models that never saw the forget set, one or K of them; None: K are trained.
    training: hyper-parameters of that training, as of `jaxmu.retrain`; its `num_epochs` also bounds
      those of trials.
    trials: how many configurations.
    seeds: how many, or a list; None: as many as originals, 1 where there is one.
    ranges: "amended", "reference" (as the paper), or name -> (low, high), list of choices or value,
      in place of the amended ones.
    max_epochs: most epochs of a trial; None: a fifth of training's.
    sampler: "random", or "nsga3" or "tpe", which learn from trials and need optuna.
    sampler_seed: of its draws.
    progress: as for `jaxmu.unlearn`, and a line after each batch of trials.
    **more: other arguments of `jaxmu.unlearn`: preprocess, mean, std, fidelity ...

  Raises:
    MethodError: unknown names or values, or a sampler whose package is not installed.
    DataError, ModelError: as `jaxmu.unlearn`; or a set is too small to be attacked.
    FloatingPointError: a retrained model turned non-finite.
  """
  chosen = options.method(method)
  space = _space(chosen, ranges, training or {}, max_epochs)
  count = _fit("trials", trials, TRIALS)
  search = _search(space, sampler, _fit("sampler_seed", sampler_seed, SEED))
  search.first([chosen.defaults])
  sets = {"retain": retain, "forget": forget, "validation": validation}
  for name, pair in sets.items():
    if pair is None:
      raise DataError(f"tune needs {name}=(x, y), got None")
  _refuse_drawn(chosen, more)
  fidelity = more.pop("fidelity", None)
  options.check(fidelity, progress=progress)
  if seeds is None and not isinstance(original, list | tuple):
    seeds = 1
  call = checked_call.prepare(
    method, model, original, data=data, **sets, seeds=seeds, also=SETS, models=count, **more
  )
  judge = Judge(call, fidelity, bool(progress))
  count_seeds = len(judge.seeds)
  with placement.reading(call.problem.arrays):
    begun = judge.rows(call.starts.variables(range(count_seeds)), count_seeds)
    models = _retrained(model, retrained, call.sets["retain"], judge, training, more)
    known = read_starts(model, models, None, judge.seeds, None)
    judge.retrained = judge.rows(known.variables(range(count_seeds)), count_seeds)
    untouched = float(np.mean([search_score(values) for values in judge.worth(begun)]))
    found = _search_all(search, judge, count, sampler, bool(progress))
  best = choice.robust([trial for one in found for trial in one.trials])
  table = pd.DataFrame([_row(number, one) for number, one in enumerate(found)])
  return Tuned(
    method=chosen.name,
    hyperparameters=dict(chosen.defaults if best is None else best),
    score=float(table["S"].min()),
    untouched=untouched,
    trials=table,
    retrained=models,
    seeds=judge.seeds,
  )


def _refuse_drawn(method: Method, given: Mapping[str, Any]) -> None:
  """Refuse what is no argument of a call: hyper-parameters, and samples that have no part in it."""
  for name, value in given.items():
    if name in method.live:
      raise MethodError(
        f"tune draws {name}; give ranges={{'{name}': {shown(value)}}} instead, to have it fixed"
      )
  misnamed.refuse("tune", given)
  if unknown := sorted(set(given) - _MORE):
    known = {*inspect.signature(tune).parameters, *_MORE} - {"more"}
    raise MethodError(f"tune has no argument '{unknown[0]}'; {closest(unknown[0], known)}")


def _search_all(
  search: Searching, judge: Judge, trials: int, sampler: str, progress: bool
) -> list[Judged]:
  """Draw and run all trials; a sampler that learns looks at each batch before it draws the next."""
  found: list[Judged] = []
  size = trials if sampler == RANDOM else min(BATCH, trials)
  while len(found) < trials:
    drawn = search.ask(min(size, trials - len(found)))
    own = judge.run(drawn, len(found), size if size < trials else 0)
    search.tell([one.values for one in own])
    found += own
    if progress:
      least = min(one.score for one in found)
      print(f"tune: {len(found)} of {trials} trials, S {least:.3f}", file=sys.stderr, flush=True)
  return found


def _space(
  method: Method, ranges: Any, training: Mapping[str, Any], max_epochs: int | None
) -> Space:
  """Resolve what is drawn; `MethodError` for what cannot be."""
  own = {}
  if isinstance(ranges, Mapping):
    own = own_ranges.read(method, ranges)
  elif ranges not in (AMENDED, REFERENCE):
    raise MethodError(
      f"ranges must be '{AMENDED}', '{REFERENCE}', or a mapping from names, got {shown(ranges)}"
    )
  epochs = RETRAINED.hyperparameters(training)["num_epochs"]
  if max_epochs is not None:  # the space takes a share of training's
    epochs = _fit("max_epochs", max_epochs, EPOCHS) / LONGEST
  space = Space(method, epochs, ranges if isinstance(ranges, str) else AMENDED, own)
  if not space.drawn:
    raise MethodError(f"{method.name}: nothing is left to draw; give ranges that leave a choice")
  return space


def _search(space: Space, sampler: Any, seed: int) -> Searching:
  if sampler not in SAMPLERS:
    raise MethodError(f"sampler must be one of {', '.join(SAMPLERS)}, got {shown(sampler)}")
  if sampler == RANDOM:
    return RandomDraws(space, seed)
  try:
    importlib.import_module("optuna")
  except ModuleNotFoundError:
    raise MethodError(
      f"sampler='{sampler}' needs optuna, which is not installed; run pip install 'jaxmu[bench]', "
      f"or use sampler='{RANDOM}'"
    ) from None
  return Search(space, sampler, seed, BATCH)


def _retrained(
  model: Any,
  given: Any,
  retain: Pair,
  judge: Judge,
  training: Mapping[str, Any] | None,
  more: Mapping[str, Any],
) -> Any:
  """Return models that never saw the forget set: those given, or trained here."""
  if given is not None:
    return given
  found = fresh_models.retrain(
    model, retain=retain, seeds=judge.seeds, progress=judge.progress, **(training or {}), **more
  )
  if any(one is None for one in found):
    raise FloatingPointError(
      "a retrained model turned non-finite; give training= a smaller learning_rate"
    )
  return found


def _row(number: int, one: Judged) -> dict[str, Any]:
  values = {f"v{k + 1}": float(value) for k, value in enumerate(one.values)}
  means = {name: float(np.mean([row[name] for row in one.rows])) for name in NUMBERS}
  known = {"trial": number, "S": one.score, **values, "failed": one.failed, **means}
  return known | dict(one.trials[0].hp)


def _fit(name: str, given: Any, within: Range) -> int:
  try:
    return fit(given, int, within)
  except Unfit as expected:
    raise MethodError(f"{name} must be {expected}, got {shown(given)}") from None


def _short(value: Any) -> str:
  return f"{value:.3g}" if isinstance(value, float) else str(value)
