"""What a config may ask for in these tests; the real registries need more rooms."""

from jaxmu.settings import Catalog
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
CATALOG = Catalog(
  studies=("benchmark", "ulira"),
  datasets=("digits", "npz", "synthetic", "cifar10"),
  models=("cnn", "resnet18"),
  methods={
    "ft": FT,
    "ga": FT,
    "ngplus": FT | OWN,
    "msg": FT | {"init_rate": hyper.share(0.3)},
    "ct": FT,
  },
)
