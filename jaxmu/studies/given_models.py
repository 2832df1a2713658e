"""Models that a config gives: weights to start from, own originals and retrained models."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxmu.engine.population import Population
from jaxmu.errors import SettingsError
from jaxmu.execution.setup import Setup
from jaxmu.settings import Settings
from jaxmu.store import given_weights, named_leaves
from jaxmu.studies.study import Member, Stage
from jaxmu.training.anchors import given


def applied(settings: Settings, stage: Stage) -> Stage:
  """Return a stage of anchors whose models come from files, if a config gives some.

  Raises:
    SettingsError: the path has a placeholder that members do not have.
  """
  pattern = getattr(settings.recipe, stage.name)
  if not pattern:
    return stage
  members = tuple(member._replace(given=_path(pattern, stage, member)) for member in stage.members)
  return stage._replace(method=given(stage.name), members=members)


def check(setup: Setup, stages: Sequence[Stage]) -> None:
  """Look at all files of models that are given, and read one of each stage, before work begins.

  Raises:
    CheckpointError, ModelError: a file is not there, or of another network.
  """
  read = _reader(setup)
  if start := setup.settings.recipe.start:
    read(start, False)
  for stage in stages:
    files = list(dict.fromkeys(member.given for member in stage.members if member.given))
    for path in files:
      given_weights.located(path)
    for path in files[:1]:
      read(path, True)


def variables(
  setup: Setup, population: Population, keys: jax.Array, members: tuple[Member, ...]
) -> Any:
  """Return what members without a parent begin with, leaves [K, ...]: drawn, or from files.

  Raises:
    CheckpointError, ModelError: a file is not there, or of another network.
  """
  drawn, start = setup.initial_variables(population, keys), setup.settings.recipe.start
  if not start and not any(member.given for member in members):
    return drawn
  read = functools.cache(_reader(setup))
  each = [read(member.given or start, bool(member.given)) for member in members]

  def of(path: Any, leaf: np.ndarray) -> np.ndarray:
    own = [leaves.get(named_leaves.name(path)) for leaves in each]
    return np.stack([leaf[k] if one is None else one for k, one in enumerate(own)])

  return jax.tree_util.tree_map_with_path(of, population.collect(drawn))


def _reader(setup: Setup) -> Callable[[str, bool], dict[str, np.ndarray]]:
  """Return what reads a file of one model of this network: (path, whole) -> leaves by name."""

  def read(path: str, whole: bool) -> dict[str, np.ndarray]:
    one = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
    like = jax.tree.map(one, setup.variable_shapes(1))
    return given_weights.read(path, setup.settings.model.name, like, whole=whole)

  return read


def _path(pattern: str, stage: Stage, member: Member) -> str:
  try:
    return pattern.format(**member.at)
  except (KeyError, IndexError, ValueError) as error:
    known = ", ".join(f"{{{name}}}" for name in member.at)
    raise SettingsError(
      f"config.recipe.{stage.name} is '{pattern}'; expected a path with no placeholders but {known}"
    ) from error
