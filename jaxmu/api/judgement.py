"""Whether a result looks like a mistake."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxmu.api.prediction import logits
from jaxmu.audit import outcome
from jaxmu.data.samples import Samples
from jaxmu.training import Task
from jaxmu.training.method import Method

JUDGED, JUDGED_BATCH = 1000, 500  # samples on which the result is looked at, and those of a step
BRIGHT = 30  # no normalised pixel is as large; of those that are 0..255 most are larger


def idle(method: Method, hyperparameters: Mapping[str, Any], module: Any, params: Any) -> list[str]:
  """Say where a network lacks what a method acts on, so that it does less than its name says."""
  static = {name: hyperparameters[name] for name in method.static}
  lacking = method.inert(module, params, static)
  return [f"{method.name} finds in {type(module).__name__} no {lacking}"] if lacking else []


def pixels(sets: Mapping[str, Samples]) -> list[str]:
  """Say where images that ought to be normalised look like pixels as they are stored, 0..255."""
  for name, (x, _) in sets.items():
    some = x[_spread(len(x))]
    if x.ndim == 4 and some.min() >= 0 and some.max() > BRIGHT:
      return [
        f"{name}: images lie in {some.min():g}..{some.max():g}, as stored pixels do; expected "
        "normalised ones: give them as uint8 with mean= and std=, or normalise them yourself"
      ]
  return []


def _spread(size: int) -> np.ndarray:
  """Return positions of at most `JUDGED` samples, evenly spread."""
  return np.linspace(0, size - 1, min(size, JUDGED)).astype(int)


class NonFinite(FloatingPointError):
  """No model is finite; `failures` says of each where it turned so."""

  def __init__(self, said: str, failures: tuple[str, ...]):
    super().__init__(said)
    self.failures = failures


def failures(method: str, found: Sequence[str], seeds: Sequence[int]) -> list[str]:
  """Say which of several models turned non-finite, and where the first of them did.

  Args:
    found: of each model where, "" where it did not.
    seeds: of the models; () where there is one.

  Raises:
    FloatingPointError: none is finite.
  """
  lost = [k for k, where in enumerate(found) if where]
  if not lost:
    return []
  advice = "try a smaller learning_rate"
  which = f"{of_seeds(lost, seeds)}, the first" if seeds else ""
  said = f"{method} turned non-finite{which} in {found[lost[0]]}; {advice}"
  if len(lost) == len(found):
    raise NonFinite(said, tuple(found))
  return [f"{said}; the others are as without them"]


def doubts(
  method: str,
  task: Task,
  before: Callable[[int], Mapping[str, Any]],
  after: Sequence[Mapping[str, Any] | None],
  sets: Mapping[str, Samples],
  seeds: Sequence[int] = (),
) -> list[str]:
  """Say where unlearning changed nothing, or destroyed a model: wrong, and not an exception.

  A destroyed model is seen on samples that it should still classify, at most `JUDGED` of them.

  Args:
    before: variables that the k-th model began with; equal objects for equal models.
    after: of every model; None where nothing is left to judge.
    seeds: of the models; () where there is one.
  """
  present = [k for k, found in enumerate(after) if found is not None]
  same = [k for k in present if _unchanged(before(k), after[k])]
  sentences = []
  if same:
    sentences.append(
      f"{method} changed nothing{of_seeds(same, seeds)}: every parameter is as it was; raise its "
      "rate, its epochs or the share that it changes"
    )
  name = next((name for name in ("retain", "validation") if name in sets), None)
  if name is None:
    return sentences
  x, y = sets[name]
  chosen = _spread(len(x))
  task, known = Task(task.module, 0, task.preprocess), {}
  look = lambda variables: logits(task, variables, x[chosen], JUDGED_BATCH)

  def looked_before(k: int) -> np.ndarray:
    own = before(k)
    if id(own) not in known:
      known[id(own)] = look(own)
    return known[id(own)]

  found = {
    k: outcome.damage(lambda k=k: looked_before(k), look(after[k]), y[chosen])
    for k in present
    if k not in same
  }
  damaged = [k for k, damage in found.items() if damage]
  if damaged:
    advice = "use a smaller rate, fewer epochs or a smaller share"
    where = f"on {len(chosen)} samples of {name}"
    sentences.append(
      f"{method} destroyed the model{of_seeds(damaged, seeds)}: {found[damaged[0]]} ({where}); "
      f"{advice}"
    )
  return sentences


def of_seeds(which: Sequence[int], seeds: Sequence[int]) -> str:
  """Name seeds by their places: " (seeds 1, 4 of 10)"; "" where no seeds were asked for."""
  if not seeds:
    return ""
  names = ", ".join(str(seeds[k]) for k in which)
  return f" ({'seeds' if len(which) > 1 else 'seed'} {names} of {len(seeds)})"


def _unchanged(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
  same = lambda old, new: np.array_equal(np.asarray(old, new.dtype), np.asarray(new))
  return all(jax.tree.leaves(jax.tree.map(same, old["params"], new["params"])))
