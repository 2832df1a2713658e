"""What names a run directory: all that can change a number and that all members share."""

import dataclasses
import hashlib
import re

import pytest
from support.settings_catalog import CATALOG, build

from jaxmu.settings import Settings

INCIDENTAL = {
  "name": "other",
  "data_dir": "/elsewhere",
  "output_dir": "/elsewhere",
  "checkpoint_seconds": 1.0,
  "track": "wandb",
  "population.devices": 1,
  "population.members_at_once": 3,
  "evaluation.bootstrap": 10,
  "seeds": (0, 2, 7),
  "methods": ("ct", "ga"),  # in place of FT and MSG
  "unlearning.ft": {"momentum": 0.9, "num_epochs": 5},  # its defaults
  "unlearning.ct": {},
  "study": "benchmark",
}
DECISIVE = {
  "dataset": "synthetic",
  "model.name": "resnet18",
  "model.width": 8,
  "data.split_seed": 1,
  "data.random_labels": 0.1,
  "data.subset_train": 100,
  "data.augment": False,
  "training.num_epochs": 3,
  "training.data_seed": 1,
  "unlearning.msg.init_rate": 0.5,
  "unlearning.msg": {},  # its default rate
  "unlearning.ga.num_epochs": 7,  # not among the methods, but may be added to them
  "unlearning.ct.num_epochs": 7,
  "fidelity": "reference",
  "population.chunk": 2,
  "population.compute": "bfloat16",
  "evaluation.batch_size": 100,
}


@pytest.mark.parametrize("key", INCIDENTAL)
def test_hash_ignores_what_changes_no_number(key):
  assert build({key: INCIDENTAL[key]}).hash8 == build().hash8


@pytest.mark.parametrize("key", DECISIVE)
def test_hash_covers_what_changes_numbers(key):
  assert build({key: DECISIVE[key]}).hash8 != build().hash8


def test_hash_is_stable():
  assert re.fullmatch("[0-9a-f]{8}", build().hash8)
  spelt_out = {"data.val_fraction": 0.15, "unlearning.ft.momentum": 0.9}
  assert build(spelt_out).hash8 == build().hash8
  assert list(build().identity()) == list(build(DECISIVE).identity())


STUDY = {"study": "ulira", "seeds": 0}
GROWN = {"ulira.splits": 65, "ulira.forgets": 20, "ulira.fit": "robust", "methods": ("ct",)}


@pytest.mark.parametrize("key", GROWN)
def test_a_study_grows_where_it_is(key):
  assert build(STUDY | {key: GROWN[key]}).hash8 == build(STUDY).hash8


@pytest.mark.parametrize(
  ("key", "value"), [("seeds", 1), ("ulira.pool", 100), ("ulira.share_original", False)]
)
def test_another_study_lies_elsewhere(key, value):
  assert build(STUDY | {key: value}).hash8 != build(STUDY).hash8
  assert build(STUDY).hash8 != build(seeds=0).hash8


def test_the_identity_survives_what_is_written_and_replaced():
  made = build({"unlearning.ngplus.rates": 1})
  assert made.identity()["unlearning"]["ngplus"] == {"rates": 1.0}
  assert Settings.from_config(made.to_dict(), CATALOG).identity() == made.identity()
  assert dataclasses.replace(made, seeds=(1,)).identity() == made.identity()


SUM = hashlib.sha256(b"a.npy").hexdigest()  # as the stand-in for a reader finds it


def test_a_list_to_forget_is_known_by_its_content():
  made = build({"data.forget": "here/a.npy"})
  assert (made.data.forget, made.data.forget_sha256) == ("here/a.npy", SUM)
  assert made.identity()["data"]["forget_sha256"] == SUM
  assert made.hash8 == build({"data.forget": "there/a.npy"}).hash8
  assert made.hash8 != build().hash8 != build({"data.forget": "b.npy"}).hash8 != made.hash8
  assert made.hash8 == build({"data.forget": "a.npy", "data.forget_sha256": SUM}).hash8
  assert Settings.from_config(made.to_dict(), CATALOG) == made


def test_the_share_to_forget_counts_where_no_list_does():
  listed = {"data.forget": "a.npy"}
  assert build(listed | {"data.forget_fraction": 0.3}).hash8 == build(listed).hash8
  assert build(listed | {"data.val_fraction": 0.3}).hash8 != build(listed).hash8
  assert build({"data.forget_fraction": 0.3}).hash8 != build().hash8
