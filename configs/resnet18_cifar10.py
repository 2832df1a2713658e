"""CIFAR-10, ResNet-18: the recipe of "Deep Unlearn" (arXiv 2410.01276), ten members.

Data: cifar10 prepared by `python bin/prepare_data.py cifar10` and found through TFDS_DATA_DIR or
--config.data_dir; 38,250 images retained, 4,250 forgotten, 7,500 validation, 10,000 test.
Expected for the retrained models (an independent re-run of the reference, SD over seeds 0.003):
RA 0.9993, FA 0.8734, VA 0.8712, TA 0.8687. The methods' hyper-parameters are their defaults.
Hardware: one data-centre GPU, hours.

python bin/sweep.py --config=configs/resnet18_cifar10.py

Arguments make it smaller; their numbers are no reproduction of the paper:
  :mini  4 members, 5,000 train and 2,000 test images, 14 epochs: about 40 minutes on 2 CPU cores
  :tiny  2 members, 500 train and 200 test images, 2 epochs: a smoke test

python bin/sweep.py --config=configs/resnet18_cifar10.py:mini
"""

import ml_collections

# Without augmentation a short run memorises its few images, which is what an attack needs to see.
SIZES = {
  "": {},
  "mini": {
    "seeds": (0, 1, 2, 3),
    "data": {"subset_train": 5000, "subset_test": 2000, "augment": False},
    "training": {"num_epochs": 14, "batch_size": 64, "learning_rate": 0.05},
  },
  "tiny": {
    "seeds": (0, 1),
    "data": {"subset_train": 500, "subset_test": 200, "augment": False},
    "training": {"num_epochs": 2, "batch_size": 64, "learning_rate": 0.05},
  },
}
# Few images mean few steps: small batches, and rates found on the small problem.
SMALL = {
  "ft": {"learning_rate": 0.02, "num_epochs": 3, "batch_size": 64},
  "ga": {"learning_rate": 1e-3, "num_epochs": 2, "batch_size": 64},
  "srl": {"learning_rate": 0.01, "num_epochs": 2, "batch_size": 64},
  "ngplus": {"learning_rate": 2e-3, "num_epochs": 2, "batch_size": 64},
  "cfk": {
    "num_blocks": 2,
    "learning_rate": 0.02,
    "sgda_decay_rate": 0.3,
    "num_epochs": 3,
    "batch_size": 64,
  },
  "euk": {
    "num_blocks": 2,
    "learning_rate": 0.05,
    "sgda_decay_rate": 0.3,
    "sgda_weight_decay": 1e-3,
    "num_epochs": 3,
    "batch_size": 64,
  },
  "ff": {"alpha": 1e-8, "batch_size": 64},
  "iu": {"alpha": 2.0, "batch_size": 64},
  "bt": {"learning_rate": 5e-4, "num_epochs": 2, "batch_size": 64},
  "scrub": {
    "sgda_learning_rate": 2e-3,
    "sgda_num_epochs": 3,
    "msteps": 2,
    "retain_batch_size": 64,
    "forget_batch_size": 64,
  },
  "salun": {
    "threshold": 0.3,
    "learning_rate": 0.01,
    "momentum": 0.9,
    "num_epochs": 2,
    "batch_size": 64,
  },
  "fcs": {
    "learning_rate": 1e-3,
    "forget_optimizer_learning_rate": 1e-3,
    "retain_optimizer_learning_rate": 0.01,
    "num_epochs": 2,
    "batch_size": 64,
  },
  "msg": {"learning_rate": 0.01, "num_epochs": 3, "batch_size": 64},
  "cfw": {
    "start_confuser_std": 0.1,
    "learning_rate": 0.01,
    "num_epochs": 3,
    "batch_size": 64,
  },
  "prmq": {"prune_amount": 0.8, "learning_rate": 0.01, "num_epochs": 2.5, "batch_size": 64},
  "ct": {"learning_rate": 0.02, "num_epochs": 3, "batch_size": 64},
  "kde": {
    "learning_rate": 0.01,
    "num_epochs": 1,
    "retain_optimizer_learning_rate": 0.02,
    "retain_num_epochs": 3,
    "batch_size": 64,
  },
  "rni": {
    "num_epochs": 4,
    "fine_num_epochs": 2,
    "learning_rate": 0.01,
    "fine_optimizer_learning_rate": 0.01,
    "batch_size": 64,
  },
}


def get_config(size: str = "") -> ml_collections.ConfigDict:
  """Return the experiment at full size, or the one named by `size`."""
  if size not in SIZES:
    raise ValueError(f"unknown argument '{size}'; expected mini, tiny, or none")
  config = ml_collections.ConfigDict()
  config.name = f"resnet18_cifar10_{size}".rstrip("_")
  config.dataset = "cifar10"
  config.data_dir = ""
  config.data = {
    "path": "",
    "subset_train": 0,
    "subset_test": 0,
    "val_fraction": 0.15,
    "forget_fraction": 0.10,
    "split_seed": 123,
    "random_labels": 0.0,
    "random_label_seed": 123,
    "augment": True,
  }
  config.model = {"name": "resnet18"}
  config.seeds = tuple(range(10))
  config.methods = (
    *("ft", "ga", "srl", "ngplus", "cfk", "euk", "ff", "iu", "bt", "scrub", "salun"),
    *("fcs", "msg", "cfw", "prmq", "ct", "kde", "rni"),
  )
  config.training = {
    "num_epochs": 182,
    "batch_size": 256,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "data_seed": 123,
  }
  config.unlearning = SMALL if size else {}
  config.fidelity = "default"
  config.population = {"chunk": "auto", "devices": 0}
  config.evaluation = {"batch_size": 500, "bootstrap": 2000}
  config.checkpoint_seconds = 120.0
  config.output_dir = "checkpoints"
  config.update(SIZES[size])
  return config
