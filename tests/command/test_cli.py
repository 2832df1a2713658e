"""The command line: flags, config files with an argument, overrides, one line for each mistake."""

import json
import subprocess
import sys
import textwrap

import pytest

from jaxmu.command import cli, config_file, console
from jaxmu.errors import DataError

CONFIG = """
import ml_collections

def get_config(size="full"):
  if size not in ("full", "tiny"):
    raise ValueError(f"unknown argument '{size}'; expected tiny\\nor none")
  config = ml_collections.ConfigDict()
  config.name = "trial"
  config.dataset = "digits"
  config.seeds = (0, 1)
  config.methods = ("ft",)
  config.training = {"num_epochs": 9 if size == "full" else 2, "learning_rate": 0.1}
  config.data = {"augment": True}
  config.unlearning = {"msg": {"learning_rate": 0.1}}
  config.output_dir = "checkpoints"
  return config
"""


@pytest.fixture
def file(tmp_path):
  """A config file, as a path in text."""
  path = tmp_path / "trial.py"
  path.write_text(CONFIG)
  return str(path)


@pytest.fixture
def load(file):
  """Load the config with overrides given as words of a command line."""

  def parse(*words, argument=""):
    flags = cli.parser("A program.")
    return cli.parse(flags, [f"--config={file}{argument}", *words]).config

  return parse


def test_config_is_loaded_with_its_argument(load):
  assert load().training.num_epochs == 9
  assert load(argument=":tiny").training.num_epochs == 2


@pytest.mark.parametrize(
  ("word", "path", "value"),
  [
    ("--config.training.num_epochs=5", "training.num_epochs", 5),
    ("--config.training.learning_rate=1", "training.learning_rate", 1.0),
    ("--config.training.learning_rate=1e-3", "training.learning_rate", 1e-3),
    ("--config.methods=msg,ct", "methods", ("msg", "ct")),
    ("--config.methods=('msg', 'ct')", "methods", ("msg", "ct")),
    ("--config.methods=msg", "methods", ("msg",)),
    ("--config.seeds=0,1,2", "seeds", (0, 1, 2)),
    ("--config.seeds=3", "seeds", (3,)),
    ("--config.seeds=0..19", "seeds", ("0..19",)),  # which the settings read
    ("--config.seeds=(0..4, 7)", "seeds", ("0..4", 7)),
    ("--config.seeds=", "seeds", ()),
    ("--config.data.augment=false", "data.augment", False),
    ("--config.data.augment=True", "data.augment", True),
    ("--config.data_dir=/a=b", "data_dir", "/a=b"),
    ("--config.model.width=8", "model.width", 8),
    ("--config.population.chunk=4", "population.chunk", "4"),
    ("--config.checkpoint_seconds=5", "checkpoint_seconds", 5.0),
    ("--config.unlearning.msg.learning_rate=1", "unlearning.msg.learning_rate", 1.0),
    ("--config.unlearning.msg.init_rate=0.5", "unlearning.msg.init_rate", 0.5),
    ("--config.unlearning.ct.num_epochs=3", "unlearning.ct.num_epochs", 3),
    ("--config.unlearning.ct.nesterov=true", "unlearning.ct.nesterov", True),
    ("--config.unlearning.ct.mode=train", "unlearning.ct.mode", "train"),
  ],
)
def test_overrides_have_the_type_that_the_settings_expect(load, word, path, value):
  found = load(word)
  for name in path.split("."):
    found = found[name]
  assert found == value
  assert type(found) is type(value)


def test_override_may_stand_in_two_words_and_the_last_one_counts(load):
  config = load("--config.training.num_epochs", "5", "--config.methods", "ct")
  assert (config.training.num_epochs, config.methods) == (5, ("ct",))
  twice = load("--config.training.num_epochs=5", "--config.training.num_epochs=6")
  assert twice.training.num_epochs == 6


def test_locked_configs_take_entries_that_the_settings_know(tmp_path):
  path = tmp_path / "locked.py"
  path.write_text(CONFIG.replace("return config", "return config.lock()"))
  config = config_file.load_config(str(path), [("model.width", "8"), ("fidelity", "fixed")])
  assert (config.model.width, config.fidelity) == (8, "fixed")


