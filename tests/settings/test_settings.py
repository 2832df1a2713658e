"""A config becomes settings, or one line that says what was given, expected and to be done."""

import copy
import dataclasses
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


INCIDENTAL = {
  "name": "other",
  "data_dir": "/elsewhere",
  "output_dir": "/elsewhere",
  "checkpoint_seconds": 1.0,
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


@pytest.mark.parametrize("changes", [{"seeds": (0, 2)}, {"methods": ("msg", "ft")}])
def test_run_directories_that_cannot_grow_have_a_hash_of_all_members(changes):
  assert build(**changes).sweep_hash8 != build().sweep_hash8
  assert build(**changes).sweep_identity()["data"] == build().identity()["data"]


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
  "range downwards": (
    {"seeds": "5..2"},
    "config.seeds is '5..2'; expected FIRST..LAST, from the smaller to the larger one",
  ),
  "range of text": (
    {"seeds": "0..x"},
    "config.seeds is '0..x'; expected FIRST..LAST, each a whole",
  ),
  "range of three dots": (
    {"seeds": "0...4"},
    "config.seeds is '0...4'; expected FIRST..LAST, each",
  ),
  "range without end": ({"seeds": "5.."}, "config.seeds is '5..'; expected FIRST..LAST, each a"),
  "range below": (
    {"seeds": "-1..4"},
    "config.seeds is '-1..4'; expected FIRST..LAST, each a whole",
  ),
  "range above": (
    {"seeds": "0..4294967296"},
    "each a whole number at least 0 and at most 42949672",
  ),
  "range of all": ({"seeds": "0..4294967295"}, "expected FIRST..LAST of at most 65536 seeds"),
  "ranges that meet": ({"seeds": "0..4,4..6"}, "config.seeds names 4 2 times"),
  "too many ranges": ({"seeds": "0..39999,50000..89999"}, "config.seeds has more than 65536 seeds"),
  "too many seeds": (
    {"seeds": tuple(range(65_537))},
    "config.seeds has more than 65536 seeds; exp",
  ),
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
  "option unknown": (
    {"unlearning.ngplus.bn_mode": "evaluate"},
    "config.unlearning.ngplus.bn_mode is 'evaluate'; expected one of eval, train",
  ),
  "option of another type": ({"unlearning.ngplus.bn_mode": 1}, "is 1; expected one of eval, train"),
  "option of arrays": ({"unlearning.ngplus.bn_mode": np.zeros(2)}, "expected one of eval, train"),
  "one rate of several": (
    {"unlearning.ngplus.rates": (0.1, 0.0)},
    "config.unlearning.ngplus.rates is (0.1, 0.0); expected a number above 0",
  ),
  "no rates": ({"unlearning.ngplus.rates": ()}, "rates is empty; expected one number or more"),
  "number as entry": ({"training": {3: 1}}, "config.training has no entry 3; known: batch_size"),
  "bytes as entry": (
    {"model": {b"name": "cnn"}},
    "config.model has no entry b'name'; did you mean",
  ),
  "number as method": ({"unlearning": {3: {}}}, "config.unlearning: unknown method 3; known: ct"),
  "number as hyper-parameter": (
    {"unlearning": {"ft": {(1, 2): 3}}},
    "config.unlearning.ft has no hyper-parameter (1, 2); known: batch_size",
  ),
  "long name": ({"name": "a" * 201}, "characters); expected at most 200 characters, as it names"),
  "long output": (
    {"output_dir": "a" * 256},
    "expected a path of at most 2048 bytes, with names of",
  ),
  "long way": ({"data_dir": "a/" * 1025}, "characters); expected a path of at most 2048 bytes"),
  "zero byte": (
    {"output_dir": "a\0b"},
    r"config.output_dir is 'a\x00b'; expected a path, which has",
  ),
  "half a surrogate": (
    {"data_dir": "\ud800"},
    r"data_dir is '\ud800'; expected a path that can be",
  ),
  "seed of a split": (
    {"data.split_per_seed": True, "seeds": (0, 2**32 - 1)},
    "config.data.split_seed is 123 and config.seeds goes up to 4294967295; with config.data.split",
  ),
  "splits of a study": (
    {"ulira.splits": 10_001, "seeds": 0},
    "config.ulira.splits is 10001; expected a whole number at least 2 and at most 10000",
  ),
  "one split of a study": (
    {"ulira.splits": 1},
    "config.ulira.splits is 1; expected a whole number",
  ),
  "unknown study": ({"study": "uliras"}, "config.study: unknown 'uliras'; did you mean 'ulira'?"),
  "no study": ({"study": ""}, "config.study is empty; expected one of benchmark, ulira"),
  "study with seeds": (
    {"study": "ulira"},
    "config.seeds has 2 seeds, but all models of a U-LiRA study begin with the same weights; "
    "expected one: set --config.seeds=0, or --config.study=benchmark",
  ),
  "study not named": (
    {"ulira.splits": 8},
    "config.ulira.splits is given, but config.study is not, and a benchmark does not read it; say "
    "which study is meant: set --config.study=ulira, or --config.study=benchmark",
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_give_one_line(case):
  changes, message = WRONG[case]
  with pytest.raises(SettingsError, match=re.escape(message)) as caught:
    build(changes)
  assert "\n" not in str(caught.value)


COUNTS = (
  *("data.subset_train", "data.subset_test", "model.width", "training.num_epochs"),
  *("training.batch_size", "training.data_seed", "data.split_seed", "data.random_label_seed"),
  *("population.chunk", "population.devices", "population.members_at_once", "seeds"),
  *("evaluation.batch_size", "evaluation.bootstrap", "ulira.splits", "ulira.forgets", "ulira.pool"),
  *("unlearning.ft.num_epochs", "unlearning.ft.batch_size"),
)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("given", [999_999_999_999, 10**26, "9" * 5000])
def test_counts_end_where_no_machine_goes(count, given):
  with pytest.raises(SettingsError, match=rf"config\.{count} is .*; expected .*whole number"):
    build({count: given})


def test_no_count_is_left_out():
  sections = {name: kinds for name, kinds in settings.schema().items() if isinstance(kinds, dict)}
  counts = {
    f"{name}.{key}" for name in sections for key, kind in sections[name].items() if kind is int
  }
  assert counts <= set(COUNTS)


@pytest.mark.parametrize(
  "given", [3, None, "name", [1], ml_collections.config_dict.required_placeholder(dict)]
)
def test_what_is_no_config_is_refused(given):
  with pytest.raises(
    SettingsError, match=r"^config is .*, which cannot be read \(\w+Error: .*text"
  ):
    Settings.from_config(given, CATALOG)


def test_a_placeholder_without_a_value_is_refused():
  config = ml_collections.ConfigDict(CONFIG)
  config.seeds = ml_collections.config_dict.required_placeholder(tuple)
  with pytest.raises(SettingsError, match=r"^config .*, which cannot be read \(RequiredValueError"):
    Settings.from_config(config, CATALOG)


def test_numbers_as_keys_of_a_config_dict_are_refused():
  with pytest.raises(SettingsError, match=r"^config .*, which cannot be read \(TypeError: .*text"):
    Settings.from_config(ml_collections.ConfigDict(CONFIG | {3: 1}), CATALOG)


class Mute:
  """A value whose text cannot be had."""

  def __repr__(self):
    raise RuntimeError


def test_values_are_shown_on_one_short_line():
  with pytest.raises(SettingsError) as caught:
    build({"training.num_epochs": Mute()})
  assert "config.training.num_epochs is a value of type Mute; expected a whole" in str(caught.value)
  with pytest.raises(SettingsError) as caught:
    build({"training.num_epochs": np.zeros((20, 20))})
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 400


def test_only_the_first_mistake_is_told_and_an_unknown_name_before_others():
  with pytest.raises(SettingsError, match=r"^config\.name is 3; .*run directory: set it with \S*$"):
    build({"training.num_epochs": 0}, name=3)
  with pytest.raises(SettingsError, match=r"^config\.training has no entry 'epochs'"):
    build({"training.epochs": 3}, name=3)


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
