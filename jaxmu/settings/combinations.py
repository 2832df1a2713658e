"""Entries that are fine alone and wrong together."""

from typing import Protocol

from jaxmu.errors import SettingsError
from jaxmu.settings.ranges import SEED
from jaxmu.settings.sections import DataSettings, UliraSettings


class Entries(Protocol):
  """The entries that are looked at together, of `Settings`."""

  @property
  def dataset(self) -> str: ...
  @property
  def data(self) -> DataSettings: ...
  @property
  def seeds(self) -> tuple[int, ...]: ...
  @property
  def ulira(self) -> UliraSettings: ...


def check(settings: Entries) -> None:
  """Raise SettingsError for the first combination that makes no sense."""
  _check_path(settings)
  _check_study(settings)
  _check_split_seeds(settings)


def _check_path(settings: Entries) -> None:
  path, dataset = settings.data.path, settings.dataset
  if dataset == "npz" and not path:
    raise SettingsError(
      "config.data.path is empty; expected the file of data set 'npz': set --config.data.path=FILE"
    )
  if path and dataset != "npz":
    raise SettingsError(
      f"config.data.path is '{path}', but data set '{dataset}' reads no file; expected an empty "
      "path: set --config.dataset=npz, or leave the path out"
    )


def _check_study(settings: Entries) -> None:
  splits, seeds = settings.ulira.splits, len(settings.seeds)
  if splits == 1:
    raise SettingsError(
      "config.ulira.splits is 1; expected 0 (no study) or at least 2: only models of other splits "
      "never saw a sample"
    )
  if splits and seeds > 1:
    raise SettingsError(
      f"config.seeds has {seeds} seeds, but all models of a U-LiRA study begin with the same "
      "weights; expected one: set --config.seeds=0, or --config.ulira.splits=0 for the benchmark"
    )


def _check_split_seeds(settings: Entries) -> None:
  """Refuse splits of their own whose seeds, sums of two, no generator takes."""
  data, largest = settings.data, max(settings.seeds)
  drawn = data.split_per_seed and not settings.ulira.splits  # a study has one pool
  if drawn and not SEED.holds(data.split_seed + largest):
    raise SettingsError(
      f"config.data.split_seed is {data.split_seed} and config.seeds goes up to {largest}; with "
      f"config.data.split_per_seed their sum is a seed, at most {SEED.high}: give smaller ones"
    )
