"""Hyper-parameters that searches found: files of the package, of a folder, or of a search's run.

    jaxmu/tuned/<data set>_<network>/<method>.json       FOLDER/<method>.json
    checkpoints/<run of a search>/tuned-<method>.json

What a file says beside the configuration (what it gives, and where it comes from) is for readers.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmu.errors import SettingsError, StoreError, closest
from jaxmu.settings.choices import REFERENCE, ROBUST, RULES
from jaxmu.store import typed_json
from jaxmu.store.records import TunedRecord
from jaxmu.store.run import CONFIG, RESULTS, Run

SHIPPED = Path(__file__).parents[1] / "tuned"


def read(asked: str, dataset: str, network: str) -> dict[str, dict[str, Any]]:
  """Return the hyper-parameters of every method that has been searched.

  Args:
    asked: "reference" or "robust" for what the package ships for this data set and network, by
      that rule; the name of a cell that it ships, "digits_cnn"; or a folder or a run directory. Of
      the last three the robust choices are taken where there are any; with ":reference" behind it
      those of the other rule.

  Raises:
    SettingsError: nothing is shipped for them, or there is no such folder.
    StoreError: a file is damaged.
  """
  rule, folder = _place(asked, dataset, network)
  found = {}
  for record in _records(folder):
    known = record.hyperparameters
    if (chosen := known.get(rule, known.get(REFERENCE))) is not None:
      found[record.method] = dict(chosen)
  return found


def shipped() -> list[str]:
  """Name the cells that the package has hyper-parameters for, as "digits_cnn"."""
  return sorted(path.name for path in SHIPPED.glob("*_*") if any(path.glob("*.json")))


def export(run: Run, folder: str | Path) -> Iterator[Path]:
  """Copy what a search chose to FOLDER/METHOD.json; yield the files.

  Raises:
    StoreError: the run has no results, or the folder cannot be written.
  """
  try:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path in _listed(run.path):
      record = run.record(TunedRecord, path.name)  # verified before it is copied
      yield Path(shutil.copyfile(path, Path(folder) / f"{record.method}.json"))
  except OSError as error:
    raise StoreError(f"cannot write {folder}: {error.strerror}; give another folder") from None


def _place(asked: str, dataset: str, network: str) -> tuple[str, Path]:
  if asked in RULES:
    cell = f"{dataset}_{network}"
    if cell not in shipped():
      raise SettingsError(
        f"config.tuned is '{asked}', but no hyper-parameters are shipped for {dataset} with "
        f"{network}; {closest(cell, shipped())}; leave it out (--config.tuned=), or search for "
        "some with bin/search.py and give that run directory"
      )
    return asked, SHIPPED / cell
  path, _, rule = asked.partition(":")
  if rule not in ("", *RULES):
    raise SettingsError(
      f"config.tuned is '{asked}'; expected reference, robust, or a search's run directory, with "
      "':reference' behind it for what that rule chose"
    )
  if path in shipped():
    return rule or ROBUST, SHIPPED / path
  if not _listed(Path(path)):
    raise SettingsError(
      f"config.tuned is '{asked}', which is no folder with tuned hyper-parameters; expected "
      "reference, robust, or the run directory of a finished search"
    )
  return rule or ROBUST, Path(path)


def finished(folder: Path) -> bool:
  """Tell whether a folder is the run of a search that has its results."""
  return (folder / CONFIG).is_file() and bool(_listed(folder))


def _records(folder: Path) -> list[TunedRecord]:
  """Read what a folder holds; files of a run are verified against its results."""
  if (folder / CONFIG).is_file():
    run = Run.open(folder)
    return [run.record(TunedRecord, path.name) for path in _listed(folder)]
  return [typed_json.load(TunedRecord, path) for path in _listed(folder)]


def _listed(folder: Path) -> list[Path]:
  """Return the files of a finished run of a search, else those of a folder, in order."""
  if not (folder / CONFIG).is_file():
    return sorted(folder.glob("*.json")) if folder.is_dir() else []
  return sorted(folder.glob("tuned-*.json")) if (folder / RESULTS).is_file() else []
