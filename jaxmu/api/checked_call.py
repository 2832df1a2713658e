"""A call of `unlearn` before anything runs: what was asked for, checked; samples laid out."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax

from jaxmu.api import arrays, judgement, misnamed, notices, options, placement, running
from jaxmu.api.details import Watch
from jaxmu.api.preparation import Preparation
from jaxmu.api.starting import Starts, read_starts
from jaxmu.api.training_options import taken
from jaxmu.data.overlap import check_disjoint
from jaxmu.data.samples import Samples, check_classes
from jaxmu.execution.problem import Problem
from jaxmu.training import Task
from jaxmu.training.anchors import ANCHORS
from jaxmu.training.method import Method

Pair = tuple[Any, Any]


class Call(NamedTuple):
  """What was asked for, checked: which method, on which models, on which samples.

  Attributes:
    hyperparameters: complete.
    starts: the models.
    sets: all that were given.
    problem: of one model.
  """

  method: Method
  hyperparameters: dict[str, Any]
  starts: Starts
  sets: Mapping[str, Samples]
  task: Task
  problem: Problem

  def watch(self, progress: bool, name: str = "", members: int = 0) -> Watch:
    """Begin to look on; as many members as there are models, unless told otherwise."""
    leaves = len(jax.tree.leaves(self.starts.first.variables["params"]))
    members = members or len(self.starts.keys)
    return Watch(name or self.method.name, leaves, progress, members=members)


def prepare(
  method: str | Method,
  model: Any,
  variables: Any,
  *,
  data: Pair | None = None,
  retain: Any = None,
  forget: Any = None,
  validation: Any = None,
  key: Any = None,
  seeds: Any = None,
  chunk: int = 1,
  preprocess: Any = None,
  mean: Any = None,
  std: Any = None,
  shuffle: bool = True,
  memory_limit: int | None = None,
  also: Collection[str] = (),
  models: int = 0,
  **hyperparameters,
) -> Call:
  """Check what `unlearn` is given, and lay out the samples; nothing is compiled.

  Args:
    also: sets whose samples are laid out though the method does not need them.
    models: how many will run together, where these are more than there are originals.

  Raises and warns as `unlearn` does before a method runs.
  """
  training = taken(options.method(method), hyperparameters)
  misnamed.refuse("unlearn", hyperparameters, training.method.hyper)
  chosen, hyperparameters = training.method, training.hyperparameters
  complete = chosen.hyperparameters(hyperparameters)
  prepared = Preparation(preprocess, mean, std)
  given = {"retain": retain, "forget": forget, "validation": validation}
  limit = placement.limit(memory_limit)
  sets = arrays.sets(chosen, given, prepared.stored, data)
  stored = next(iter(sets.values())).x
  network_input = prepared.network_input(stored)
  fresh = network_input if chosen.name in ANCHORS else None  # it may begin with weights of its own
  starts = read_starts(model, variables, key, seeds, fresh)
  network = starts.first
  classes = network.classes(network_input, train=True)
  check_classes(sets, classes)
  training.check(network.variables["params"], classes)
  notices.warn(judgement.pixels(sets) if prepared.stored == "normalised" else ())
  notices.warn(check_disjoint(sets))
  notices.warn(judgement.idle(chosen, complete, network.network, network.variables["params"]))
  rule = training.rule(prepared.rule(stored), stored)
  task = Task(network.network, classes, rule, shuffle=bool(shuffle))
  population = running.population(max(models, len(starts.keys)), chunk)
  problem = arrays.problem(population, task, chosen.needs | set(also), sets, limit)
  return Call(chosen, complete, starts, sets, task, problem)
