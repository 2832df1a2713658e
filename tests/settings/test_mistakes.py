"""What is wrong with a config is one line that says what was given, expected and to be done."""

import re

import ml_collections
import numpy as np
import pytest
from support.settings_catalog import CATALOG, CONFIG, build

from jaxmu import settings
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings

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
  "no study": ({"study": ""}, "config.study is empty; expected one of benchmark, search, ulira"),
  "study with seeds": (
    {"study": "ulira"},
    "config.seeds has 2 seeds, but all models of a U-LiRA study begin with the same weights; "
    "expected one: set --config.seeds=0, or --config.study=benchmark",
  ),
  "list to forget of a study": (
    {"study": "ulira", "seeds": 0, "data.forget": "a.npy"},
    "config.data.forget is 'a.npy', but a U-LiRA study draws its forget sets; expected an empty",
  ),
  "another list to forget": (
    {"data.forget": "a.npy", "data.forget_sha256": "0" * 64},
    "config.data.forget_sha256 is 000000000000..., but the positions in a.npy have 521da39c0d",
  ),
  "sum of no list": (
    {"data.forget_sha256": "0" * 64},
    "config.data.forget_sha256 is given without a file; expected the list of that sum: set",
  ),
  "sum of another form": (
    {"data.forget": "a.npy", "data.forget_sha256": "0" * 63},
    "expected 64 hexadecimal digits in lower case, or nothing",
  ),
  "list of no text": ({"data.forget": 3}, "config.data.forget is 3; expected a text"),
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
  *("search.trials", "search.batch", "search.robust", "search.check_seeds"),
  *("search.robust_seeds", "search.splits", "scenario.groups", "unlearning_seeds"),
  *("scenario.draws", "scenario.rounds"),
  *(f"cluster.{name}" for name in ("gpus", "cpus", "minutes", "at_once", "pack_minutes")),
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
