"""Code of a user's own in a config: by references, remembered by its hash, part of the identity."""

import dataclasses
import types

import pytest
from support.settings_catalog import CATALOG, CONFIG, FT

from jaxmu.errors import SettingsError
from jaxmu.settings import Settings
from jaxmu.settings.own_section import OwnSettings

MODULE = "def net(): pass\ndef data(): pass\ndef loss(): pass\n"


def read(reference):
  """Stand in for the readers of the rooms above: a method is called as in its module."""
  module, _, name = reference.partition(":")
  found = getattr(__import__(module), name, None)
  return types.SimpleNamespace(name=f"own_{name}", hyper=FT, found=found)


KINDS = ("methods", "models", "datasets", "losses", "optimizers", "augmentations")
OWN = dataclasses.replace(CATALOG, own=dict.fromkeys(KINDS, read))


def build(**changes):
  return Settings.from_config(CONFIG | {"unlearning": {}} | changes, OWN)


@pytest.fixture(autouse=True)
def modules(own_folder, monkeypatch):
  monkeypatch.syspath_prepend(own_folder)
  (own_folder / "ow_code.py").write_text(MODULE)
  (own_folder / "ow_method.py").write_text("first = second = 1\n")


def test_a_method_is_called_by_its_name_and_comes_back():
  found = build(methods="ft,ow_method:first", unlearning={"own_first": {"learning_rate": 0.3}})
  assert found.methods == ("ft", "own_first") and found.own.methods == ("ow_method:first",)
  assert found.unlearning["own_first"]["learning_rate"] == 0.3
  assert Settings.from_config(found.to_dict(), OWN) == found
  named = build(
    methods=("ft", "own_first"),
    own={"methods": "ow_method:first"},
    unlearning={"ow_method:first": {"learning_rate": 0.3}},
  )
  assert named == found


def test_code_of_all_members_is_a_part_of_the_identity_and_a_methods_is_not():
  plain = build(methods="ft")
  assert "own" not in plain.identity() and "recipe" not in plain.identity()
  assert build(methods="ft,ow_method:first").hash8 == plain.hash8
  for changes in (
    {"dataset": "ow_code:data"},
    {"model": {"name": "ow_code:net"}},
    {"recipe": {"loss": "ow_code:loss"}},
  ):
    found = build(methods="ft,ow_method:first", **changes)
    assert found.hash8 != plain.hash8
    (kept,) = found.identity()["own"]["sha256"]
    assert len(found.own.sha256) == 2 and not kept.startswith("methods.")
    other = tuple(f"{one.partition('=')[0]}={'0' * 64}" for one in found.own.sha256)
    changed = dataclasses.replace(found, own=dataclasses.replace(found.own, sha256=other))
    assert changed.hash8 != found.hash8


def test_the_hash_of_an_entry_is_found_by_its_name():
  own = build(methods="ow_method:first", model={"name": "ow_code:net"}).own
  assert len(own.of("model.name")) == len(own.of("methods.own_first")) == 64
  assert own.of("model.name") != own.of("methods.own_first")
  assert own.of("dataset") == OwnSettings().of("dataset") == ""


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"own": {"methods": "ft"}}, "config.own.methods has 'ft'; expected MODULE:NAME"),
    ({"own": 3}, "config.own is 3; expected a section"),
    (
      {"unlearning": {"own_first": {}}},
      r"config.unlearning: unknown method 'own_first'; known: .*one of your own is named in config",
    ),
    ({"own": {"methods": (1,)}}, "config.own.methods has 1; expected MODULE:NAME"),
    ({"own": {"sha256": (1,)}}, r"config.own.sha256 is \(1,\); expected texts, apart by commas"),
    (
      {"own": {"sha256": "model.name=00"}, "model": {"name": "ow_code:net"}},
      "config.own.sha256 has 00... for model.name, but the source of ow_code:net has ",
    ),
    ({"recipe": {"loss": "hinge"}}, "config.recipe.loss is 'hinge'; expected MODULE:NAME, as in"),
    (
      {"recipe": {"class_weights": "1,0"}},
      "is '1,0'; expected numbers apart by commas, each a num",
    ),
    (
      {"recipe": {"loss": "ow_code:loss", "label_smoothing": 0.1}},
      "config.recipe.label_smoothing is 0.1, which is of cross-entropy, and config.recipe.loss",
    ),
    (
      {"recipe": {"augment": "ow_code:loss"}, "data": {"augment": False}},
      "config.data.augment is False, and config.recipe.augment names an augmentation",
    ),
    (
      {"recipe": {"start_sha256": "0" * 64}},
      "config.recipe.start_sha256 is given without a file; expected the weights of that sum",
    ),
  ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
  with pytest.raises(SettingsError, match=message):
    build(**changes)


def test_two_methods_of_one_name_are_refused(own_folder):
  (own_folder / "ow_other.py").write_text("first = 2\n")
  with pytest.raises(
    SettingsError, match="ow_method:first and ow_other:first are both called 'own"
  ):
    build(methods="ow_method:first,ow_other:first")


def test_weights_to_start_from_are_known_by_their_hash():
  found = build(recipe={"start": "a/weights.npz"})
  assert len(found.recipe.start_sha256) == 64
  assert build(recipe={"start": "b/weights.npz"}).hash8 == found.hash8
  assert build(recipe={"start": "a/others.npz"}).hash8 != found.hash8
  assert build(recipe={"original": "a/{seed}.npz"}).hash8 != build().hash8


def test_without_readers_references_are_unknown_names():
  with pytest.raises(SettingsError, match=r"config.model.name: unknown 'ow_code:net'; known: cnn"):
    Settings.from_config(CONFIG | {"model": {"name": "ow_code:net"}}, CATALOG)