MISTAKES = {
  "unknown entry": ("--config.sedes=1", "config has no entry 'sedes'; did you mean 'seeds'?"),
  "unknown in section": (
    "--config.training.num_epoch=1",
    "config.training has no entry 'num_epoch'; did you mean 'num_epochs'?",
  ),
  "unknown section": ("--config.trainin.x=1", "did you mean 'training'?"),
  "below a value": ("--config.seeds.first=1", "config.seeds is a single value"),
  "whole section": ("--config.training=1", "config.training is a section"),
  "whole number": (
    "--config.training.num_epochs=five",
    "--config.training.num_epochs=five: expected a whole number",
  ),
  "fraction": ("--config.training.num_epochs=1.5", "expected a whole number"),
  "number": ("--config.training.learning_rate=fast", "expected a number"),
  "bool": ("--config.data.augment=maybe", "expected true or false"),
  "no value": ("--config.seeds", "--config.seeds has no value; expected --config.seeds=VALUE"),
  "whole unlearning": ("--config.unlearning=1", "names no hyper-parameter"),
  "whole method": ("--config.unlearning.msg=1", "names no hyper-parameter"),
  "below a hyper-parameter": ("--config.unlearning.msg.a.b=1", "names no hyper-parameter"),
  "no name": ("--config.=1", "config has no entry ''"),
  "unknown flag": ("--confg=x", "unknown flag --confg; did you mean '--config'?"),
  "abbreviated flag": ("--pla", "unknown flag --pla; did you mean '--plan'?"),
  "stray word": ("seeds", "unexpected argument 'seeds'"),
  "value for a switch": ("--plan=3", "argument --plan: ignored explicit argument '3'; see --help"),
}


def run(words, capsys, main=lambda args: None):
  """Run a program; return its exit code and what it wrote to stderr."""
  flags = cli.parser("A program.")
  flags.add_argument("--plan", action="store_true")
  code = cli.run(main, flags, words)
  return code, capsys.readouterr().err


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_give_one_line_and_code_2(file, capsys, case):
  word, message = MISTAKES[case]
  code, text = run([f"--config={file}", word], capsys)
  assert code == 2
  assert text.startswith("error: ")
  assert message in text
  assert text.count("\n") == 1


def broken(tmp_path, text):
  path = tmp_path / "broken.py"
  path.write_text(textwrap.dedent(text))
  return str(path)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("\ndef get_config(:", ", line 2, cannot be used: SyntaxError"),
    ("import no_such_module", ", line 1, cannot be used: ModuleNotFoundError: No module named"),
    ("x = 1", ".py cannot be used: TypeError: it has no get_config(), "),
    ("def get_config():\n  return undefined", ", line 2, cannot be used: NameError: name 'undefin"),
    ("get_config = lambda: 3", "TypeError: get_config returns 3; expected an ml_collections.Conf"),
    ("def get_config():\n  pass", "TypeError: get_config returns None; expected"),
    ("get_config = lambda: {'training': 3}", "config.training is 3 in the config file"),
    ("import json\njson.loads('{')", ", line 2, cannot be used: JSONDecodeError: Expecting"),
  ],
)
def test_broken_config_files_give_one_line(tmp_path, capsys, text, message):
  words = [f"--config={broken(tmp_path, text)}", "--config.training.num_epochs=1"]
  code, shown = run(words, capsys)
  assert code == 2
  assert message in shown
  assert shown.count("\n") == 1


RAISED = (
  *("OSError(5, 'a')", "ZeroDivisionError('a')", "RuntimeError('a')", "AssertionError()"),
  *("RecursionError('a')", "MemoryError()", "StopIteration()", "NotImplementedError('a')"),
  *("SystemExit(0)", "Exception('a\\nb')", "GeneratorExit()", "ExceptionGroup('a', [OSError()])"),
)


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("form", ["raise {}", "def get_config():\n  raise {}"])
def test_whatever_a_config_file_raises_is_one_line_with_its_place(tmp_path, capsys, raised, form):
  path = broken(tmp_path, form.format(raised))
  code, shown = run([f"--config={path}"], capsys)
  line = 1 + form.count("\n")
  assert code == 2
  name = raised.partition("(")[0]
  assert shown.startswith(f"error: config file {path}, line {line}, cannot be used: {name}")
  assert shown.count("\n") == 1
  assert not shown.rstrip().endswith(":")


def test_an_exception_without_a_text_is_named(tmp_path, capsys):
  text = "class Odd(Exception):\n  def __str__(self):\n    return 1 / 0\nraise Odd"
  code, shown = run([f"--config={broken(tmp_path, text)}"], capsys)
  assert code == 2
  assert shown.endswith(", line 4, cannot be used: Odd\n")


