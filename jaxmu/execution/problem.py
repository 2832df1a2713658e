"""A population's data: who trains, on what network, and on which samples."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxmu.engine.population import Population
from jaxmu.training import Task
from jaxmu.training.task import Arrays


@dataclasses.dataclass(frozen=True)
class Problem:
  """A population's data: what all methods on it share.

  Attributes:
    population, task: who trains and on what network.
    arrays: images and labels on every device.
    index: set name -> int32 [K, n]: each member's split, its own samples first.
    counts: set name -> int [K], how many those are, where members have sets of different sizes
      (for every set then); empty: all.
  """

  population: Population
  task: Task
  arrays: Arrays
  index: Mapping[str, np.ndarray]
  counts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  @property
  def sizes(self) -> dict[str, int]:
    """Places of each set: the size of the largest member's."""
    return {name: positions.shape[1] for name, positions in self.index.items()}

  @property
  def member_sizes(self) -> list[dict[str, int]]:
    """Samples in each set of every member."""
    own = lambda k: {name: int(counts[k]) for name, counts in self.counts.items()}
    return [self.sizes | own(k) for k in range(self.population.size)]
