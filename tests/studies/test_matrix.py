"""Cells with a search and a benchmark each: in which order, with which numbers, on one page."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxmu.command import cli, config_file
from jaxmu.data import tfds_source
from jaxmu.store import Run
from jaxmu.studies import matrix
from jaxmu.studies.matrix import Line, Part

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "bin" / "benchmark.py")
# Two cells of synthetic images with a network of four channels.
CONFIG = """
import runpy

import ml_collections


def one(split_seed, study):
  config = runpy.run_path(BASE)["get_config"]()
  config.update(name=f"{study}_{split_seed}", study=study, dataset="synthetic", seeds=(0, 1))
  config.data.update({"forget_fraction": 0.1, "split_seed": split_seed})
  config.model.width = 4
  config.methods = ("ft", "iu")
  config.training.num_epochs = 3
  config.unlearning = {}
  config.evaluation.bootstrap = 50
  config.checkpoint_seconds = 0.0
  config.search = {"trials": 3, "batch": 3, "robust": 1}
  config.tuned = ""
  return config


def get_config():
  config = ml_collections.ConfigDict({"name": "two", "output_dir": "", "rule": "robust"})
  config.cells = {
    name: {"benchmark": one(seed, "benchmark"), "search": one(seed, "search")}
    for name, seed in (("first", 1), ("second", 2))
  }
  return config
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("configs") / "two.py"
  base = f"BASE = {str(ROOT / 'configs' / 'search_digits.py')!r}\n"
  path.write_text(base + CONFIG)
  return path


def call(file, folder, *argv):
  script = runpy.run_path(SCRIPT, run_name="benchmark")
  given = (f"--config={file}", f"--config.output_dir={folder}", *argv)
  return cli.run(script["main"], script["flags"](), list(given))


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
  made = tmp_path_factory.mktemp("matrix")
  assert call(file, made) == 0
  return made


def runs(folder):
  return {path.name.rpartition("-")[0]: Run.open(path) for path in folder.glob("*-*")}


def test_a_benchmark_takes_what_its_search_chose(folder):
  found = runs(folder)
  assert set(found) == {"search_1", "search_2", "benchmark_1", "benchmark_2"}
  for seed in (1, 2):
    search, benchmark = found[f"search_{seed}"], found[f"benchmark_{seed}"]
    for method in ("ft", "iu"):
      chosen = search.record(dict, f"tuned-{method}.json")["hyperparameters"]["robust"]
      assert benchmark.config["unlearning"][method] == chosen
    # Original models are trained once: the search lends them.
    timings = search.record(dict, "timings.json")["original"]
    assert benchmark.record(dict, "timings.json")["original"] == timings


def test_one_page_shows_all_cells(folder):
  page = (folder / "two" / "report.md").read_text()
  assert page.startswith("# first and second\n") and "\n## Groups\n" in page
  table = pd.read_csv(folder / "two" / "report.csv")
  assert table.groupby(["cell", "method"]).size().unique().tolist() == [2]
  rows = runs(folder)["benchmark_2"].rows().set_index(["method", "seed"])
  for row in table[table["cell"] == "second"].itertuples():
    assert pytest.approx(rows.loc[(row.method, row.seed), "FA"], abs=1e-12) == row.FA


def test_nothing_is_done_twice_and_the_plan_says_so(file, folder, capsys):
  capsys.readouterr()
  assert call(file, folder) == 0
  said = capsys.readouterr().err
  assert "members done" not in said and said.count("part ") == 4
  assert call(file, folder, "--plan") == 0
  plan = capsys.readouterr().out
  assert plan.count(" done\n") == 5
  # Of each cell: 4 shared, 2 x 2 x 3 trials with 2 x 2 x 2 candidates at most, 4 unlearned.
  assert "original and retrained 8, " in plan and "unlearned 8)" in plan


def test_runs_of_one_name_stay_apart_as_cells(folder, tmp_path):
  """A cell is called by its run directory: other settings may have the same name."""
  first = next(path for path in folder.glob("benchmark_1-*"))
  other = shutil.copytree(first, tmp_path / "benchmark_1-00000000")
  script, page = ROOT / "bin" / "report.py", tmp_path / "page"
  words = [sys.executable, script, first, other, "--cells", "--output", page]
  subprocess.run(words, check=True, capture_output=True)
  assert pd.read_csv(tmp_path / "page" / "report.csv")["cell"].nunique() == 2


def test_no_number_of_workers_is_one_line(file, tmp_path, capsys):
  assert call(file, tmp_path, "--workers=0") == 2
  assert capsys.readouterr().err == "error: --workers=0: expected at least 1\n"


