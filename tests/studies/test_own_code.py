"""A study of somebody's own network, data, method and recipe, in a folder of their own."""

import sys
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from support import sweeps

from jaxmu.store import Run
from jaxmu.store.record import Record
from jaxmu.studies import plan
from jaxmu.studies.identity import Identities
from jaxmu.studies.registry import STUDIES
from jaxmu.studies.study import known

NETWORK = """
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

class Net(nn.Module):
  num_classes: int
  @nn.compact
  def __call__(self, x, training):
    return nn.Dense(self.num_classes, name="head")(x.reshape(len(x), -1))

def data():
  rng = np.random.default_rng(0)
  labels = np.arange(200) % 3
  images = rng.integers(0, 100, (200, 6, 4, 1)) + 50 * labels[:, None, None, None]
  return images.astype(np.uint8), labels, 150
"""
METHOD = """
import dataclasses
from jaxmu.unlearning import ft
METHOD = dataclasses.replace(ft.METHOD, name="st_mine", label="Mine", title="A method of mine")
"""
RECIPE = """
import jax

def loss(logits, labels):
  return -jax.nn.log_softmax(logits)[jax.numpy.arange(len(labels)), labels]

def augment(images, key):
  return jax.numpy.where(jax.random.bernoulli(key), images, images[:, ::-1])
"""
CONFIG = """
def get_config():
  short = {"num_epochs": 2, "batch_size": 32}
  return {
    "name": "own", "dataset": "st_net:data", "model": {"name": "st_net:Net"}, "seeds": (0, 1),
    "own": {"methods": "st_method:METHOD"}, "methods": "ft,st_mine",
    "training": short | {"learning_rate": 0.1},
    "recipe": {"optimizer": "optax:adamw", "loss": "st_recipe:loss", "class_weights": (1, 2, 1),
               "augment": "st_recipe:augment"},
    "unlearning": {"ft": short, "st_mine": short}, "evaluation": {"bootstrap": 50},
  }
"""
FILES = {"st_net.py": NETWORK, "st_method.py": METHOD, "st_recipe.py": RECIPE, "own.py": CONFIG}


@pytest.fixture
def folder(own_folder):
  for name, text in FILES.items():
    (own_folder / name).write_text(text)
  return own_folder


def run(*words):
  return sweeps.call("--config=own.py", *words)


def missing(*words):
  """Return the stages with units to do, as another process would find them."""
  for name in ("st_net", "st_method"):
    sys.modules.pop(name, None)
  units = plan.plan(sweeps.settings("--config=own.py", *words)).units
  return {unit.stage for unit in units if unit.state == "to do"}


def record(path, *words):
  """Return the record of a run, which knows its members."""
  settings, opened = sweeps.settings("--config=own.py", *words), Run.open(path)
  outline, _ = plan.outline_of(settings, opened)
  found, identities = Record(path), Identities(settings, opened.manifest)
  for stage in known(STUDIES[settings.study].stages(outline)):
    found.expect(stage.name, identities.add(stage))
  return found


def test_a_study_of_ones_own_code(folder):
  assert missing() == {"original", "retrained", "ft", "st_mine"}
  assert run("--only-units") == 0
  assert missing() == set()
  first = record(sweeps.only_run("checkpoints"))
  rates = [row["learning_rate"] for row in first.curves("original") if row["seed"] == 0]
  assert rates == pytest.approx([0.1, 0.05])
  for seed in (0, 1):
    variables = first.variables("original", [{"seed": seed}])
    leaves = flatten_dict({"params": variables["params"]}, sep="/")
    np.savez(f"original{seed}.npz", **{name: leaf[0] for name, leaf in leaves.items()})
  given = "--config.recipe.original=original{seed}.npz"
  assert run(given, "--config.output_dir=given", "--only-units") == 0
  second = record(sweeps.only_run("given"), given)
  for stage in ("original", "ft", "st_mine"):
    assert np.array_equal(first.logits(stage), second.logits(stage))
    # Work is counted as if the models had been trained here.
    assert [row["passes"] for row in first.rows(stage)] == [
      row["passes"] for row in second.rows(stage)
    ]

  Path("st_method.py").write_text(METHOD + "\n# changed\n")
  assert missing() == {"st_mine"}
  assert missing(given, "--config.output_dir=given") == {"st_mine"}
  np.savez("original0.npz", **dict(np.load("original1.npz")))
  assert missing(given, "--config.output_dir=given") == {"original", "ft", "st_mine"}
  Path("st_net.py").write_text(NETWORK + "\n# changed\n")
  assert missing() == {"original", "retrained", "ft", "st_mine"}


def test_given_models_of_a_study_of_shadow_models_are_those_of_its_places(folder):
  words = ["--config.study=ulira", "--config.seeds=0", "--config.methods=ft"]
  words += ["--config.ulira.splits=2", "--config.ulira.forgets=2", "--config.ulira.pool=140"]
  words += [
    "--config.recipe.original=o{split}.npz",
    "--config.recipe.retrained=r{split}_{forget}.npz",
  ]
  settings = sweeps.settings("--config=own.py", *words)
  outline, _ = plan.outline_of(settings, None)
  stages = {stage.name: stage for stage in known(STUDIES["ulira"].stages(outline))}
  files = {name: [member.given for member in stage.members] for name, stage in stages.items()}
  assert files == {
    "original": ["o0.npz", "o1.npz"],
    "retrained": ["r0_0.npz", "r0_1.npz", "r1_0.npz", "r1_1.npz"],
    "ft": [""] * 4,
  }
  assert stages["retrained"].method.phases({}) == () != stages["ft"].method.phases


WRONG = {
  "no module": ("model.name=st_nt:Net", "network st_nt:Net: there is no module st_nt; expected"),
  "no network": ("model.name=st_net:data", "network st_net:data gives (array"),
  "no data": ("dataset=st_net:Net", "data set st_net:Net wants an argument 'num_classes'"),
  "no method": (
    "methods=st_net:Net",
    "method st_net:Net is <class 'st_net.Net'>; expected a value",
  ),
  "no recipe": ("recipe.augment=st_recipe:loss", "augmentation cannot be applied to uint8"),
  "no seed": ("recipe.original=a{sed}.npz", "expected a path with no placeholders but {seed}"),
  "no file": ("recipe.retrained=a{seed}.npz", "weights a0.npz do not exist; expected an .npz"),
  "no weights": ("recipe.start=w.npz", "weights w.npz do not exist; expected an .npz file"),
  "no path": ("data.path=x", "data set st_net:data takes no argument 'path'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(name, folder, capsys):
  word, message = WRONG[name]
  assert run(f"--config.{word}") == 2
  told = capsys.readouterr().err
  assert message in told and told.count("\n") == 1 and told.startswith("error: ")
  assert not Path("checkpoints").exists()
