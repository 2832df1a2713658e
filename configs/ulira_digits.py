"""Digits, small CNN: a U-LiRA study of 800 shadow models, in minutes, no download.

Each of 32 splits trains on a random half of 1,367 handwritten digits (8x8) and forgets 4 different
tenths of it. 15 % of all labels are random, before anything is split: a network classifies clean
digits alike whether it saw them or not, and only memorisation fits a random label. Members and
non-members of a sample carry the same label, so nothing but membership tells their models apart,
and the retrained models, which must read one half, prove it in every run. No augmentation, and
enough epochs to fit every label: the setting in which samples are most exposed.
Expected attack accuracy: original 0.76, retrained 0.50, FT and GA 0.60, SRL 0.73. The
hyper-parameters are this project's choice.
Hardware: 2 CPU cores, three minutes.

python bin/sweep.py --config=configs/ulira_digits.py
python bin/sweep.py --config=configs/ulira_digits.py --config.ulira.splits=64   # adds 32 splits
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Return the experiment."""
  config = ml_collections.ConfigDict()
  config.name = "ulira_digits"
  config.study = "ulira"
  config.dataset = "digits"
  config.data_dir = ""
  config.data = {
    "path": "",
    "subset_train": 0,
    "subset_test": 0,
    "split_seed": 123,
    "random_labels": 0.15,
    "random_label_seed": 123,
    "augment": False,
  }
  config.model = {"name": "cnn", "width": 32}
  config.seeds = (0,)
  config.methods = ("ft", "ga", "srl", "msg", "ct")
  config.training = {
    "num_epochs": 40,
    "batch_size": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "data_seed": 123,
  }
  config.unlearning = {
    "ft": {"learning_rate": 0.1, "num_epochs": 10, "batch_size": 64},
    "ga": {"learning_rate": 5e-3, "num_epochs": 6, "batch_size": 64},
    "srl": {"learning_rate": 0.02, "num_epochs": 6, "batch_size": 64},
    "msg": {"learning_rate": 0.02, "num_epochs": 10, "batch_size": 64, "init_rate": 0.3},
    "ct": {"learning_rate": 0.05, "num_epochs": 10, "batch_size": 64},
  }
  config.fidelity = "default"
  config.population = {"chunk": "auto", "devices": 0}
  config.evaluation = {"batch_size": 500, "bootstrap": 1000}
  config.ulira = {
    "splits": 32,
    "forgets": 4,
    "pool": 0,  # all of it
    "share_original": True,
    "fit": "normal",
    "variance": "auto",
  }
  config.checkpoint_seconds = 30.0
  config.output_dir = "checkpoints"
  return config
