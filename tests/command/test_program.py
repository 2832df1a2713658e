"""The installed command: its verbs, configs by name, entries as flags, and what it prints."""

import json
import subprocess
import sys

import pytest
from support import sweeps

from jaxmu.command import config_file, program
from jaxmu.settings import Settings
from jaxmu.studies import catalog


def call(capsys, monkeypatch, *words):
  """Run the command in this process; return exit code, output and errors."""
  monkeypatch.setattr("jaxmu.command.endings.os._exit", sys.exit)
  monkeypatch.setattr("sys.argv", ["jaxmu"])
  with pytest.raises(SystemExit) as ended:
    program.run(words)
  return ended.value.code, *capsys.readouterr()


@pytest.fixture
def jaxmu(capsys, monkeypatch):
  return lambda *words: call(capsys, monkeypatch, *words)


def test_every_command_has_a_help_that_names_it(jaxmu):
  code, out, _ = jaxmu()
  assert code == 0
  for name, command in program.COMMANDS.items():
    assert f"  {name}" in out and command.about in out
    code, told, _ = jaxmu(name, "--help")
    assert code == 0 and f"usage: jaxmu {name}" in told


def test_a_wrong_command_is_one_line(jaxmu):
  code, _, err = jaxmu("rum")
  assert code == 2
  assert (
    err.startswith("error: there is no command 'rum'; did you mean 'run'?") and err.count("\n") == 1
  )


def test_a_wrong_config_is_one_line(jaxmu):
  code, _, err = jaxmu("run", "cnn_digit")
  assert code == 2 and "there is no config 'cnn_digit'; did you mean 'cnn_digits'?" in err
  code, _, err = jaxmu("run")
  assert code == 2 and err.startswith("error: no config given")


def test_entries_are_flags():
  written = program.with_config(
    ["cnn_digits:x", "--seeds=0-9", "--training.num_epochs=3", "--plan", "--report=1"],
    ["--plan", "--report"],
  )
  assert written == [
    "--config=cnn_digits:x",
    "--config.seeds=0-9",
    "--config.training.num_epochs=3",
    "--plan",
    "--report=1",
  ]


@pytest.mark.parametrize(
  ("text", "seeds"), [("0-3", (0, 1, 2, 3)), ("7,0-1", (7, 0, 1)), ("5-5", (5,))]
)
def test_seeds_may_be_written_with_a_hyphen(text, seeds):
  config = config_file.load_config("cnn_digits", [("seeds", text)])
  assert Settings.from_config(config, catalog()).seeds == seeds


def test_every_shipped_config_is_found_and_planned_by_name(jaxmu):
  assert config_file.shipped() == sorted(
    path.stem for path in (sweeps.ROOT / "configs").glob("*.py")
  )
  code, out, _ = jaxmu("plan", "cnn_digits", "--seeds=0-1", "--methods=ft")
  assert code == 0 and "original" in out and "2 members a stage" in out


def test_a_study_runs_and_says_how_to_go_on(jaxmu, tmp_path):
  words = sweeps.arguments(tmp_path, methods="ft")
  entries = [word.replace("--config.", "--", 1) for word in words[1:]]
  code, out, _ = jaxmu("run", words[0].removeprefix("--config="), *entries)
  assert code == 0
  run = sweeps.only_run(tmp_path)
  assert f"models: jaxmu inspect {run}" in out
  assert json.loads((run / "manifest.json").read_text())["command"].startswith("jaxmu run ")
  code, out, _ = jaxmu("inspect", str(run))
  assert code == 0 and "retrained" in out
  code, out, _ = jaxmu("status", str(run))
  assert code == 0 and "done" in out
  code, out, _ = jaxmu("report", str(run))
  assert code == 0 and "report.html" in out


def test_the_entries_of_a_config_are_shown_with_their_values(jaxmu):
  code, out, _ = jaxmu("config", "cnn_digits")
  assert code == 0
  lines = {line[2:].partition(" = ")[0]: line for line in out.splitlines()}
  assert lines["seeds"].startswith("* seeds = 0..9") and "one member per seed" in lines["seeds"]
  assert lines["data.split_seed"].startswith("  data.split_seed = 123")
  code, out, _ = jaxmu("config", "cnn_digits", "--json")
  assert json.loads(out)["dataset"] == "digits"
  assert "cnn_digits" in jaxmu("config")[1]


def test_lists_are_complete(jaxmu):
  from jaxmu.audit.metrics import METRICS
  from jaxmu.data.datasets import DATASETS

  _, out, _ = jaxmu("metrics")
  assert {line.split()[0] for line in out.splitlines()} >= set(METRICS)
  _, out, _ = jaxmu("datasets", "--json")
  assert [row["name"] for row in json.loads(out)] == list(DATASETS)
  code, _, err = jaxmu("completion", "fish")
  assert code == 2 and "there is no completion for 'fish'" in err


def test_the_shell_completes_commands_configs_and_entries(jaxmu):
  _, script, _ = jaxmu("completion", "bash")

  def completed(*words):
    ask = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _jaxmu; "
    text = script + "\n" + ask + 'echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.split()

  assert completed("jaxmu", "sta") == ["status"]
  assert "cnn_digits" in completed("jaxmu", "run", "cnn")
  assert completed("jaxmu", "methods", "scr") == ["scrub"]
  assert completed("jaxmu", "run", "cnn_digits", "--see") == ["--seeds="]


def test_the_module_is_the_command():
  words = [sys.executable, "-m", "jaxmu", "--version"]
  done = subprocess.run(words, capture_output=True, text=True, check=True)
  assert done.stdout.startswith("jaxmu ")
