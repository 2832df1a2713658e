"""What a config may ask for in these tests; the real registries need more rooms."""

from jaxmu.settings import Catalog

SGD = {
  "learning_rate": 0.1,
  "momentum": 0.9,
  "weight_decay": 5e-4,
  "batch_size": 256,
  "num_epochs": 5,
}
CATALOG = Catalog(
  datasets=("digits", "npz", "synthetic", "cifar10"),
  models=("cnn", "resnet18"),
  methods={
    "ft": SGD,
    "ga": SGD,
    "ngplus": {**SGD, "alpha": 0.95},
    "msg": {**SGD, "init_rate": 0.3},
    "ct": SGD,
  },
)
