"""Any cell of the benchmark: a data set, a network and a size, as `DATA,NETWORK[,SIZE]`.

Data: mnist, fashion_mnist, cifar10, cifar100, utkface (prepared by bin/prepare_data.py; UTKFace is
a folder of yours). Networks: resnet18, tinyvit, and cnn, which the paper does not have.
Recipes are the reference's: SGD at 0.1 with a cosine, batches of 256 (UTKFace 128), 182 epochs
(CIFAR) or 50. Hyper-parameters are the methods' defaults; those of a search go in by config.tuned.
Expected: of ten cells only retrained ResNet-18 on CIFAR-10 is known (configs/resnet18_cifar10.py).
Hardware: one data-centre GPU, hours to days for a cell.

python bin/sweep.py --config=configs/cells.py:mnist,resnet18 --plan

A size makes it smaller; its numbers are no reproduction of the paper:
  mini   4 members, 5,000 train and 2,000 test images, 14 epochs
  small  10 members, 2,000 train and 1,000 test images, 30 epochs, a CNN of width 8: for searches
  tiny   2 members, 500 train and 200 test images, 2 epochs: a smoke test

python bin/sweep.py --config=configs/cells.py:fashion_mnist,cnn,small
"""

import runpy
from pathlib import Path

import ml_collections

RECIPE = Path(__file__).with_name("resnet18_cifar10.py")
DATA = ("mnist", "fashion_mnist", "cifar10", "cifar100", "utkface")
NETWORKS = ("resnet18", "tinyvit", "cnn")
SIZES = ("", "mini", "small", "tiny")


def get_config(cell: str = "cifar10,resnet18") -> ml_collections.ConfigDict:
  """Return the benchmark of one cell."""
  data, network, size = (*cell.split(","), "", "")[:3]
  for given, known in ((data, DATA), (network, NETWORKS), (size, SIZES)):
    if given not in known:
      raise ValueError(f"unknown '{given}' in '{cell}'; expected DATA,NETWORK[,SIZE] of {known}")
  config = runpy.run_path(str(RECIPE))["get_config"]("tiny" if size == "small" else size)
  config.name = "_".join(filter(None, (network, data, size)))
  config.dataset = data
  config.model = {"name": network}
  if network == "cnn":
    config.model = {"name": network, "width": 8}
  if size == "small":
    config.seeds = tuple(range(10))
    config.data.update({"subset_train": 2000, "subset_test": 1000})
    config.training.num_epochs = 30
    config.unlearning = {}
  elif size == "tiny" and data == "utkface":
    config.data.update({"subset_train": 60, "subset_test": 20})  # of 224 pixels
  elif not size:
    config.training.num_epochs = 182 if data.startswith("cifar") else 50
    config.training.batch_size = 128 if data == "utkface" else 256
  return config