def test_ctrl_c_in_a_config_file_is_an_interruption(tmp_path, capsys):
  code, shown = run([f"--config={broken(tmp_path, 'raise KeyboardInterrupt')}"], capsys)
  assert (code, shown.count("\n")) == (130, 1)


def test_overrides_of_a_config_that_holds_itself(tmp_path, capsys):
  text = """
    import ml_collections
    config = ml_collections.ConfigDict({"training": {}})
    config.training.whole = config
    get_config = lambda: config
  """
  path = broken(tmp_path, text)
  code, shown = run([f"--config={path}", "--config.training.num_epochs=4"], capsys)
  assert code == 2
  assert f"--config.training.num_epochs cannot be set in config file {path}: Recursion" in shown
  assert shown.count("\n") == 1


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("{folder}", "is a folder; expected a Python file"),
    ("{folder}/" + "a" * 300, "cannot be read: File name too long"),
    ("{folder}/a\0b.py", "does not exist; "),
    ("", "config file '' is a folder"),
  ],
)
def test_what_is_no_config_file(tmp_path, capsys, spec, message):
  code, shown = run([f"--config={spec.format(folder=tmp_path)}"], capsys)
  assert code == 2
  assert message in shown
  assert shown.count("\n") == 1


def test_argument_that_a_config_refuses(file, capsys):
  code, text = run([f"--config={file}:huge"], capsys)
  assert code == 2
  assert "with argument 'huge' cannot be used: ValueError: unknown argument 'huge'; exp" in text
  assert text.count("\n") == 1


def test_argument_that_a_config_does_not_take(tmp_path, capsys):
  path = broken(tmp_path, "def get_config():\n  return {}")
  assert run([path and f"--config={path}"], capsys) == (0, "")
  code, text = run([f"--config={path}:mini"], capsys)
  assert code == 2
  assert "takes 0 positional arguments" in text


def test_missing_config_names_the_closest(file, capsys):
  code, text = run([f"--config={file.replace('trial', 'tiral')}"], capsys)
  assert code == 2
  assert "does not exist; did you mean" in text
  assert file in text
  code, text = run(["--config=/no/such/folder/x.py"], capsys)
  assert (code, text) == (
    2,
    "error: config file /no/such/folder/x.py does not exist; check the path\n",
  )


def test_config_must_be_given(capsys):
  code, text = run(["--plan"], capsys)
  assert code == 2
  assert text.startswith("error: no config given; expected --config=FILE")


def test_programs_without_config_refuse_overrides(capsys):
  flags = cli.parser("A program.", config=False)
  assert cli.run(lambda args: None, flags, ["--config.seeds=1"]) == 2
  assert "this program takes no config" in capsys.readouterr().err


def test_main_gets_flags_and_config_and_its_code_is_returned(file, capsys):
  seen = []

  def main(args):
    seen.append((args.plan, args.config.seeds))
    return 3

  assert run([f"--config={file}", "--plan", "--config.seeds=5"], capsys, main) == (3, "")
  assert seen == [(True, (5,))]


def test_user_errors_from_anywhere_are_one_line(file, capsys):
  def main(args):
    raise DataError("a\nb   c")

  assert run([f"--config={file}"], capsys, main) == (2, "error: a b c\n")


def test_other_errors_keep_their_traceback(file, capsys):
  def main(args):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    run([f"--config={file}"], capsys, main)


def test_help_needs_no_jax():
  program = (
    "import sys; from jaxmu.command import cli\n"
    "try: cli.run(print, cli.parser('A program.'), ['--help'])\n"
    "except SystemExit as end: assert end.code == 0\n"
    "sys.exit('jaxmu.models' in sys.modules or any(m.startswith('jax.') for m in sys.modules))"
  )
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, "")
  assert done.stdout.startswith("usage:")
  assert "--config.methods=msg,ct" in done.stdout


def test_the_command_lists_the_entries_of_a_config(capsys):
  ask = lambda *words: cli.run(console.main, console.flags(), ["config", *words])
  assert ask() == 0
  lines, _, shipped = capsys.readouterr().out.partition("\n\n")
  lines = lines.splitlines()
  assert "cnn_digits" in shipped and lines[0].split()[:3] == ["name", "str", "required"]
  assert ask("--markdown") == 0
  assert "| **`training.num_epochs`** | int | 182 | epochs" in capsys.readouterr().out
  assert ask("--json") == 0
  shown = json.loads(capsys.readouterr().out)
  assert len(shown) == len(lines)
  assert shown[0]["default"] == "required"
  assert ask("training") == 2
  assert "there is no config 'training'; known: cells, cnn_digits" in capsys.readouterr().err
