"""Every shipped config, with each of its arguments, builds into settings."""

from pathlib import Path

import numpy as np
import pytest

from jaxmu.command import config_file
from jaxmu.errors import SettingsError
from jaxmu.settings import Settings
from jaxmu.settings.study_sections import ScenarioSettings
from jaxmu.studies import catalog
from jaxmu.unlearning import METHODS

FOLDER = Path(__file__).parents[2] / "configs"
ARGUMENTS = {
  "cells": ("", "fashion_mnist,cnn,small", "utkface,tinyvit,tiny", "cifar100,resnet18,mini"),
  "cnn_digits": ("",),
  "own_data": ("",),
  "resnet18_cifar10": ("", "mini", "tiny"),
  "search_digits": ("", "class"),
  "tinyvit_cifar10": ("", "tiny"),
  "scenario_cifar10": ("class", "sequence"),
  "scenario_cifar100": ("subclass",),
  "scenario_digits": ("class", "subclass", "users", "worst", "listed", "sequence", "access"),
  "ulira_cifar10": ("", "mini"),
  "ulira_digits": ("",),
}
SOME = ("ft", "ngplus", "msg", "salun", "scrub", "srl", "euk", "ct")  # methods of own_data
ASKED = {"worst": ("scenario.scores", "scores.npy"), "listed": ("scenario.path", "listed.npz")}
SEARCHES = ("search_digits",)
PAPER = ScenarioSettings()  # whose request every method has hyper-parameters for
STUDIES = ("ulira_cifar10", "ulira_digits")
SPECS = [(name, argument) for name, arguments in ARGUMENTS.items() for argument in arguments]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  """Work where the files are that some scenarios are asked for."""
  monkeypatch.chdir(tmp_path)
  np.save("scores.npy", np.arange(20.0))
  np.savez("listed.npz", forget=np.arange(8))


def build(name, argument="", overrides=()):
  if name == "own_data":
    overrides = [("data.path", "mine.npz"), *overrides]
  if argument in ASKED:
    overrides = [ASKED[argument], *overrides]
  spec = f"{FOLDER / name}.py" + (f":{argument}" if argument else "")
  return Settings.from_config(config_file.load_config(spec, overrides), catalog())


def test_every_config_file_is_covered():
  every = {path.stem for path in FOLDER.glob("*.py")}
  assert every == {*ARGUMENTS, "matrix"}  # the last one is of several studies (test_matrix.py)


def some(argument):
  """Return the methods of a scenario."""
  return ("ft", "ngplus", "scrub") if argument == "sequence" else ("ft", "ngplus", "srl", "euk")


@pytest.mark.parametrize(("name", "argument"), SPECS)
def test_config_builds(name, argument):
  settings = build(name, argument)
  if name != "cells":
    assert settings.name == f"{name}_{argument}".rstrip("_")
  if name in STUDIES:
    assert settings.study == "ulira"
    assert settings.ulira.splits >= 16
    assert set(settings.methods) <= set(METHODS)
  else:
    assert settings.study == ("search" if name in SEARCHES else "benchmark")
    own = SOME if name == "own_data" else tuple(METHODS)
    assert settings.methods == (some(argument) if settings.scenario != PAPER else own)
  small = build(name, argument, [("methods", "msg,ct"), ("seeds", "0"), ("data_dir", "/data")])
  assert (small.methods, small.seeds, small.data_dir) == (("msg", "ct"), (0,), "/data")


@pytest.mark.parametrize(("name", "argument"), SPECS)
def test_config_says_what_it_is(name, argument):
  text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
  program = "search" if name in SEARCHES else "sweep"
  assert f"python bin/{program}.py --config=configs/{name}.py" in text
  assert "Hardware:" in text
  assert "Expected" in text
  assert not argument or name == "cells" or f":{argument}" in text


def test_full_recipe_is_the_reference_s():
  training = build("resnet18_cifar10").training
  assert (training.num_epochs, training.batch_size, training.learning_rate) == (182, 256, 0.1)
  assert (training.momentum, training.weight_decay, training.data_seed) == (0.9, 5e-4, 123)
  settings = build("resnet18_cifar10")
  assert settings.seeds == tuple(range(10))
  assert settings.data.augment
  assert settings.unlearning["msg"] == METHODS["msg"].defaults


def test_the_full_study_is_the_reference_s():
  settings = build("ulira_cifar10")
  assert (settings.ulira.splits, settings.ulira.forgets, settings.ulira.pool) == (64, 10, 0)
  assert (settings.training.num_epochs, settings.training.batch_size) == (91, 256)
  assert settings.methods == ("ft", "msg", "cfw", "prmq", "ct", "kde")
  assert settings.seeds == (0,)


def test_only_digits_have_random_labels():
  shares = {name: build(name).data.random_labels for name in ARGUMENTS}
  assert {name: share for name, share in shares.items() if share} == {
    "cnn_digits": 0.1,
    "search_digits": 0.1,
    "ulira_digits": 0.15,
  }


@pytest.mark.parametrize(
  ("name", "argument", "known"),
  [
    ("cnn_digits", "", "85c73742"),
    ("resnet18_cifar10", "mini", "88923153"),
    ("ulira_digits", "", "6e5293fd"),
  ],
)
def test_hashes_stay_what_they_were(name, argument, known):
  """A run directory is found again as long as the numbers that it stands for stay the same."""
  assert build(name, argument, [("methods", "ft,msg,rni")]).hash8 == known


def test_seeds_of_the_command_line_are_ranges():
  assert build("cnn_digits", "", [("seeds", "0..19")]).seeds == tuple(range(20))
  assert build("cnn_digits", "", [("seeds", "0..4,7")]).seeds == (0, 1, 2, 3, 4, 7)


def test_unknown_argument_is_refused():
  with pytest.raises(SettingsError, match="unknown argument 'huge'; expected mini, tiny, or none"):
    build("resnet18_cifar10", "huge")


@pytest.mark.parametrize("network", ["resnet18", "tinyvit"])
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10", "cifar100", "utkface"])
def test_cells_have_the_recipes_of_the_reference(dataset, network):
  training = build("cells", f"{dataset},{network}").training
  assert training.num_epochs == (182 if dataset.startswith("cifar") else 50)
  assert training.batch_size == (128 if dataset == "utkface" else 256)
  assert build("cells", f"{dataset},{network}").unlearning.changed == {}


def test_the_cell_that_has_a_config_of_its_own_is_the_same():
  own, cell = build("resnet18_cifar10"), build("cells", "cifar10,resnet18")
  assert own.identity() | {"name": ""} == cell.identity() | {"name": ""}


@pytest.mark.parametrize("cell", ["mnst,cnn", "mnist,vgg", "mnist,cnn,huge", "mnist"])
def test_an_unknown_cell_is_refused(cell):
  with pytest.raises(SettingsError, match="unknown '"):
    build("cells", cell)
