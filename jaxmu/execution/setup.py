"""From settings to arrays: data, network and populations of members on the devices."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import data, models
from jaxmu.data.augment import Augmented, Preprocess, Rule, augmented
from jaxmu.data.splits import widths
from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import Population, Program
from jaxmu.execution.problem import Problem
from jaxmu.kernels.conv import Choice
from jaxmu.models.forward import mode_flags
from jaxmu.settings import Settings
from jaxmu.training import Task, own_recipe
from jaxmu.training.task import Arrays


class Setup:
  """What all groups of a study share: settings, data, network and devices."""

  def __init__(
    self, settings: Settings, dataset: data.Dataset, chunk: int, lowering: Choice = "auto"
  ):
    self.settings, self.dataset, self.chunk = settings, dataset, chunk
    self.devices = tuple(jax.devices()[: settings.population.devices or None])
    own = settings.recipe.augment
    augmentation = dataset.augmentation if settings.data.augment and not own else "none"
    preprocess: Rule = Preprocess(
      tuple(dataset.mean), tuple(dataset.std), augmentation, dataset.channels
    )
    if own:
      preprocess = Augmented(own_recipe.function(own, "augmentation"), preprocess)
    module = models.of_settings(settings, dataset.num_classes, lowering, dataset.input_shape)
    compute = settings.population.compute
    self.task = Task(module, dataset.num_classes, preprocess, compute=compute)
    self._placed: dict[int, tuple[np.ndarray | None, Arrays]] = {}

  def check_recipe(self) -> None:
    """Try a user's own recipe on shapes, before anything is compiled or written.

    Raises:
      MethodError, DataError: a part of it does not fit network or data.
    """
    if not self.settings.recipe.changed:
      return
    recipe = own_recipe.read(self.settings.recipe)
    own_recipe.check(recipe, self._shapes["params"], self.task.num_classes)
    rule = self.task.preprocess
    if isinstance(rule, Augmented):
      images = jax.ShapeDtypeStruct((2, *self.dataset.images.shape[1:]), jnp.uint8)
      jax.eval_shape(lambda *given: augmented(rule, *given), images, jax.random.key(0))

  def arrays(self, samples: np.ndarray | None = None) -> Arrays:
    """Return images and labels on every device, of some samples or of all; placed once."""
    if id(samples) not in self._placed:
      images, labels = self.dataset.images, self.dataset.labels
      chosen = (images, labels) if samples is None else (images[samples], labels[samples])
      placed = Population(1, devices=self.devices).share(Arrays(*chosen))
      self._placed[id(samples)] = samples, placed
    return self._placed[id(samples)][1]

  def problem(
    self, splits: Sequence[data.Split], room: int = 0, wide: Mapping[str, int] | None = None
  ) -> Problem:
    """Lay out a population of members, one for each split.

    Args:
      wide: places of each set where other members have other sizes; see `splits.widths`.
    """
    population = Population(len(splits), chunk=self.chunk, devices=self.devices, room=room)
    return Problem(population, self.task, self.arrays(), *index_arrays(splits, wide or {}))

  def initial_variables(self, population: Population, own: jax.Array) -> Any:
    """Draw the initial weights of the members with the keys `own` [K], leaves [K, ...]."""
    placed = population.place(np.asarray(jax.random.key_data(own)))
    program = _initial(population.frame, self.task.module, self._image)
    return program({}, placed, {}, population)[1]

  def variable_shapes(self, members: int) -> Any:
    """Describe every member's variables, leaves [K, ...], allocating nothing."""
    stacked = lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype)
    return jax.tree.map(stacked, self._shapes)

  @functools.cached_property
  def _shapes(self) -> Any:
    """One model's variables; tracing a network takes a while, and every unit asks."""
    module = self.task.module
    flags = mode_flags(module, False)
    init = lambda: module.init(jax.random.key(0), jnp.zeros(self._image), **flags)
    return {"batch_stats": {}} | jax.eval_shape(init)

  @property
  def _image(self) -> tuple[int, ...]:
    """Shape of one network input."""
    return (1, *self.dataset.input_shape)


@functools.lru_cache(maxsize=4)
def _initial(population: Population, module: Any, shape: tuple[int, ...]) -> Program:
  def draw(state: Any, key_data: Any, shared: Any) -> Any:
    del shared
    key = keys.of(jax.random.wrap_key_data(key_data), Purpose.INITIAL_WEIGHTS)
    flags = mode_flags(module, False)
    return state, {"batch_stats": {}} | module.init(key, jnp.zeros(shape), **flags)

  return population.map(draw)


def index_arrays(
  splits: Sequence[data.Split], wide: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Stack the sets that training reads: name -> int32 [K, n].

  Args:
    wide: n of each set that is read, where sizes differ (`splits.widths`); smaller sets are filled
      up with samples of their own. Empty: as these splits need it.

  Returns:
    The positions, and where sizes differ how many are each member's own, name -> int [K].
  """
  known = [split.trained for split in splits]
  wide = wide or widths(splits, known[0])
  filled = lambda own, name: np.resize(own[name], wide[name]) if wide else own[name]
  stacked = lambda name: np.stack([filled(own, name) for own in known]).astype(np.int32)
  counts = {name: np.array([len(own[name]) for own in known]) for name in wide}
  return {name: stacked(name) for name in wide or known[0]}, counts
