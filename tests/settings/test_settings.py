"""A config becomes settings: defaults, texts that are taken apart, and the way back."""

import dataclasses

import ml_collections
import numpy as np
import pytest
from support.settings_catalog import CATALOG, CONFIG, SGD, build

from jaxmu import settings
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings


def test_defaults_fill_what_the_config_leaves_out():
  made = build()
  assert made.data == settings.DataSettings()
  assert (made.training.momentum, made.training.weight_decay) == (0.9, 5e-4)
  assert (made.population.chunk, made.population.devices) == ("auto", 0)
  assert (made.fidelity, made.output_dir, made.checkpoint_seconds) == ("default", "checkpoints", 30)
  assert made.data_dir == ""


def test_methods_get_complete_hyper_parameters():
  """Those that are chosen, and GA, for which the config has an entry."""
  made = build()
  assert made.unlearning == {
    "ft": SGD,
    "msg": {**SGD, "init_rate": 0.3, "learning_rate": 1e-3},
    "ga": {**SGD, "num_epochs": 1},
  }
  assert made.unlearning.changed == {"msg": {"learning_rate": 1e-3}, "ga": {"num_epochs": 1}}


def test_config_dicts_and_plain_dicts_are_alike():
  assert Settings.from_config(ml_collections.ConfigDict(CONFIG), CATALOG) == build()


def test_numbers_of_other_types_are_converted():
  made = build({"training.learning_rate": 1, "training.batch_size": np.int64(8)})
  assert isinstance(made.training.learning_rate, float)
  assert type(made.training.batch_size) is int
  assert build({"unlearning.ft.learning_rate": 1}).unlearning["ft"]["learning_rate"] == 1.0


@pytest.mark.parametrize(
  "given", ["ft,msg", ("ft,msg",), ("ft", "msg"), ["ft", "msg"], " ft , msg ", ("ft", "msg,")]
)
def test_methods_are_split(given):
  assert build(methods=given).methods == ("ft", "msg")


@pytest.mark.parametrize("given", ["0,1,2", (0, 1, 2), [0, 1, 2], ("0,1,2",), ("0", 1, "2")])
def test_seeds_are_split(given):
  assert build(seeds=given).seeds == (0, 1, 2)


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("0..3", (0, 1, 2, 3)),
    (("0..2", 7), (0, 1, 2, 7)),
    ("9, 2 .. 3,5..5", (9, 2, 3, 5)),
    ("4294967294..4294967295", (2**32 - 2, 2**32 - 1)),
  ],
)
def test_ranges_of_seeds_have_both_ends(given, expected):
  assert build(seeds=given).seeds == expected


def test_as_many_seeds_as_members_are_possible():
  assert len(build(seeds="1..65536").seeds) == 65_536


def test_one_seed_needs_no_tuple():
  assert build(seeds=7).seeds == (7,)


def test_a_study_is_named_and_its_section_is_read_by_no_other():
  assert build().study == "benchmark"
  study = build({"study": "ulira", "ulira.pool": 100}, seeds=0)
  assert (study.ulira.splits, study.ulira.forgets, study.ulira.pool) == (64, 10, 100)
  assert study.hash8 != build({"study": "ulira"}, seeds=0).hash8
  kept = build({"study": "benchmark", "ulira.pool": 100})
  assert kept.hash8 == build().hash8
  assert build({"ulira": {}}).hash8 == build().hash8


@pytest.mark.parametrize("entry", ["chunk", "members_at_once"])
@pytest.mark.parametrize(("given", "number"), [("auto", "auto"), (4, 4), ("4", 4)])
def test_counts_are_auto_or_a_number(entry, given, number):
  assert getattr(build({f"population.{entry}": given}).population, entry) == number


def test_to_dict_can_be_read_back():
  made = build({"data.path": ""}, seeds=(3, 4))
  assert Settings.from_config(made.to_dict(), CATALOG) == made
  assert made.to_dict()["seeds"] == [3, 4]


def test_dead_hyper_parameters_are_accepted_and_ignored():
  made = build({"methods": "ngplus", "unlearning.ngplus.factor": "anything"})
  assert made == build({"methods": "ngplus"})
  assert "factor" not in made.unlearning["ngplus"]


def test_one_number_serves_as_a_tuple_and_is_written_as_such():
  made = build({"methods": "ngplus", "unlearning.ngplus.rates": 1})
  assert made.unlearning["ngplus"]["rates"] == (1.0,)
  assert made.to_dict()["unlearning"]["ngplus"]["rates"] == 1.0
  assert made.hash8 == build({"methods": "ngplus", "unlearning.ngplus.rates": [1]}).hash8
  assert build(methods="ngplus").to_dict()["unlearning"]["ngplus"]["rates"] == [0.1, 0.2]
  assert Settings.from_config(made.to_dict(), CATALOG) == made


def test_replaced_entries_are_checked_and_the_rest_stays():
  made = build()
  fewer = dataclasses.replace(made, seeds=(1,))
  assert (fewer.seeds, fewer.methods, fewer.unlearning) == ((1,), made.methods, made.unlearning)
  with pytest.raises(ValueError, match="above 0"):
    dataclasses.replace(made.training, learning_rate=0)
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.seeds = ()


@pytest.mark.parametrize(
  ("name", "wrong"),
  [
    ("learning_rate", 0.0),
    ("momentum", 1.0),
    ("weight_decay", -1.0),
    ("batch_size", 0),
    ("num_epochs", 0),
    ("init_rate", -0.1),
  ],
)
def test_hyper_parameters_have_ranges(name, wrong):
  with pytest.raises(SettingsError, match=rf"config\.unlearning\.msg\.{name} is {wrong}; expected"):
    build({f"unlearning.msg.{name}": wrong})


def test_schema_lists_every_entry():
  schema = settings.schema()
  assert schema["training"]["num_epochs"] is int
  assert schema["population"]["chunk"] is str
  assert schema["methods"] is tuple
  assert set(schema) == set(build().to_dict())
  for section in ("data", "model", "training", "population", "evaluation"):
    assert set(schema[section]) == set(build().to_dict()[section])
