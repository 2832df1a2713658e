"""`jaxmu.compare`: which method works on a caller's own model and data?"""

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmu import api
from jaxmu.api import misnamed, options
from jaxmu.api.notices import warn
from jaxmu.api.starting import read_seeds
from jaxmu.data.overlap import check_disjoint
from jaxmu.data.samples import check_classes
from jaxmu.errors import DataError, MethodError, closest, shown
from jaxmu.evaluation import compared, compared_behind, method_runs, of_model, verdict
from jaxmu.evaluation.compared import REFERENCES, Comparison
from jaxmu.evaluation.inputs import Given
from jaxmu.evaluation.kept_runs import Folder
from jaxmu.evaluation.method_runs import Asked, Ran
from jaxmu.training.method import Method

TRAIN = "train"
SEEDS = 3  # the fewest that show what another seed moves
_OWN = {"method", "model", "variables", "retain", "forget", "validation", "key", "seeds"}
_OWN |= {"randomness", "progress", "details", "hyperparameters", "data"}


def compare(
  methods: Sequence[str],
  model: Any,
  original: Any = None,
  *,
  data: Any = None,
  retain: Any,
  forget: Any,
  unseen: Any,
  validation: Any = None,
  retrained: Any = None,
  seeds: int | Sequence[int] | None = None,
  hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
  folder: str | Path | None = None,
  progress: bool = False,
  max_attack: float | None = None,
  min_test_accuracy: float | None = None,
  max_forget_gap: float | None = None,
  **more,
) -> Comparison:
  """Unlearn with several methods and seeds, and judge them side by side on the same samples.

  >>> found = jaxmu.compare(["ft", "msg", "srl"], model, variables, retain=(x_r, y_r),
  ...                       forget=(x_f, y_f), unseen=(x_u, y_u), retrained="train", seeds=3,
  ...                       hyperparameters={"retrained": {"num_epochs": 30}})
  >>> print(found)
  >>> found.report("comparison")

  The models of a method are one population. A method that fails is a row with the reason.

  Args:
    methods: names of `jaxmu.methods()`.
    model, original: as model and variables of `jaxmu.unlearn`: one original or a list of K.
    retain, forget, unseen, validation: pairs (x, y), as for `jaxmu.evaluate`; beside `data`
      positions in it or masks.
    data: (x, y) of all samples, as for `jaxmu.unlearn`.
    retrained: models that never saw the forget set, one or K of them; "train" trains K. Without
      them nothing says what forgetting looks like.
    seeds: how many, or a list; None: as many as originals, 3 where there is one.
    hyperparameters: method -> its hyper-parameters; those of "retrained" where it is trained, 182
      epochs unless told otherwise.
    folder: where what each method left is kept, logits and no weights, and found again by an equal
      call: one that was stopped goes on, one with more methods runs these alone.
    progress: as for `jaxmu.unlearn`, and a line after each method.
    max_attack, min_test_accuracy, max_forget_gap: what is asked, as of `jaxmu.evaluate`.
    **more: other arguments of `jaxmu.unlearn`, for all methods: preprocess, mean, std, fidelity ...

  Raises:
    MethodError: unknown methods, hyper-parameters or arguments, before anything runs.
    DataError, ModelError, SettingsError: as `jaxmu.unlearn` and `jaxmu.evaluate`.
    FloatingPointError: a retrained model turned non-finite.
  """
  thresholds = {"max_attack": max_attack, "min_test_accuracy": min_test_accuracy}
  asked = verdict.thresholds(thresholds | {"max_forget_gap": max_forget_gap})
  chosen = _methods(methods)
  given = _hyperparameters(hyperparameters or {}, chosen, retrained)
  _check_options(more)
  several = isinstance(original, list | tuple)
  seeds = read_seeds(seeds if seeds is not None else len(original) if several else SEEDS)
  if several and len(original) != len(seeds):
    raise MethodError(f"original are {len(original)} models, seeds {len(seeds)}; expected as many")
  sets = {"retain": retain, "forget": forget, "unseen": unseen, "validation": validation}
  sets = {name: pair for name, pair in sets.items() if pair is not None}
  for name in ("retain", "forget", "unseen"):
    if name not in sets:
      raise DataError(f"{name} is missing, got {shown(None)}")
  how = {name: more[name] for name in of_model.HOW if name in more}
  images = of_model.read_images(sets, how, data)
  trained_on = {name: images.pairs[name] for name in sets if name != "unseen"}
  warn(check_disjoint(trained_on))
  begun = list(original) if several else original
  logits = {"original": of_model.predicted("original", model, begun, images)}
  classes = logits["original"].shape[-1]
  check_classes(images.pairs, classes)
  _check_finite(logits)
  compared.check(Given(logits, images.labels, images.positions))
  run = Asked(model, begun, images, classes, trained_on, seeds, more, progress)
  kept, runs = Folder(folder, run, logits["original"]), {}
  if isinstance(retrained, str):
    if retrained != TRAIN:
      raise DataError(
        f"retrained must be variables, a list of them, or '{TRAIN}', got '{retrained}'"
      )
    own = options.method("retrained").hyperparameters(given.get("retrained", {}))
    make = lambda: _retrain(run, own)
    runs["retrained"] = kept.find("retrained", own, make)
    logits["retrained"] = runs["retrained"].logits
  elif retrained is not None:
    logits["retrained"] = of_model.predicted("retrained", model, retrained, images)
    if len(logits["retrained"]) not in (1, len(seeds)):
      raise DataError(
        f"retrained are {len(logits['retrained'])} models; expected one, or as many as seeds, "
        f"{len(seeds)}"
      )
  _check_finite(logits)
  for place, name in enumerate(chosen, 1):
    own = chosen[name].hyperparameters(given.get(name, {}))
    runs[name] = kept.find(name, own, lambda name=name, own=own: method_runs.run(name, own, run))
    if progress:
      state = f"failed: {runs[name].error}" if runs[name].error else "done"
      print(f"compare: {name} {state} ({place} of {len(chosen)})", file=sys.stderr, flush=True)
  everything = Given(logits, images.labels, images.positions, images.hashes(), images.shared())
  known = {**chosen, **{name: options.method(name) for name in REFERENCES}}
  labels = {name: method.label for name, method in known.items()}
  behind = compared_behind.gather(model, images, classes, known, runs, seeds)
  return compared.assemble(everything, runs, labels, seeds, asked, behind)


