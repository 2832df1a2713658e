"""Manifests as a run on CIFAR-10 has them, without running anything."""

import dataclasses

from jaxmu.store.manifest import (
  DatasetOrigin,
  Device,
  Machine,
  Manifest,
  MethodDescription,
  SplitOrigin,
)
from jaxmu.unlearning import ANCHORS, METHODS

SIZES = {"train": 42500, "retain": 38250, "forget": 4250, "val": 7500, "test": 10000}
NEEDS = {
  "original": ("retain", "forget"),
  "ga": ("forget",),
  "kde": ("retain", "val"),
  **dict.fromkeys(("ngplus", "srl", "msg"), ("forget", "retain")),
}


def manifest(methods=("original", "retrained", "ft"), **changes) -> Manifest:
  """Make a manifest of these methods; `changes` replaces parts."""
  made = Manifest(
    versions={"python": "3.12.1", "jax": "0.10.2", "flax": "0.12.0"},
    device=Device("cpu", "cpu", 2),
    machine=Machine("Linux", "Some CPU @ 2.5 GHz"),
    seeds=tuple(range(10)),
    dataset=DatasetOrigin("cifar10", "ab" * 32, 50000, 10, (32, 32, 3), {"total": 60000}),
    split=SplitOrigin("0123456789abcdef" * 4, SIZES, per_seed=False),
    chunk=1,
    lowering={"32x32x3 3x3x3x64 /1x1 +1,1,1,1": "canonical"},
    commit="c0ffee" * 6,
    command="python bin/sweep.py --config=configs/resnet18_cifar10.py:mini",
    date="2025-11-21T14:00:00+00:00",
    methods={name: description(name) for name in methods},
  )
  return dataclasses.replace(made, **changes)


def description(name: str, **changes) -> MethodDescription:
  """Describe a method; `changes` replaces parts."""
  known = {**ANCHORS, **METHODS}
  made = MethodDescription(
    label=known[name].label if name in known else name,
    title=f"Title of {name}",
    summary="One line that says what the method does to a model, and why that should work.",
    paper="A. Author 2024, arXiv 2410.01276",
    needs=NEEDS.get(name, ("retain",)),
    hyperparameters={"learning_rate": 1e-3, "momentum": 0.9, "batch_size": 64},
    choices={},
    search={},
    ignored=(),
    fidelity="reference",
    fidelities=("reference",),
    oddities="",
    draws={},
  )
  return dataclasses.replace(made, **changes)