def test_a_part_waits_for_its_search(file, tmp_path, capsys):
  assert call(file, tmp_path, "--part=first/benchmark") == 2
  assert "takes its hyper-parameters from first/search, which is not finished" in (
    capsys.readouterr().err
  )
  assert call(file, tmp_path, "--part=third") == 2
  assert "there is no part 'third'; known: first/search, first/benchmark" in capsys.readouterr().err


def line(cell, name, anchors, trials, unlearned, after=""):
  return Line(Part(cell, name, {}, after), anchors, trials, unlearned, 0.0, 0.0, 0)


def test_models_are_counted_once():
  found = [
    line("a", "search", 6, 100, 0),
    line("a", "benchmark", 20, 0, 30, "search"),
    line("u", "ulira_search", 4, 10, 0),
    line("u", "ulira", 8, 0, 12, "ulira_search"),
    line("alone", "search", 2, 5, 0),
  ]
  assert matrix.total(found) == {
    "original and retrained": 20 + 8 + 2,
    "search trials": 115,
    "unlearned": 42,
    "of searches alone": 4,
  }


@pytest.mark.slow
def test_the_plan_of_the_paper_has_its_models():
  command = [sys.executable, SCRIPT, f"--config={ROOT / 'configs' / 'matrix.py'}", "--plan"]
  command += ["--gpus=8,64"]
  said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
  assert "models of the protocol: 99520 (original and retrained 1,480, " in said
  assert "search trials 92,400, unlearned 5,640)" in said
  work = {
    row.split()[0]: float(row.split()[3]) for row in said.splitlines() if "/" in row.split(" ")[0]
  }
  # EFLOP of spec data_models 9; a search draws its own numbers of epochs.
  expected = {"cifar10_resnet18": 870, "cifar100_tinyvit": 960, "utkface_resnet18": 4700}
  for cell, pflop in expected.items():
    share = 1.18 if cell.startswith("cifar100") else 1  # Fisher forgetting goes back once a class
    assert work[f"{cell}/search"] == pytest.approx(share * pflop, rel=0.05)
  assert sum(work.values()) == pytest.approx(18_500, rel=0.05)
  gpus = {row.split()[0]: row.split()[1:] for row in said.splitlines() if row.endswith("%")}
  assert float(gpus["8"][0]) == pytest.approx(34.6, rel=0.05)
  assert float(gpus["64"][0]) == pytest.approx(4.4, rel=0.05)


@pytest.mark.slow
def test_two_processes_give_the_same(file, folder, tmp_path):
  given = [f"--config={file}", f"--config.output_dir={tmp_path}"]
  both = [subprocess.Popen([sys.executable, SCRIPT, *given], cwd=ROOT) for _ in range(2)]
  assert [process.wait() for process in both] == [0, 0]
  for name, run in runs(folder).items():
    table = "trials" if name.startswith("search") else "rows"
    pd.testing.assert_frame_equal(runs(tmp_path)[name].table(table), run.table(table))


def test_the_sizes_of_the_matrix_are_known_configs():
  for size in ("", "small", "tiny"):
    config = config_file.load_config(
      f"{ROOT / 'configs' / 'matrix.py'}" + (f":{size}" if size else "")
    )
    every = matrix.by_key(matrix.parts(config))
    names = {"search", "benchmark"} | ({"ulira", "ulira_search"} if size != "small" else set())
    assert {part.name for part in every.values()} == names
    assert len({part.cell for part in every.values()}) == (3 if size == "small" else 11)
    for part in every.values():
      assert matrix.settings(part, every).study == part.name.removeprefix("ulira_")


def prepared(dataset, folder):
  """Return the folder of a data set; UTKFace is generated, others must be there."""
  if dataset == "utkface":
    from PIL import Image

    (folder / "UTKFace").mkdir()
    rng = np.random.default_rng(0)
    for k in range(100):
      pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(folder / "UTKFace" / f"{(20 * k) % 100}_0_0_{k}.jpg")
    return folder
  if tfds_source.find(dataset) is None:
    pytest.skip(f"{dataset} is not prepared here")
  return tfds_source.data_root(None)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "tinyvit"])
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10", "cifar100", "utkface"])
def test_every_cell_runs_at_its_smallest(dataset, network, tmp_path):
  root = prepared(dataset, tmp_path)
  given = (f"--part={dataset}_{network}", f"--config.data_dir={root}")
  assert call(f"{ROOT / 'configs' / 'matrix.py'}:tiny", tmp_path / "runs", *given) == 0
  found = runs(tmp_path / "runs")
  (benchmark,) = (run for name, run in found.items() if not name.startswith("search"))
  rows = benchmark.rows()
  assert set(rows["method"]) == {"original", "retrained", "ft", "ga"}
  assert rows[rows["method"] == "retrained"]["TA"].between(0, 1).all()
