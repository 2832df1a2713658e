"""Your own images, in one npz file: which method forgets your samples best, on your data.

  import numpy as np
  np.savez(
    "mine.npz",
    images=images,        # uint8 [N, H, W, 3], or [N, H, W] if grey; H = W; training samples first
    labels=labels,        # int [N], 0 to C-1
    num_train=8000,       # training samples; left out: a fifth of all, drawn, becomes the test part
    forget=forget,        # int [n], positions of those to forget; left out: a random tenth
    classes=["cat", "dog"],           # names of the classes; left out: their numbers
    groups=persons,       # int [N], user or person of each; for --config.scenario.forget=groups
    mean=[0.5, 0.4, 0.4], std=[0.2, 0.2, 0.2],  # of pixels in [0, 1]; left out: measured
    augmentation="crop_flip",         # or "flip"; left out: none
  )

Only images and labels must be there, and an array of another name is refused: docs/configs.md has
all about it. The forget set, validation samples and the test part need 6 samples each at least.
Expected: the original model recognises the forget set the better, the more it memorises: where the
report says that attacks on it are at chance, there is little to forget.
Hardware: about a minute for 10,000 images of 32 pixels on a GPU; `--plan` says it for yours.

python bin/sweep.py --config=configs/own_data.py --config.data.path=mine.npz --plan
jaxmu run own_data --data.path=mine.npz
jaxmu run own_data --data.path=mine.npz --data.forget=ids.csv
jaxmu run own_data --data.path=mine.npz --scenario.forget=groups --scenario.groups=5
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Return the experiment; `config.data.path` must be given."""
  config = ml_collections.ConfigDict()
  config.name = "own_data"  # first part of the run directory's name
  config.dataset = "npz"
  config.data = {
    "path": "",  # of your file
    "forget": "",  # file of positions (.csv, .txt, .npy), in place of the data file's own list
    "subset_train": 0,  # 0 keeps all; 2000 makes a first trial quick
    "subset_test": 0,
    "val_fraction": 0.15,  # of the training part, held out
    "forget_fraction": 0.10,  # of the rest; not read where there is a list
    "split_seed": 123,
    "split_per_seed": False,  # True draws everything anew for each seed, the test part too
    "augment": True,  # as the file says
  }
  # Who is forgotten where there is no list: "random", "classes" (--config.scenario.classes=cat),
  # or "groups". `jaxmu scenarios` explains.
  config.scenario = {"forget": "random"}
  # Images of 8 to 512 pixels; {"name": "cnn", "width": 32} for 8 to 32 pixels takes a twentieth.
  config.model = {"name": "resnet18"}
  config.seeds = (0, 1, 2)  # models of each kind; more make the intervals narrower
  config.methods = ("ft", "ngplus", "msg", "salun", "scrub", "srl", "euk", "ct")
  config.training = {  # of the original and the retrained models
    "num_epochs": 30,
    "batch_size": 64,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "data_seed": 123,
  }
  # Hyper-parameters that differ from the defaults, such as {"ft": {"learning_rate": 0.01}}; how to
  # search for them: docs/search.md.
  config.unlearning = {}
  config.population = {"chunk": "auto", "devices": 0}  # 0: all devices
  config.output_dir = "checkpoints"
  return config