def _methods(given: Any) -> dict[str, Method]:
  """Return the methods by name, in the order given."""
  names = [given] if isinstance(given, str) else given
  if not isinstance(names, Iterable) or not (names := list(names)):
    raise MethodError(f"methods must be names of jaxmu.methods(), got {shown(given)}")
  found: dict[str, Method] = {}
  for name in names:
    method = options.method(name)
    if method.name in REFERENCES or method.name in found:
      why = "is compared with in any case" if method.name in REFERENCES else "is there twice"
      raise MethodError(f"methods: '{method.name}' {why}; expected each unlearning method once")
    found[method.name] = method
  return found


def _hyperparameters(
  given: Any, chosen: Mapping[str, Method], retrained: Any
) -> Mapping[str, Mapping[str, Any]]:
  """Check hyper-parameters before anything runs."""
  if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
    raise MethodError(
      f"hyperparameters must map methods to mappings, such as {{'{next(iter(chosen))}': "
      f"{{'num_epochs': 5}}}}, got {shown(given)}"
    )
  known = {**chosen} | ({"retrained": options.method("retrained")} if retrained == TRAIN else {})
  for name, own in given.items():
    if name not in known:
      raise MethodError(
        f"hyperparameters of '{name}', which is not compared; {closest(name, known)}"
      )
    known[name].hyperparameters(own)
  return given


def _check_options(given: Mapping[str, Any]) -> None:
  """Refuse arguments that `jaxmu.unlearn` does not have: they would fail in every method."""
  misnamed.refuse("compare", given)
  known = set(inspect.signature(api.unlearn).parameters) - _OWN
  for name in given:
    if name not in known:
      raise MethodError(
        f"compare has no argument '{name}'; hyper-parameters belong into hyperparameters="
        f"{{method: {{...}}}}; {closest(name, known)}"
      )


def _retrain(run: Asked, given: Mapping[str, Any]) -> Ran:
  """Train the models to compare with."""
  found = api.retrain(
    run.model,
    retain=run.sets["retain"],
    seeds=run.seeds,
    details=True,
    progress=run.progress,
    **run.options,
    **given,
  )
  failed = [one for one in found if one.failure]
  if failed:
    raise FloatingPointError(
      f"the retrained model of seed {failed[0].seed} turned non-finite in {failed[0].failure}; "
      "give hyperparameters={'retrained': {...}} a smaller learning_rate"
    )
  return method_runs.of_models(run, found)._replace(moved=None)


def _check_finite(logits: Mapping[str, np.ndarray]) -> None:
  for name, array in logits.items():
    if not np.isfinite(array).all():
      raise DataError(f"the {name} model gives logits that are not finite")
