"""From settings to arrays: the data, the split, the population and its initial weights."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import data, models
from jaxmu.data import forget_list
from jaxmu.data.augment import Preprocess
from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.engine.population import Population, Program, Wave, member_keys
from jaxmu.errors import DataError
from jaxmu.execution.runner import Problem
from jaxmu.kernels.conv import Choice
from jaxmu.settings import Catalog, Settings
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ANCHORS, METHODS


def catalog() -> Catalog:
  """Name what a config may ask for."""
  return Catalog(
    studies=("benchmark", "ulira"),
    datasets=data.DATASETS,
    models=models.MODELS,
    methods={name: method.hyper for name, method in METHODS.items()},
    forget_sha256=forget_list.identify,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
  """Everything a stage reads: settings, data, and the population on its devices.

  Attributes:
    dataset, splits: NumPy arrays on the host; one split per member.
    problem: population, task, arrays on the devices, per-member index arrays.
    keys: typed PRNG keys [K], one per member.
  """

  settings: Settings
  dataset: data.Dataset
  splits: tuple[data.Split, ...]
  problem: Problem
  keys: jax.Array

  @property
  def seeds(self) -> tuple[int, ...]:
    return self.settings.seeds

  def initial_variables(self, wave: Wave | None = None) -> Any:
    """Draw every member's initial weights, leaves [K, ...]; original and retrained share them.

    Args:
      wave: the members to draw; all where None.
    """
    members, population = wave or self.problem.population.waves()[0]
    keys = population.place(np.asarray(jax.random.key_data(self.keys))[members])
    program = _initial(population.frame, self.problem.task.module, self._image)
    return program({}, keys, {}, population)[1]

  def variable_shapes(self) -> Any:
    """Describe every member's variables, leaves [K, ...], allocating nothing."""
    module, members = self.problem.task.module, self.problem.population.size
    one = jax.eval_shape(
      lambda: module.init(jax.random.key(0), jnp.zeros(self._image), train=False)
    )
    stacked = lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype)
    return {"batch_stats": {}} | jax.tree.map(stacked, one)

  @property
  def _image(self):
    """Shape of one network input."""
    size = self.dataset.images.shape[1]
    return (1, size, size, self.dataset.channels)


@functools.lru_cache(maxsize=4)
def _initial(population: Population, module: Any, shape: tuple[int, ...]) -> Program:
  def draw(state, key_data, shared):
    del shared
    key = keys.of(jax.random.wrap_key_data(key_data), Purpose.INITIAL_WEIGHTS)
    return state, {"batch_stats": {}} | module.init(key, jnp.zeros(shape), train=False)

  return population.map(draw)


def load_data(settings: Settings) -> tuple[data.Dataset, tuple[data.Split, ...]]:
  """Read the data as the settings say, and split it for every seed."""
  chosen, dataset = settings.data, load_dataset(settings)
  sizes = dataset.num_train, len(dataset.labels)
  if chosen.forget:
    return dataset, tuple(listed_splits(settings, dataset.indices, *sizes))
  fractions = {"val_fraction": chosen.val_fraction, "forget_fraction": chosen.forget_fraction}
  if chosen.split_per_seed:
    draw = lambda seed: data.redrawn_split(*sizes, seed=chosen.split_seed + seed, **fractions)
    splits = tuple(draw(seed) for seed in settings.seeds)
  else:
    splits = (data.fixed_split(*sizes, seed=chosen.split_seed, **fractions),) * len(settings.seeds)
  return dataset, splits


def listed_splits(
  settings: Settings, indices: np.ndarray, num_train: int, num_total: int
) -> list[data.Split]:
  """Return for every seed the split that forgets the samples in the file `config.data.forget`.

  Args:
    indices: position of each sample as the data set stores it, int [num_total].

  Raises:
    DataError: the file changed since the config was read, or its samples are no training samples.
  """
  chosen = settings.data
  listed = forget_list.read(chosen.forget)
  if listed.sha256 != chosen.forget_sha256:
    raise DataError(
      f"forget list {chosen.forget} changed while it was in use; run the same command again"
    )
  forget = listed.rows(indices, num_train)
  sizes = num_train, num_total
  draw = lambda seed: data.listed_split(
    forget, *sizes, val_fraction=chosen.val_fraction, seed=chosen.split_seed + seed
  )
  if chosen.split_per_seed:
    return [draw(seed) for seed in settings.seeds]
  return [draw(0)] * len(settings.seeds)


def load_dataset(settings: Settings) -> data.Dataset:
  """Read the data, take the subset, and randomise labels as asked."""
  chosen = settings.data
  dataset = data.load(
    settings.dataset, data_dir=settings.data_dir or None, path=chosen.path or None
  )
  if chosen.subset_train or chosen.subset_test:
    dataset = data.subset(dataset, chosen.subset_train, chosen.subset_test)
  if chosen.random_labels:
    dataset = data.randomise_labels(dataset, chosen.random_labels, chosen.random_label_seed)
  return dataset


def build(
  settings: Settings,
  dataset: data.Dataset,
  splits: Sequence[data.Split],
  chunk: int,
  lowering: Choice = "auto",
  keys: jax.Array | None = None,
) -> Bench:
  """Put data on the devices and lay out the population: one member per seed, or per key."""
  keys = member_keys(settings.seeds) if keys is None else keys
  devices = tuple(jax.devices()[: settings.population.devices or None])
  population = Population(len(keys), chunk=chunk, devices=devices)
  augmentation = dataset.augmentation if settings.data.augment else "none"
  preprocess = Preprocess(tuple(dataset.mean), tuple(dataset.std), augmentation, dataset.channels)
  module, compute = make_model(settings, dataset.num_classes, lowering), settings.population.compute
  task = Task(module, dataset.num_classes, preprocess, compute=compute)
  arrays = population.share(Arrays(dataset.images, dataset.labels))
  problem = Problem(population, task, arrays, index_arrays(splits))
  return Bench(settings, dataset, tuple(splits), problem, keys)


def index_arrays(splits: Sequence[data.Split]) -> dict[str, np.ndarray]:
  """Stack the sets that training reads: name -> int32 [K, n]."""
  stack = lambda part: np.stack([getattr(split, part) for split in splits]).astype(np.int32)
  return {part: stack(part) for part in ("retain", "forget", "val")}


def make_model(settings: Settings, num_classes: int, lowering: Choice = "auto"):
  """Build the settings' network (no weights)."""
  fields = getattr(models.MODELS[settings.model.name], "__dataclass_fields__", {})
  options = {"lowering": lowering} if "lowering" in fields else {}
  if settings.model.name == "cnn":
    options["width"] = settings.model.width
  return models.make(settings.model.name, num_classes, **options)


def hyperparameters(settings: Settings, name: str) -> dict[str, Any]:
  """Return the complete hyper-parameters that the settings give a method or an anchor."""
  if name in ANCHORS:
    given = dataclasses.asdict(settings.training)
    given.pop("data_seed")
    return ANCHORS[name].hyperparameters(given)
  return METHODS[name].hyperparameters(settings.unlearning[name])
