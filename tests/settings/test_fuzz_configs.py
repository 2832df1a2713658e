"""150 configs with a mistake each: one line, exit code 2, nothing written, none accepted.

The mistakes are declared by kind; which of them are tried is drawn once, with a fixed seed.
"""

import copy
import itertools
import random
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmu.command import cli
from jaxmu.settings import Settings, schema
from jaxmu.studies import catalog

ROOT = Path(__file__).parents[2]
SWEEP = str(ROOT / "bin" / "sweep.py")
CATALOG = catalog()
CONFIG = {
  "name": "trial",
  "dataset": "synthetic",
  "model": {"name": "cnn"},
  "seeds": (0, 1),
  "methods": ("ft", "rni"),
}


class Mute:
  """A value whose text cannot be had."""

  def __repr__(self):
    raise RuntimeError("no text")


HUGE = {"1e26": 1e26, "10**26": 10**26, "nines": 99_999_999_999_999_999_999, "10**5000": 10**5000}
OBJECTS = {
  "none": None,
  "bytes": b"3",
  "complex": 1 + 2j,
  "list": [3, [3]],
  "dict": {"a": 1},
  "set": {3.5},
  "array": np.arange(40.0).reshape(4, 10),
  "0-d array": np.array(3.5),
  "mute": Mute(),
  "function": len,
  "range": range(2, 0),
  "date": np.datetime64("2020-01-01"),
}
NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
NUMBERS = OBJECTS | NOT_FINITE | {"text": "many", "empty": "", "bool": True, "negative": -1}
COUNTS = NUMBERS | HUGE | {"fraction": 1.5, "np.nan": np.float32("nan"), "-10**26": -(10**26)}
FLOATS = NUMBERS | {"10**400": 10**400, "lines": "1\n2", "np.inf": np.float64("inf")}
TEXTS = OBJECTS | {
  "int": 3,
  "bool": True,
  "zero byte": "a\0b",
  "long": "a" * 5000,
  "half": "\ud800",
}
CHOICES = TEXTS | {"empty": "", "other": "bogus", "case": "AUTO", "space": "auto "}
SWITCHES = {k: v for k, v in NUMBERS.items() if k != "bool"} | {"1": 1, "true": "true"}
SELECTIONS = OBJECTS | {"empty": (), "commas": ",,", "twice": ("x", "x"), "mixed": ("ft", 3, None)}
UNKNOWN = {
  "misspelt": "sedes",
  "empty": "",
  "int": 3,
  "bytes": b"name",
  "none": None,
  "pair": (1, 2),
}
SECTIONS = {
  "none": None,
  "int": 3,
  "text": "a",
  "list": [("a", 1)],
  "array": np.zeros(2),
  "mute": Mute(),
}


def entries():
  """Yield (dotted name, type) of every entry but `unlearning`."""
  for name, kind in schema().items():
    if isinstance(kind, dict):
      yield from ((f"{name}.{key}", each) for key, each in kind.items())
    else:
      yield name, kind


def hypers():
  """Yield (dotted name, default) of every hyper-parameter that is read."""
  for method, known in CATALOG.methods.items():
    for name, hyper in known.items():
      if not hyper.dead:
        yield f"unlearning.{method}.{name}", hyper.default


BY_TYPE = {int: COUNTS, float: FLOATS, bool: SWITCHES, str: CHOICES, tuple: FLOATS}
FINE = {
  "data.forget_sha256 empty",
  "name other",
  "name case",
  "tuned empty",
  "population.chunk int",
  "population.members_at_once int",
  *(f"scenario.{name} empty" for name in ("classes", "scores", "scores_sha256")),
  *(f"scenario.{name} empty" for name in ("path", "path_sha256")),
  *(f"recipe.{name} empty" for name in ("optimizer", "loss", "augment", "class_weights")),
  "own.methods empty",
  "own.methods commas",
  *(f"own.sha256 {name}" for name in ("empty", "commas", "twice")),
  "recipe.class_weights commas",
  *(
    f"cluster.{name} {label}"  # words of a cluster's own
    for name, kind in schema()["cluster"].items()
    for label in (*TEXTS, "empty", "other", "case", "space", "commas", "twice")
    if kind is not int and label != "int"
  ),
}
TAKE_ANY_TEXT = (
  "data_dir",
  "data.forget",
  "data.path",
  "output_dir",
)  # any but what no file system takes


