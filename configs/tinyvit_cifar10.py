"""CIFAR-10, TinyViT-11M: the recipe of "Deep Unlearn" (arXiv 2410.01276), ten members.

All entries but network and name are those of resnet18_cifar10.py: SGD at 0.1 for 182 epochs, for
this network too. It starts from random weights, without pre-training or distillation.
Data: as there, cifar10 prepared by `python bin/prepare_data.py cifar10`.
Expected: not known; the paper's sources give no accuracies of this network.
Hardware: one data-centre GPU, hours.

python bin/sweep.py --config=configs/tinyvit_cifar10.py

An argument makes it smaller; its numbers are no reproduction of the paper, and its methods' rates
were found with ResNet-18:
  :tiny  2 members, 500 train and 200 test images, 2 epochs: a smoke test

python bin/sweep.py --config=configs/tinyvit_cifar10.py:tiny
"""

import runpy
from pathlib import Path

import ml_collections

RECIPE = Path(__file__).with_name("resnet18_cifar10.py")


def get_config(size: str = "") -> ml_collections.ConfigDict:
  """Return the experiment at full size, or the one named by `size`."""
  if size not in ("", "tiny"):
    raise ValueError(f"unknown argument '{size}'; expected tiny, or none")
  config = runpy.run_path(str(RECIPE))["get_config"](size)
  config.name = f"tinyvit_cifar10_{size}".rstrip("_")
  config.model = {"name": "tinyvit"}
  return config
