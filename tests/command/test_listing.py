"""The listing of `jaxmu methods`: complete, and the page docs/methods.md is what it prints."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxmu
from jaxmu.command import cli, console, listing
from jaxmu.training.hyper import Distribution
from jaxmu.unlearning import METHODS

ROOT = Path(__file__).parents[2]


def ask(capsys, *words):
  code = cli.run(console.main, console.flags(), ["methods", *words])
  return code, *capsys.readouterr()


def test_overview_has_one_line_per_method_with_title_and_sets(capsys):
  code, out, _ = ask(capsys)
  assert code == 0
  lines = {line.split()[0]: line for line in out.splitlines()[1 : 1 + len(METHODS)]}
  assert list(lines) == list(METHODS)
  for name, method in METHODS.items():
    assert method.title in lines[name]
    assert ("validation" in lines[name]) == ("val" in method.needs)
  assert lines["scrub"].endswith("retain, forget, validation")
  assert lines["ct"].endswith(
    "retain                      convolution wider than a pixel to transpose"
  )


@pytest.mark.parametrize("name", METHODS)
def test_details_name_every_hyper_parameter_draw_and_ignored_name(name, capsys):
  code, out, _ = ask(capsys, name)
  method = METHODS[name]
  assert code == 0
  assert method.title in out
  for key in (*method.defaults, *method.draws, *method.hyper):
    assert key in out, key
  words = " ".join(out.split())
  assert " ".join(method.oddities.split()) in words.replace("- ", "-") or method.oddities in words


def test_ranges_show_the_reference_and_what_is_recommended_instead():
  text = listing.details("ff")
  assert "alpha = 1e-06; U[0, 1]; LogU[1e-10, 0.01]" in text
  assert "batch_size = 64; {64, 128, 256}" in text
  assert str(Distribution("uniform", 0, 1, at_most="b")) == "U[0, 1], at most b"


def test_json_is_what_the_python_interface_returns(capsys):
  code, out, _ = ask(capsys, "--json")
  assert code == 0
  assert json.loads(out) == json.loads(json.dumps(jaxmu.methods()))
  _, out, _ = ask(capsys, "kde", "--json")
  assert list(json.loads(out)) == ["kde"]


def test_the_page_in_the_documentation_is_what_the_command_prints(capsys):
  _, out, _ = ask(capsys, "--markdown")
  assert (ROOT / "docs" / "methods.md").read_text() == out


def test_mistakes_are_one_line(capsys):
  code, out, err = ask(capsys, "mgs")
  assert (code, out) == (2, "")
  assert err.startswith("error: unknown method 'mgs'; did you mean 'msg'?")
  assert err.count("\n") == 1
  code = cli.run(console.main, console.flags(), ["methodes"])
  assert code == 2
  assert "methodes" in capsys.readouterr().err


def test_the_command_and_the_script_print_the_same():
  command = shutil.which("jaxmu", path=str(Path(sys.executable).parent))
  assert command, "the package is not installed with its command"
  run = lambda *words: subprocess.run(words, capture_output=True, text=True, check=True).stdout
  script = run(sys.executable, str(ROOT / "bin" / "methods.py"), "ct")
  assert run(command, "methods", "ct") == script
  assert script.startswith("ct: ")
