"""What a comparison's report says of where its numbers come from, as a run's manifest has it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxmu.evaluation import evidence_file
from jaxmu.evaluation.method_runs import Ran
from jaxmu.evaluation.of_model import Images
from jaxmu.store import provenance
from jaxmu.store.groups import Cost
from jaxmu.store.manifest import DatasetOrigin, Device, Machine, Manifest, SplitOrigin
from jaxmu.training.method import Method

NAMES = {"unseen": "test", "validation": "val"}  # as a benchmark calls these sets


class Behind(NamedTuple):
  """Network, manifest, costs and curves of a comparison.

  Attributes:
    network: name of the class.
    manifest: with neither commit, command nor date: equal comparisons have equal reports.
    timings: by method, of all its models together.
    curves: rows with "stage", "phase", "seed", "epoch", "loss", "accuracy", "learning_rate".
  """

  network: str
  manifest: Manifest
  timings: Mapping[str, Cost]
  curves: Sequence[Mapping[str, Any]]


def gather(
  model: Any,
  images: Images,
  classes: int,
  methods: Mapping[str, Method],
  runs: Mapping[str, Ran],
  seeds: tuple[int, ...],
) -> Behind:
  """Collect it while all of it is at hand."""
  sizes = {NAMES.get(name, name): len(each) for name, each in images.positions.items()}
  hashes = {name: one["sha256"] for name, one in images.hashes().items()}
  whole = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
  device = jax.devices()[0]
  ran = {name: run for name, run in runs.items() if not run.error}
  manifest = Manifest(
    versions=evidence_file.versions() | {"jax": jax.__version__},
    device=Device(device.platform, device.device_kind, 1),
    machine=Machine("", ""),
    seeds=seeds,
    dataset=DatasetOrigin(
      name="data of one's own",
      sha256=whole,
      num_train=sizes["retain"] + sizes["forget"],
      num_classes=classes,
      image_shape=tuple(images.x.shape[1:]),
      sizes={"total": len(images.labels)},
    ),
    split=SplitOrigin(whole, sizes, per_seed=False),
    chunk=1,
    lowering={},
    commit="",
    command="",
    date="",
    methods={
      name: provenance.described(method, ran[name].hyperparameters if name in ran else {})
      for name, method in methods.items()
    },
  )
  costs = {name: run.cost for name, run in ran.items() if run.cost is not None}
  curves = [{"stage": name, **row} for name, run in ran.items() for row in run.curves]
  return Behind(type(model).__name__, manifest, costs, curves)
