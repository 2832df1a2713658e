"""Data sets, their splits, and what happens to images on the device.

This door stays free of JAX: `augment` and `streams` are imported by name where they are needed.
"""

from jaxmu.data.arrays import Dataset
from jaxmu.data.chosen import (
  Requested,
  load_for,
  requests_for,
  searched_splits_for,
  splits_for,
)
from jaxmu.data.datasets import DATASETS, load
from jaxmu.data.requests import Facts
from jaxmu.data.splits import Split, custom_split, fixed_split, listed_split, redrawn_split
from jaxmu.data.transforms import randomise_labels, subset

__all__ = [
  "DATASETS",
  "Dataset",
  "Facts",
  "Requested",
  "Split",
  "custom_split",
  "fixed_split",
  "listed_split",
  "load",
  "load_for",
  "randomise_labels",
  "redrawn_split",
  "requests_for",
  "searched_splits_for",
  "splits_for",
  "subset",
]
