"""Requests other than a random share, on a subset of CIFAR-10 with ResNet-18.

Data: cifar10 prepared by `python bin/prepare_data.py cifar10` and found through TFDS_DATA_DIR or
--config.data_dir; 5,000 training and 2,000 test images, as configs/resnet18_cifar10.py:mini, with
its recipe and hyper-parameters.

An argument says who is forgotten, and how:
  :class     all cats
  :sequence  three requests of a thirtieth, one after another

Expected (docs/results.md): retrained models know nothing of a class.
Hardware: 2 CPU cores, about an hour; a GPU, a minute or two.

python bin/sweep.py --config=configs/scenario_cifar10.py:class
python bin/sweep.py --config=configs/scenario_cifar10.py:sequence
"""

import runpy
from pathlib import Path

import ml_collections

BASE = Path(__file__).with_name("resnet18_cifar10.py")
SCENARIOS = {"class": {"forget": "classes", "classes": "cat"}, "sequence": {"rounds": 3}}

METHODS = {"class": ("ft", "ngplus", "srl", "euk"), "sequence": ("ft", "ngplus", "scrub")}


def get_config(scenario: str = "class") -> ml_collections.ConfigDict:
  """Return the experiment with one of `SCENARIOS`."""
  if scenario not in SCENARIOS:
    raise ValueError(f"unknown argument '{scenario}'; expected one of {', '.join(SCENARIOS)}")
  config = runpy.run_path(str(BASE))["get_config"]("mini")
  config.name = f"scenario_cifar10_{scenario}"
  config.scenario = SCENARIOS[scenario]
  config.methods = METHODS[scenario]
  return config
