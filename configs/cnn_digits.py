"""Digits, small CNN: the embedded default, ten members, no download.

Data: scikit-learn's 1,797 handwritten digits (8x8): 977 retained, 245 forgotten, 216 validation,
359 test. Digits alone are too easy to memorise visibly, so 10 % of all samples, train, validation
and test alike, have random labels: only memorisation fits them. And every seed draws its own split,
so that intervals include the choice of so few samples. No other config does either.
Expected: original forget accuracy 1.00 and MIA 0.62, retrained 0.86 and 0.50 (SD over seeds 0.02);
retrained test accuracy on true labels 0.944. The hyper-parameters are this project's choice; there
is no paper to compare with.
Hardware: 2 CPU cores, three and a half minutes with all 18 methods (two where all is compiled).

python bin/sweep.py --config=configs/cnn_digits.py
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Return the experiment."""
  config = ml_collections.ConfigDict()
  config.name = "cnn_digits"
  config.dataset = "digits"
  config.data_dir = ""
  config.data = {
    "path": "",
    "subset_train": 0,
    "subset_test": 0,
    "val_fraction": 0.15,
    "forget_fraction": 0.20,
    "split_seed": 123,
    "split_per_seed": True,
    "random_labels": 0.10,
    "random_label_seed": 123,
    "augment": True,  # digits have no augmentation to apply
  }
  config.model = {"name": "cnn", "width": 32}
  config.seeds = tuple(range(10))
  config.methods = (
    *("ft", "ga", "srl", "ngplus", "cfk", "euk", "ff", "iu", "bt", "scrub", "salun"),
    *("fcs", "msg", "cfw", "prmq", "ct", "kde", "rni"),
  )
  config.training = {
    "num_epochs": 60,
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
    "ngplus": {"learning_rate": 5e-3, "num_epochs": 10, "batch_size": 64, "alpha": 0.8},
    "cfk": {
      "num_blocks": 2,
      "learning_rate": 0.05,
      "sgda_decay_rate": 0.3,
      "sgda_weight_decay": 1e-3,
      "num_epochs": 10,
      "batch_size": 64,
    },
    "euk": {
      "num_blocks": 2,
      "learning_rate": 0.1,
      "sgda_decay_rate": 0.3,
      "sgda_weight_decay": 1e-3,
      "num_epochs": 10,
      "batch_size": 64,
    },
    "ff": {"alpha": 1.5e-5, "batch_size": 64},
    "iu": {"alpha": 4.0, "batch_size": 64},
    "bt": {"learning_rate": 2e-3, "num_epochs": 5, "batch_size": 64},
    "scrub": {
      "sgda_learning_rate": 0.02,
      "sgda_num_epochs": 8,
      "msteps": 3,
      "retain_batch_size": 64,
      "forget_batch_size": 64,
    },
    "salun": {
      "threshold": 0.3,
      "learning_rate": 0.02,
      "momentum": 0.9,
      "num_epochs": 6,
      "batch_size": 64,
    },
    "fcs": {
      "learning_rate": 5e-3,
      "forget_optimizer_learning_rate": 3e-3,
      "retain_optimizer_learning_rate": 0.02,
      "num_epochs": 6,
      "batch_size": 64,
    },
    "msg": {"learning_rate": 0.02, "num_epochs": 10, "batch_size": 64, "init_rate": 0.3},
    "cfw": {
      "start_confuser_std": 0.3,
      "learning_rate": 0.02,
      "num_epochs": 6,
      "batch_size": 64,
    },
    "prmq": {"prune_amount": 0.9, "learning_rate": 0.05, "num_epochs": 8.5, "batch_size": 64},
    "ct": {"learning_rate": 0.05, "num_epochs": 10, "batch_size": 64},
    "kde": {
      "learning_rate": 0.02,
      "retain_optimizer_learning_rate": 0.05,
      "num_epochs": 3,
      "retain_num_epochs": 8,
      "batch_size": 64,
    },
    "rni": {
      "num_epochs": 8,
      "fine_num_epochs": 4,
      "learning_rate": 0.02,
      "fine_optimizer_learning_rate": 0.02,
      "batch_size": 64,
    },
  }
  config.fidelity = "default"
  config.population = {"chunk": "auto", "devices": 0}
  config.evaluation = {"batch_size": 500, "bootstrap": 2000}
  config.checkpoint_seconds = 30.0
  config.output_dir = "checkpoints"
  return config
