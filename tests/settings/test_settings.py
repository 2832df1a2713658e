"""A config becomes settings, or one line that says what was given, expected and to be done."""

import copy
import re

import ml_collections
import numpy as np
import pytest
from support.settings_catalog import CATALOG, SGD

from jaxmu import settings
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings

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


def test_defaults_fill_what_the_config_leaves_out():
  made = build()
  assert made.data == settings.DataSettings()
  assert (made.training.momentum, made.training.weight_decay) == (0.9, 5e-4)
  assert (made.population.chunk, made.population.devices) == ("auto", 0)
  assert (made.fidelity, made.output_dir, made.checkpoint_seconds) == ("default", "checkpoints", 30)
  assert made.data_dir == ""


def test_chosen_methods_get_complete_hyper_parameters():
  made = build()
  assert made.unlearning == {
    "ft": SGD,
    "msg": {**SGD, "init_rate": 0.3, "learning_rate": 1e-3},
  }


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


def test_one_seed_needs_no_tuple():
  assert build(seeds=7).seeds == (7,)


@pytest.mark.parametrize("entry", ["chunk", "members_at_once"])
@pytest.mark.parametrize(("given", "number"), [("auto", "auto"), (4, 4), ("4", 4)])
def test_counts_are_auto_or_a_number(entry, given, number):
  assert getattr(build({f"population.{entry}": given}).population, entry) == number


def test_to_dict_can_be_read_back():
  made = build({"data.path": ""}, seeds=(3, 4))
  assert Settings.from_config(made.to_dict(), CATALOG) == made
  assert made.to_dict()["seeds"] == [3, 4]


