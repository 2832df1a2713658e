"""A config and Python give the same answer to the same value: both read one table of ranges."""

import math

import numpy as np
import pytest

from jaxmu.errors import MethodError, SettingsError, shown
from jaxmu.settings import Settings, TrainingSettings
from jaxmu.studies import catalog
from jaxmu.unlearning import ANCHORS, METHODS

CONFIG = {"name": "trial", "dataset": "digits", "model": {"name": "cnn"}, "seeds": 0}
REFUSED = "refused"
# (method, hyper-parameter) -> values given.
ASKED = {
  ("ft", "learning_rate"): (0.1, 1, 0, 0.0, -0.1, math.nan, math.inf, True, "0.1", None, 10**400),
  ("ga", "momentum"): (0, 0.9, 1, 1.0, -0.1, np.float32(0.5)),
  ("salun", "weight_decay"): (0, 1e-4, -1e-9, np.float64("nan"), [0.1]),
  ("msg", "batch_size"): (1, 64, np.int64(32), 0, 64.0, True, 10**7, 10**7 + 1, 10**26, "64", 1e26),
  ("ct", "num_epochs"): (1, 10**6, 0, -1, 10**6 + 1, 1.5, 2.0),
  ("msg", "init_rate"): (0, 1, 0.3, 1.5, -0.1),
  ("bt", "kl_temperature"): (1, 0, 1e-3),
  ("ngplus", "bn_mode"): ("train", "TRAIN", 1, None),
  ("cfw", "per_sample"): (True, 0, "true"),
  ("rni", "fine_optimizer_learning_rate"): (1, (0.1, 0.2), [0.1], (), (0.1, 0)),
}
CASES = [
  pytest.param(method, name, value, id=f"{method}.{name}={shown(value)[:12]}")
  for (method, name), values in ASKED.items()
  for value in values
]


def by_config(method, name, value):
  """Return what a config makes of a hyper-parameter."""
  given = {"methods": method, "unlearning": {method: {name: value}}}
  try:
    settings = Settings.from_config(CONFIG | given, catalog())
  except SettingsError:
    return REFUSED
  return settings.unlearning[method].get(name, "ignored")


def in_python(method, name, value):
  """Return what the Python interface makes of it."""
  try:
    return method.hyperparameters({name: value}).get(name, "ignored")
  except MethodError:
    return REFUSED


def kinds(answer):
  """Return the answer with its type, and those of its parts."""
  return type(answer), [type(part) for part in answer] if isinstance(answer, tuple) else answer


def test_there_are_60_values():
  assert len(CASES) == 60


@pytest.mark.parametrize(("method", "name", "value"), CASES)
def test_hyper_parameters(method, name, value):
  answer = by_config(method, name, value)
  assert answer == in_python(METHODS[method], name, value)
  assert kinds(answer) == kinds(in_python(METHODS[method], name, value))


def test_both_accept_and_refuse():
  answers = [by_config(*case.values) == REFUSED for case in CASES]
  assert 30 < sum(answers) < 50


DEAD = [
  (name, key) for name, method in METHODS.items() for key, each in method.hyper.items() if each.dead
]


@pytest.mark.parametrize(("method", "name"), DEAD)
def test_dead_hyper_parameters_are_ignored(method, name):
  for value in (0.5, "anything"):
    assert by_config(method, name, value) == in_python(METHODS[method], name, value) == "ignored"


TRAINING = {
  "learning_rate": (1, 0, -1.0, math.inf),
  "momentum": (0, 0.5, 1, -0.1),
  "weight_decay": (0, -1e-9),
  "batch_size": (1, 0, 10**7 + 1, 2.5),
  "num_epochs": (1, 0, 10**6 + 1, "3"),
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, vs in TRAINING.items() for v in vs])
def test_training_is_read_like_the_anchors(name, value):
  given = CONFIG | {"methods": "ft", "training": {name: value}}
  try:
    answer = getattr(Settings.from_config(given, catalog()).training, name)
  except SettingsError:
    answer = REFUSED
  assert kinds(answer) == kinds(in_python(ANCHORS["retrained"], name, value))


def test_training_has_the_defaults_of_the_anchors():
  made = TrainingSettings()
  for name, default in ANCHORS["retrained"].hyperparameters({}).items():
    assert getattr(made, name) == default


COUNTS = [
  (method, name)
  for method, known in catalog().methods.items()
  for name, hyper in known.items()
  if type(hyper.default) is int and not hyper.dead
]


@pytest.mark.parametrize(("method", "name"), COUNTS)
def test_every_count_ends(method, name):
  assert by_config(method, name, 10**26) == REFUSED
  assert in_python(METHODS[method], name, 10**26) == REFUSED