def wrong_entries():
  for name, kind in entries():
    values = SELECTIONS if kind is tuple else TEXTS if name in TAKE_ANY_TEXT else BY_TYPE[kind]
    for label, value in values.items():
      if f"{name} {label}" not in FINE:
        yield f"{name} {label}", {name: value}


def wrong_hypers():
  for name, default in hypers():
    for label, value in BY_TYPE[type(default)].items():
      if not (label in ("negative", "list") and type(default) in (int, float, tuple)):
        yield f"{name} {label}", {name: value}


def unknown_names():
  parents = ("", "data.", "model.", "training.", "ulira.", "unlearning.", "unlearning.ft.")
  for parent, (label, key) in itertools.product(parents, UNKNOWN.items()):
    *sections, _ = parent.split(".")
    nested = {key: 3}
    for section in reversed(sections):
      nested = {section: nested}
    yield f"{parent}? {label}", nested


def wrong_sections():
  names = ("data", "model", "population", "evaluation", "ulira", "unlearning", "unlearning.ft")
  for name, (label, value) in itertools.product(names, SECTIONS.items()):
    yield f"{name} {label}", {name: value}


COMBINATIONS = {
  "npz without a file": {"dataset": "npz"},
  "file without npz": {"data.path": "x.npz"},
  "list to forget of a study": {"study": "ulira", "seeds": 0, "data.forget": "x.npy"},
  "sum of no list": {"data.forget_sha256": "0" * 64},
  "one split": {"study": "ulira", "ulira.splits": 1, "seeds": 0},
  "study with seeds": {"study": "ulira"},
  "study not named": {"ulira.splits": 4},
  "largest seed": {"data.split_per_seed": True, "seeds": (2**32 - 1,)},
  "largest split seed": {"data.split_per_seed": True, "data.split_seed": 2**32 - 1},
  "seeds beyond": {"seeds": (0, 2**32)},
  "path as name": {"name": "../up"},
  "hidden name": {"name": ".x"},
  "name of lines": {"name": "a\n"},
  "name in Greek": {"name": "αβγ"},
  "no model": {"model": {}},
  "no name": {"name": None},
}
CIRCLE = b"""
from ml_collections import ConfigDict
config = ConfigDict()
config.me = config
get_config = lambda: config
"""
FILES = {
  "syntax": b"def get_config(:",
  "tabs": b"def get_config():\n\tif 1:\n        pass",
  "zero bytes": b"x = 1\0",
  "not UTF-8": b"x = '\xff\xfe'",
  "pyc of nothing": b"\xa7\r\r\n" + b"\0" * 12,
  "empty": b"",
  "no function": b"get_config = 3",
  "returns a number": b"get_config = lambda: 3",
  "returns nothing": b"def get_config():\n  pass",
  "needs an argument": b"get_config = lambda size: {}",
  "endless": b"def get_config():\n  return get_config()",
  "nested": b"x = " + b"(" * 500 + b")" * 500,
  "exits": b"import sys\nsys.exit('done')",
  "exits well": b"raise SystemExit",
  "out of memory": b"raise MemoryError",
  "divides": b"def get_config():\n  return 1 / 0",
  "reads": b"open('no such file')",
  "lines": b"raise OSError('a\\nb')",
  "a group": b"raise ExceptionGroup('a', [ValueError()])",
  "numbers as keys": b"get_config = lambda: {'name': 'a', 3: 4}",
  "a circle": CIRCLE,
}
NO_FILES = {
  "missing": "none.py",
  "folder": ".",
  "empty name": "",
  "long name": "a" * 300 + ".py",
  "longer name": "a/" * 3000,
  "zero byte": "a\0.py",
  "below a file": "file/config.py",
}
WORDS = (
  *(
    "seeds=9-0",
    "seeds=5..2",
    "seeds=0..9e9",
    "seeds=-1",
    "seeds=1e3",
    "seeds=",
    "methods=",
    "methods=all",
    "name=",
    "name=a b",
  ),
  *("training.num_epochs=1e26", "training.learning_rate=nan", "model.width=99999999999999999999"),
  *("evaluation.bootstrap=999999999999", "population.chunk=999999999999", "data.augment=yes"),
  *("unlearning.ft.batch_size=99999999999999999999", "unlearning.ft=3", "=3", "data=", "a.b.c=1"),
  *("data.forget=none.csv", "data.forget=none", "data.forget=" + "a" * 300 + ".npy"),
  *("unlearning.ft.learning_rate=" + "(" * 999, "training.num_epochs=" + "9" * 5000),
)
KINDS = {  # of mistakes -> (all of them, how many are tried)
  "entry": (dict(wrong_entries()), 33),
  "hyper-parameter": (dict(wrong_hypers()), 28),
  "unknown name": (dict(unknown_names()), 12),
  "section": (dict(wrong_sections()), 7),
  "word": ({word[:40]: word for word in WORDS}, len(WORDS)),
  "combination": (COMBINATIONS, len(COMBINATIONS)),
  "file": (FILES, 21),
  "no file": (NO_FILES, 7),
}
CASES = [
  pytest.param(kind, label, id=f"{kind}: {label}")
  for kind, (known, count) in KINDS.items()
  for label in random.Random(16).sample(list(known), count)
]


