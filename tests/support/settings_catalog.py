"""A config, and what it may ask for in these tests; the real registries need more rooms."""

import copy
import hashlib

from jaxmu.settings import Catalog, Settings
from jaxmu.training import hyper

SGD = {
  "learning_rate": 0.1,
  "momentum": 0.9,
  "weight_decay": 5e-4,
  "batch_size": 256,
  "num_epochs": 5,
}
OWN = {
  "alpha": hyper.Hyper(0.95),
  "bn_mode": hyper.option("eval", "eval", "train"),
  "rates": hyper.Hyper((0.1, 0.2), hyper.POSITIVE),
  "factor": hyper.DEAD,
}
FT = hyper.training(0.1)


def forget_sha256(path):
  """Stand in for the reader of the data room: a file is its name."""
  return hashlib.sha256(path.rpartition("/")[2].encode()).hexdigest()


def tuned(asked, dataset, network):
  """Stand in for the reader of the store: what a search found for one method."""
  return {"ft": {"learning_rate": 0.03, "num_epochs": 4}}


CATALOG = Catalog(
  studies=("benchmark", "ulira", "search"),
  datasets=("digits", "npz", "synthetic", "cifar10"),
  models=("cnn", "resnet18"),
  methods={
    "ft": FT,
    "ga": FT,
    "ngplus": FT | OWN,
    "msg": FT | {"init_rate": hyper.share(0.3)},
    "ct": FT,
  },
  forget_sha256=forget_sha256,
  scores_sha256=forget_sha256,
  listed_sha256=forget_sha256,
  names_forget=lambda path: "with_list" in path,
  tuned=tuned,
  weights_sha256=forget_sha256,
)
CONFIG = {
  "name": "trial",
  "dataset": "digits",
  "model": {"name": "cnn"},
  "seeds": (0, 1),
  "methods": ("ft", "msg"),
  "training": {"num_epochs": 2, "batch_size": 16, "learning_rate": 0.1},
  "unlearning": {"msg": {"learning_rate": 1e-3}, "ga": {"num_epochs": 1}},
}


def build(changes=None, **entries):
  """Settings of CONFIG with some entries replaced; `changes` maps dotted names to values."""
  config = copy.deepcopy(CONFIG) | entries
  for key, value in (changes or {}).items():
    *sections, last = key.split(".")
    target = config
    for section in sections:
      target = target.setdefault(section, {})
    target[last] = value
  return Settings.from_config(config, CATALOG)