INCIDENTAL = {
  "name": "other",
  "data_dir": "/elsewhere",
  "output_dir": "/elsewhere",
  "checkpoint_seconds": 1.0,
  "population.devices": 1,
  "population.members_at_once": 3,
  "evaluation.bootstrap": 10,
  "unlearning.ga.num_epochs": 7,  # GA is not among the methods
}
DECISIVE = {
  "dataset": "synthetic",
  "model.name": "resnet18",
  "model.width": 8,
  "seeds": (0, 2),
  "methods": ("ft",),
  "data.split_seed": 1,
  "data.random_labels": 0.1,
  "data.subset_train": 100,
  "data.augment": False,
  "training.num_epochs": 3,
  "training.data_seed": 1,
  "unlearning.msg.init_rate": 0.5,
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


NUMBER = "config.training.learning_rate"
WRONG = {
  "unknown entry": ({"sedes": 1}, "config has no entry 'sedes'; did you mean 'seeds'?"),
  "unknown in section": (
    {"training.num_epoch": 3},
    "config.training has no entry 'num_epoch'; did you mean 'num_epochs'?",
  ),
  "section is a value": ({"training": 3}, "config.training is 3; expected a section"),
  "no name": ({"name": ""}, "config.name is empty; expected letters"),
  "path as name": ({"name": "a/b"}, "config.name is 'a/b'; expected letters"),
  "no data set": ({"dataset": ""}, "config.dataset is empty; expected one of cifar10, digits"),
  "unknown data set": ({"dataset": "digit"}, "unknown 'digit'; did you mean 'digits'?"),
  "unknown model": ({"model.name": "resnet"}, "config.model.name: unknown 'resnet'; did you mean"),
  "no model": ({"model": {}}, "config.model.name is missing; add it"),
  "model of wrong type": ({"model.name": 18}, "config.model.name is 18; expected a text"),
  "unknown method": ({"methods": ("mgs",)}, "config.methods: unknown 'mgs'; did you mean 'msg'?"),
  "no methods": ({"methods": ()}, "config.methods is empty; expected at least one of ct, ft"),
  "methods of commas": ({"methods": ","}, "config.methods is empty"),
  "methods twice": ({"methods": "ft,ft"}, "config.methods names ft 2 times"),
  "methods of wrong type": ({"methods": (1,)}, "config.methods is (1,); expected names"),
  "methods none": ({"methods": None}, "config.methods is None; expected names"),
  "no seeds": ({"seeds": ()}, "config.seeds is empty; expected at least one whole number"),
  "seeds twice": ({"seeds": (1, 1)}, "config.seeds names 1 2 times"),
  "seed negative": ({"seeds": (-1,)}, "config.seeds is -1; expected a whole number at least 0"),
  "seed no number": ({"seeds": "0,x"}, "config.seeds is 'x'; expected a whole number"),
  "seed too large": ({"seeds": (2**32,)}, "at most 4294967295"),
  "seed fraction": ({"seeds": (0.5,)}, "config.seeds is 0.5; expected a whole number"),
  "text for number": ({"training.learning_rate": "fast"}, f"{NUMBER} is 'fast'; expected a number"),
  "bool for number": ({"training.learning_rate": True}, f"{NUMBER} is True; expected a number"),
  "not positive": ({"training.learning_rate": 0.0}, f"{NUMBER} is 0.0; expected a number above 0"),
  "nan": ({"training.learning_rate": float("nan")}, f"{NUMBER} is nan; expected a number above 0"),
  "infinite": ({"training.learning_rate": float("inf")}, f"{NUMBER} is inf"),
  "fraction for whole": ({"training.num_epochs": 1.5}, "num_epochs is 1.5; expected a whole"),
  "no epochs": ({"training.num_epochs": 0}, "is 0; expected a whole number at least 1"),
  "no batch": ({"training.batch_size": -4}, "is -4; expected a whole number at least 1"),
  "momentum": ({"training.momentum": 1.0}, "is 1.0; expected a number at least 0 and below 1"),
  "decay": ({"training.weight_decay": -1e-4}, "expected a number at least 0"),
  "none": ({"training.num_epochs": None}, "num_epochs is None; expected a whole number"),
  "val fraction": ({"data.val_fraction": 0.0}, "expected a number above 0 and below 1"),
  "forget fraction": ({"data.forget_fraction": 1.0}, "expected a number above 0 and below 1"),
  "random labels": ({"data.random_labels": 1.0}, "expected a number at least 0 and below 1"),
  "subset": ({"data.subset_train": -1}, "expected a whole number at least 0"),
  "augment": ({"data.augment": 1}, "config.data.augment is 1; expected True or False"),
  "width": ({"model.width": 0}, "config.model.width is 0; expected a whole number at least 1"),
  "chunk text": ({"population.chunk": "all"}, "is 'all'; expected 'auto' or a whole number"),
  "chunk zero": ({"population.chunk": 0}, "config.population.chunk is 0; expected 'auto'"),
  "chunk bool": ({"population.chunk": True}, "config.population.chunk is True"),
  "members at once": (
    {"population.members_at_once": 0},
    "config.population.members_at_once is 0; expected 'auto' or a whole number at least 1",
  ),
  "compute": (
    {"population.compute": "bf16"},
    "config.population.compute: unknown 'bf16'; did you mean 'bfloat16'?",
  ),
  "devices": ({"population.devices": -1}, "expected a whole number at least 0"),
  "fidelity": ({"fidelity": "fix"}, "config.fidelity: unknown 'fix'; did you mean 'fixed'?"),
  "checkpoint": ({"checkpoint_seconds": -1}, "config.checkpoint_seconds is -1; expected"),
  "output": ({"output_dir": 3}, "config.output_dir is 3; expected a text"),
  "npz without file": ({"dataset": "npz"}, "config.data.path is empty; expected the file"),
  "file without npz": ({"data.path": "x.npz"}, "but data set 'digits' reads no file"),
  "unlearning of nothing known": (
    {"unlearning.mgs": {}},
    "config.unlearning: unknown method 'mgs'; did you mean 'msg'?",
  ),
  "unlearning is a value": (
    {"unlearning.msg": 3},
    "config.unlearning.msg is 3; expected a section",
  ),
  "hyper-parameter unknown": (
    {"unlearning.msg.init": 0.1},
    "config.unlearning.msg has no hyper-parameter 'init'; did you mean 'init_rate'?",
  ),
  "hyper-parameter of another": (
    {"unlearning.ft.alpha": 0.1},
    "config.unlearning.ft has no hyper-parameter 'alpha'",
  ),
  "hyper-parameter type": ({"unlearning.msg.batch_size": 6.4}, "is 6.4; expected a whole number"),
  "hyper-parameter text": ({"unlearning.msg.init_rate": "a"}, "is 'a'; expected a number"),
  "hyper-parameter range": ({"unlearning.msg.init_rate": 1.5}, "at least 0 and at most 1"),
  "hyper-parameter nan": ({"unlearning.ngplus.alpha": float("nan")}, "a number that is finite"),
  "hyper-parameter of unused": ({"unlearning.ga.num_epochs": 0}, "is 0; expected a whole number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_give_one_line(case):
  changes, message = WRONG[case]
  with pytest.raises(SettingsError, match=re.escape(message)) as caught:
    build(changes)
  assert "\n" not in str(caught.value)


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