def changed(changes):
  """Return CONFIG with some entries replaced, given by their dotted names."""
  config = copy.deepcopy(CONFIG)
  for key, value in changes.items():
    *sections, last = key.split(".") if isinstance(key, str) else (key,)
    target = config
    for section in sections:
      target = target.setdefault(section, {})
    target[last] = value
  return config


def read_settings(config):
  return cli.run(
    lambda args: Settings.from_config(config, CATALOG), cli.parser("", config=False), []
  )


def sweep(*words):
  script = runpy.run_path(SWEEP, run_name="sweep")
  return cli.run(script["main"], script["flags"](), words)


def refuse(kind, label):
  """Give a bad config to the program, and return its exit code."""
  mistake = KINDS[kind][0][label]
  if kind == "no file":
    return sweep(f"--config={mistake}")
  if kind == "word":
    return sweep(f"--config={ROOT / 'configs' / 'cnn_digits.py'}", "--plan", f"--config.{mistake}")
  if kind == "file":
    Path("file").write_bytes(mistake)
    return sweep("--config=file")
  return read_settings(changed(mistake))


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Work in a folder with one file, which must stay as it is."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").touch()
  return tmp_path


def test_there_are_150_and_the_config_without_a_mistake_is_fine(folder):
  assert len(CASES) == 150
  assert isinstance(read_settings(CONFIG), Settings)


@pytest.mark.parametrize(("kind", "label"), CASES)
def test_a_mistake_is_one_line(kind, label, folder, capsys):
  assert refuse(kind, label) == 2
  out, shown = capsys.readouterr()
  assert (out, shown.count("\n")) == ("", 1)
  assert shown.startswith("error: ")
  assert len(shown) < 800
  assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("label", ["syntax", "not UTF-8", "endless", "exits well"])
def test_a_mistake_is_one_line_in_a_process_of_its_own(label, folder):
  Path("file").write_bytes(FILES[label])
  command = [sys.executable, SWEEP, "--config=file"]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr.startswith("error: config file file")
  assert done.stderr.count("\n") == 1
