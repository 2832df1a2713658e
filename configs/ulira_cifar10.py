"""CIFAR-10, ResNet-18: the U-LiRA study of "Deep Unlearn" (arXiv 2410.01276), 640 shadow models.

Data: cifar10 prepared by `python bin/prepare_data.py cifar10` and found through TFDS_DATA_DIR or
--config.data_dir. 64 random halves of 47,500 training images, 10 forget sets of 2,375 in each, 91
epochs, all from the same initial weights; the six methods that the paper attacks, with their
default hyper-parameters. Originals are shared by the forget sets of a split, which trains 64 of
them and not 640; --config.ulira.share_original=false is the paper's protocol.
Expected attack accuracy: retrained 0.50 within its interval, original above every method.
Hardware: data-centre GPUs, days; the same command with more splits or forget sets adds models.

python bin/sweep.py --config=configs/ulira_cifar10.py --config.ulira.splits=16 --plan
python bin/sweep.py --config=configs/ulira_cifar10.py --config.ulira.splits=16

An argument makes it smaller; its numbers are no reproduction of the paper:
  :mini  16 splits x 2 forget sets of a pool of 4,000 images, 14 epochs without augmentation, four
         methods: about 45 minutes on 2 CPU cores

python bin/sweep.py --config=configs/ulira_cifar10.py:mini
"""

import ml_collections

FEW = {"num_epochs": 3, "batch_size": 64}
MINI = {
  "ft": {"learning_rate": 0.02, **FEW},
  "srl": {"learning_rate": 0.01, "num_epochs": 2, "batch_size": 64},
  "msg": {"learning_rate": 0.01, **FEW},
  "ct": {"learning_rate": 0.02, **FEW},
}


def get_config(size: str = "") -> ml_collections.ConfigDict:
  """Return the study of the paper, or the one named by `size`."""
  if size not in ("", "mini"):
    raise ValueError(f"unknown argument '{size}'; expected mini, or none")
  config = ml_collections.ConfigDict()
  config.name = f"ulira_cifar10_{size}".rstrip("_")
  config.study = "ulira"
  config.dataset = "cifar10"
  config.data_dir = ""
  config.data = {
    "path": "",
    "subset_train": 0,
    "subset_test": 0,
    "split_seed": 123,
    "random_labels": 0.0,
    "random_label_seed": 123,
    "augment": not size,  # a short run memorises its few images only where they stay the same
  }
  config.model = {"name": "resnet18"}
  config.seeds = (0,)
  config.methods = tuple(MINI) if size else ("ft", "msg", "cfw", "prmq", "ct", "kde")
  config.training = {
    "num_epochs": 14 if size else 91,
    "batch_size": 64 if size else 256,
    "learning_rate": 0.05 if size else 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "data_seed": 123,
  }
  config.unlearning = MINI if size else {}
  config.fidelity = "default"
  config.population = {"chunk": "auto", "devices": 0}
  config.evaluation = {"batch_size": 500, "bootstrap": 1000}
  config.ulira = {
    "splits": 16 if size else 64,
    "forgets": 2 if size else 10,
    "pool": 4000 if size else 0,
    "share_original": True,
    "fit": "normal",
    "variance": "auto",
  }
  config.checkpoint_seconds = 120.0
  config.output_dir = "checkpoints"
  return config
