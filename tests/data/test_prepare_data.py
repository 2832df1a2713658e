"""bin/prepare_data.py: what it refuses, and what it asks of tensorflow-datasets."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmu.command import cli, prepare_data
from jaxmu.data import tfds_source
from jaxmu.errors import DataError

SCRIPT = Path(__file__).parents[2] / "bin" / "prepare_data.py"


@pytest.fixture
def run(capsys, tmp_path):
  """Run the script in this process; return exit code, stdout and stderr."""
  spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
  script = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(script)

  def call(*words):
    code = cli.run(script.main, script.flags(), [*words, f"--data_dir={tmp_path}"])
    return code, *capsys.readouterr()

  call.script = script
  return call


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["fashon_mnist"], "unknown data set 'fashon_mnist'; did you mean 'fashion_mnist'?"),
    (["digits"], "data set 'digits' needs no preparation; only mnist, fashion_mnist"),
    ([], "the following arguments are required: NAME"),
    (["mnist", "--datadir=x"], "unknown flag --datadir; did you mean '--data_dir'?"),
  ],
)
def test_mistakes_give_one_line_and_code_2(run, words, message):
  code, _, text = run(*words)
  assert code == 2
  assert message in text
  assert text.count("\n") == 1


def test_without_tensorflow_it_names_the_extra(run, monkeypatch):
  monkeypatch.setattr(prepare_data.importlib.util, "find_spec", lambda name: None)
  code, _, text = run("mnist")
  assert code == 2
  assert "tensorflow and importlib_resources not installed" in text
  assert "pip install -e '.[prepare]'" in text
  assert text.count("\n") == 1


def test_what_is_there_is_not_prepared_again(run, tmp_path, monkeypatch):
  folder = tmp_path / "mnist" / "3.0.1"
  folder.mkdir(parents=True)
  (folder / "dataset_info.json").write_text("{}")
  monkeypatch.delattr(tfds_source, "prepare")
  code, out, _ = run("mnist")
  assert code == 0
  assert f"mnist is ready in {folder}" in out
  assert f"TFDS_DATA_DIR={tmp_path} python bin/sweep.py" in out


class FakeBuilder:
  """Stands for a tensorflow-datasets builder."""

  def __init__(self, name, data_dir, file_format):
    assert file_format == "array_record"
    self.data_dir = data_dir / name / "1.0.0"

  def download_and_prepare(self):
    self.data_dir.mkdir(parents=True)


def test_prepare_asks_for_array_record(tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  monkeypatch.setattr(tfds, "builder", FakeBuilder)
  assert tfds_source.prepare("mnist", str(tmp_path)) == tmp_path / "mnist" / "1.0.0"
  with pytest.raises(DataError, match=r"could not be prepared .* \(FileExistsError: .*check the n"):
    tfds_source.prepare("mnist", str(tmp_path))


def test_help_prints_usage():
  done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
  assert done.returncode == 0
  assert "usage: prepare_data.py" in done.stdout
  assert "fashion_mnist" in done.stdout
