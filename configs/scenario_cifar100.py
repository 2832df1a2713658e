"""Sub-class forgetting: fine classes of CIFAR-100 under its coarse labels, with ResNet-18.

Data: cifar100 prepared by `python bin/prepare_data.py cifar100` and found through TFDS_DATA_DIR or
--config.data_dir; the 20 coarse labels are learnt, the 100 fine classes are the groups. 5,000
training and 2,000 test images, recipe and hyper-parameters of configs/resnet18_cifar10.py:mini.

  :subclass  5 fine classes, drawn at random; as many others leave training and are the control

Expected: retrained models recognise some samples of a forgotten fine class by what its coarse class
has in common, as they do those of the control.
Hardware: 2 CPU cores, about an hour; a GPU, a minute or two.

python bin/sweep.py --config=configs/scenario_cifar100.py:subclass
"""

import runpy
from pathlib import Path

import ml_collections

BASE = Path(__file__).with_name("resnet18_cifar10.py")


def get_config(scenario: str = "subclass") -> ml_collections.ConfigDict:
  """Return the experiment."""
  if scenario != "subclass":
    raise ValueError(f"unknown argument '{scenario}'; expected subclass")
  config = runpy.run_path(str(BASE))["get_config"]("mini")
  config.name = f"scenario_cifar100_{scenario}"
  config.dataset = "cifar100_coarse"
  config.scenario = {"forget": "groups", "groups": 5}
  config.methods = ("ft", "ngplus", "srl", "euk")
  return config
