"""The data sets that there are, for people: sizes, and what each needs."""

from typing import Any

from jaxmu.data.datasets import DATASETS, TRANSFORMS
from jaxmu.data.sizes import SIZES
from jaxmu.own_code import names

NEEDS = {
  "npz": "a file of yours: --config.data.path=FILE.npz",
  "utkface": "a folder of yours: --config.data.path=FOLDER",
  "cifar100_coarse": "`jaxmu prepare cifar100`, once",
  **{name: f"`jaxmu prepare {name}`, once" for name in TRANSFORMS},
}


def rows() -> list[dict[str, Any]]:
  """Return a row for each data set: its name, sizes where they are known, needs, and all as text.

  Sizes are training and test samples, pixels of a side, channels and classes.
  """
  return [*map(_row, DATASETS), *map(_of_package, names.installed("datasets"))]


def _of_package(name: str) -> dict[str, Any]:
  whose = ", ".join(names.installed("datasets")[name].values())
  about = f"of package {whose}; sizes are those that it gives"
  return {"name": name, "sizes": None, "needs": "", "about": about}


def _row(name: str) -> dict[str, Any]:
  needs, sizes = NEEDS.get(name, ""), SIZES.get(name)
  what = "sizes are those of the file" if sizes is None else _sizes(*sizes)
  told = f"{what}; {f'needs {needs}' if needs else 'comes with jaxmu, nothing to download'}"
  return {"name": name, "sizes": sizes, "needs": needs, "about": told}


def _sizes(train: int, test: int, size: int, channels: int, classes: int) -> str:
  return (
    f"{train:,} training and {test:,} test images, {size} x {size} x {channels}, {classes} classes"
  )
