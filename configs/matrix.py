"""The benchmark as a whole: every cell with its search, and the paper's U-LiRA study.

Without an argument that of "Deep Unlearn": MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and UTKFace
with ResNet-18 and TinyViT. In each cell a search of 100 trials for each of 18 methods on seeds 0 to
2, then the benchmark of ten seeds with what it chose; and U-LiRA on CIFAR-10 with ResNet-18, six
methods, with a search of its own: 99,520 models. Sizes of a cell: configs/cells.py.
Expected: docs/results.md has what smaller ones gave.
Hardware: one data-centre GPU, weeks; any number of machines share the work.

python bin/benchmark.py --config=configs/matrix.py --plan
python bin/benchmark.py --config=configs/matrix.py --part=mnist_resnet18/search

An argument makes it smaller; its numbers are no reproduction of the paper:
  :tiny   the same cells and parts, a handful of images, trials and methods: a smoke test
  :small  three cells, MNIST, Fashion-MNIST and CIFAR-10 with a small CNN: half an hour each on 2
          CPU cores with --workers=2, 50 minutes on a slow kind

python bin/benchmark.py --config=configs/matrix.py:small --workers=2
"""

import runpy
from pathlib import Path

import ml_collections

HERE = Path(__file__).parent
DATA = ("mnist", "fashion_mnist", "cifar10", "cifar100", "utkface")
NETWORKS = ("resnet18", "tinyvit")
SEARCH = {
  "": {"trials": 100, "batch": 50, "robust": 0},
  "small": {
    "trials": 16,
    "batch": 8,
    "robust": 2,
    "robust_seeds": (2, 3),
    "check_seeds": (4, 5, 6, 7, 8, 9),
  },
  "tiny": {"trials": 2, "batch": 2, "robust": 0},
}
SEEDS = {"": (0, 1, 2), "small": (0, 1), "tiny": (0,)}


def get_config(size: str = "") -> ml_collections.ConfigDict:
  """Return all studies by cell."""
  if size not in SEARCH:
    raise ValueError(f"unknown argument '{size}'; expected small, tiny, or none")
  networks = ("cnn",) if size == "small" else NETWORKS
  data = DATA[:3] if size == "small" else DATA
  config = ml_collections.ConfigDict()
  config.name = f"matrix_{size}".rstrip("_")
  config.output_dir = "checkpoints"
  config.rule = "robust" if size == "small" else "reference"  # by which searches choose
  config.cells = {f"{d}_{n}": cell(d, n, size) for d in data for n in networks}
  if size != "small":
    config.cells["ulira"] = shadows(size)
  return config


def cell(data: str, network: str, size: str) -> dict:
  """Return search and benchmark of one cell."""
  make = runpy.run_path(str(HERE / "cells.py"))["get_config"]
  search, benchmark = (make(f"{data},{network},{size}") for _ in range(2))
  search.update(study="search", name=f"search_{search.name}", seeds=SEEDS[size])
  search.search = SEARCH[size]
  for each in (search, benchmark) if size == "tiny" else ():
    each.methods = ("ft", "ga")
  return {"search": search, "benchmark": benchmark}


def shadows(size: str) -> dict:
  """Return the U-LiRA study with its search, on the first forget set of half of the splits."""
  make = runpy.run_path(str(HERE / "ulira_cifar10.py"))["get_config"]
  search, study = (make("mini" if size else "") for _ in range(2))
  study.ulira.share_original = False
  if size:
    for each in (search, study):
      each.methods = ("ft",)
      each.data.update({"subset_train": 600, "subset_test": 100})
      each.training.num_epochs = 2
      each.ulira.update({"splits": 2, "forgets": 1, "pool": 400})
  search.update(study="search", name=f"search_{search.name}")
  search.search = {
    "trials": 2 if size else 200,
    "batch": 2 if size else 50,
    "splits": 2 if size else 32,
    "robust": 0,
  }
  return {"ulira_search": search, "ulira": study}
