"""The table of all entries is made from what the settings declare, and says it all."""

import dataclasses
import subprocess
import sys

import pytest
from support.settings_catalog import CATALOG

from jaxmu import settings
from jaxmu.settings import choices, entry_table
from jaxmu.settings.entries import declared

SECTIONS = [settings.Settings, *(f.kind for f in declared(settings.Settings) if f.entry is None)]


def flat(tree, prefix=""):
  """Return dotted name -> leaf."""
  found = {}
  for key, value in tree.items():
    deeper = flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else None
    found |= deeper or {f"{prefix}{key}": value}
  return found


def test_every_entry_has_a_row_with_its_type():
  kinds = flat(settings.schema())
  rows = entry_table.rows(CATALOG)
  assert [row.name for row in rows] == list(kinds)
  for row in rows:
    assert row.kind == ("section" if row.name == "unlearning" else kinds[row.name].__name__)
    assert row.meaning


def test_defaults_are_those_of_settings():
  least = {"name": "x", "dataset": "digits", "model": {"name": "cnn"}, "seeds": 0, "methods": "ft"}
  made = flat(settings.Settings.from_config(least, CATALOG).to_dict() | {"unlearning": ""})
  required = {row.name for row in entry_table.rows(CATALOG) if row.default == "required"}
  assert required == {"name", "dataset", "model.name", "seeds", "methods"}
  for row in entry_table.rows(CATALOG):
    if row.name not in required:
      value = made[row.name]
      assert row.default == ("empty" if value in ("", []) else str(value).lower())


def test_decisive_entries_are_those_of_the_hash():
  study = {"name": "x", "dataset": "digits", "model": {"name": "cnn"}, "seeds": 0, "methods": "ft"}
  decisive = {row.name for row in entry_table.rows(CATALOG) if row.decisive}
  found = set()
  asked = {"scenario": {"forget": "classes", "classes": "3", "draws": 2, "rounds": 2}}
  listed = {"scenario": {"forget": "listed", "path": "own.npz"}}
  mine = "support.settings_catalog:forget_sha256"
  own = {"optimizer": mine, "loss": mine, "augment": mine, "class_weights": (1, 2)}
  files = {"start": "w.npz", "original": "o{seed}.npz", "retrained": "r{seed}.npz"}
  recipes = {"recipe": own}, {"recipe": files | {"label_smoothing": 0.1}}
  catalog = dataclasses.replace(CATALOG, own={"losses": lambda reference: None})
  for more in ({"study": "ulira"}, {"study": "search"}, asked, listed, *recipes):
    made = settings.Settings.from_config(study | more, catalog)
    found |= set(flat(made.identity() | {"unlearning": ""}))
  one_seed = {"seeds"}  # of a U-LiRA study alone; elsewhere seeds are what it grows by
  assert decisive | one_seed == found


@pytest.mark.parametrize("section", SECTIONS)
def test_every_choice_is_explained(section):
  for field in declared(section):
    for choice in field.entry.choices if field.entry else ():
      assert f"`{choice}`" in field.entry.meaning, (field.name, choice)
    if field.entry and field.entry.choices:
      assert field.default in field.entry.choices


def test_names_come_from_the_registries():
  rows = {row.name: row for row in entry_table.rows(CATALOG)}
  assert rows["dataset"].meaning.startswith("`digits`, `npz`, `synthetic`, `cifar10`, or [your")
  more = dataclasses.replace(CATALOG, models=("mlp",))
  assert "| **`model.name`** | str | required | `mlp`, or [your" in entry_table.markdown(more)


def test_the_text_for_a_terminal_has_no_marks():
  lines = entry_table.text(CATALOG).splitlines()
  assert len(lines) == len(entry_table.rows(CATALOG))
  line = next(line for line in lines if line.startswith("data.random_labels"))
  assert " ".join(line.split()) == (
    "data.random_labels float 0.0 share of all samples that get a uniformly random label"
  )
  assert not any(mark in entry_table.text(CATALOG) for mark in "`[]")


def test_choices_are_what_the_rooms_above_can_do():
  """Settings may import no other room, so their names stand there; here nothing may be missing."""
  from jaxmu.audit.attacks import ulira
  from jaxmu.execution import lowerings
  from jaxmu.kernels import conv_passes
  from jaxmu.training import task

  assert choices.LOWERINGS == tuple(lowerings.CANDIDATES) == ("lax", *conv_passes.LOWERINGS)
  assert choices.COMPUTE == task.COMPUTE
  assert set(choices.FITS) == set(ulira.FITS)
  assert set(choices.VARIANCES) == set(ulira.VARIANCES)


@pytest.mark.parametrize(
  "program",
  [
    "import jaxmu",
    "import jaxmu.settings.ranges, jaxmu.settings.choices",
    "import jaxmu.command.cli",
  ],
)
def test_pydantic_is_loaded_for_configs_only(program):
  check = f"import sys; {program}; sys.exit('pydantic' in sys.modules or 'jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
