"""The documentation is true: its code runs, its outputs and refusals are what the programs say, its
tables equal the code's, and what it names exists.

In the pages, a comment before a code block says what the block is: `<!-- run -->` (executed here,
in one namespace per page), `<!-- output -->` (what the block above prints), `<!-- file: PATH -->`
(a whole file; one of the reader's own, without a folder, is written before what follows runs),
`<!-- excerpt: PAGE -->` (lines of a file on another page), `<!-- refusals -->`, `<!-- fragment -->`
(shown only).
"""

import contextlib
import dataclasses
import importlib.util
import io
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import pytest
from support import studies, sweeps

from jaxmu import settings
from jaxmu.audit import metric_table
from jaxmu.audit.attacks.strongest import ATTACKS
from jaxmu.command import cli, config_file
from jaxmu.models import MODELS
from jaxmu.models.cnn import Unit
from jaxmu.models.layers import Linear
from jaxmu.report import write_figures
from jaxmu.settings import Settings, entry_table
from jaxmu.store import Run, named_leaves
from jaxmu.store.record import Record
from jaxmu.studies import catalog, study_of
from jaxmu.unlearning import METHODS, get

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")  # pages outside docs/
PAGES = {path.name: path for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {name: ROOT / name for name in BESIDE} | PAGES
RUN_NAME = "cnn_digits-1a2b3c4d"  # the run directory that the pages show
DIGITS = f"--config={ROOT / 'configs' / 'cnn_digits.py'}"
TINY = [  # one step an epoch: half as much to compile
  *("--config.model.width=4", "--config.seeds=0,1", "--config.training.num_epochs=2"),
  *("--config.unlearning.ft.num_epochs=1", "--config.unlearning.headft.num_epochs=1"),
  *("--config.training.batch_size=2048", "--config.unlearning.ft.batch_size=2048"),
  *("--config.unlearning.headft.batch_size=2048",),
  *("--config.evaluation.bootstrap=50", "--config.data.split_per_seed=false"),
]


class Block(NamedTuple):
  role: str  # of the comment before it: "run", "output", "file", ...; "" without one
  argument: str
  language: str
  text: str


def blocks(page: str) -> list[Block]:
  found = re.findall(
    r"(?:^<!-- (\w+)(?:: (\S+))? -->\n)?^```(\w*)\n(.*?)^```$", PAGES[page].read_text(), re.M | re.S
  )
  return [Block(*parts) for parts in found]


def region(page: str, name: str) -> str:
  text = PAGES[page].read_text()
  return text.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]


def table(page: str, name: str) -> dict[str, list[str]]:
  """Return first cell -> other cells of a Markdown table between markers, backticks removed."""
  lines = [line for line in region(page, name).strip().splitlines()[2:] if line]
  cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
  assert len({row[0] for row in cells}) == len(cells)
  name = lambda cell: re.sub(r"\[(.*)\]\(.*\)", r"\1", cell).replace("`", "").replace("*", "")
  return {name(row[0]): row[1:] for row in cells}


def plain(page: str) -> str:
  """Return a page without the places that show mistakes on purpose."""
  text = re.sub(r"<!-- refusals -->\n```.*?^```$", "", PAGES[page].read_text(), flags=re.M | re.S)
  return re.sub(r"^## Traps$.*?(?=^## )", "", text, flags=re.M | re.S)


@pytest.fixture(scope="module")
def headft():
  """Register the method of docs/adding_a_method.md as its text says."""
  (block,) = [b for b in blocks("adding_a_method.md") if b.role == "file"]
  name = block.argument.removesuffix(".py").replace("/", ".")
  module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, None))
  exec(compile(block.text, block.argument, "exec"), module.__dict__)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, name, module)
    patch.setitem(METHODS, module.METHOD.name, module.METHOD)
    yield module.METHOD


class Cnn(nn.Module):
  """One unit of the network "cnn", with the same names: compiles in a fifth of the time."""

  num_classes: int
  width: int = 32

  @nn.compact
  def __call__(self, x, train=False, mask=None):
    x = Unit(2 * self.width, name="stem")(x, train, mask)
    return Linear(self.num_classes, name="head")(jnp.mean(x, (1, 2)))


@pytest.fixture(scope="module", params=["one unit", pytest.param("whole", marks=pytest.mark.slow)])
def workplace(request, headft, tmp_path_factory):
  """Make a folder as after a run: a data file as a page has it, and an experiment on it."""
  folder = tmp_path_factory.mktemp("docs")
  with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
    if request.param == "one unit":
      patch.setitem(MODELS, "cnn", Cnn)
    for block in [b for b in blocks("first_steps.md") if b.role == "run" and "savez" in b.text]:
      exec(block.text)
    words = next(c for c in commands("first_steps.md") if "--config.dataset=npz" in c)
    overrides = [word for word in words if word.startswith("--config.")]
    argv = [DIGITS, "--config.methods=ft,headft", *overrides, *TINY]
    script = runpy.run_path(str(ROOT / "bin" / "sweep.py"), run_name="sweep")
    assert cli.run(script["main"], script["flags"](), argv) == 0
    (run,) = (folder / "checkpoints").iterdir()
    (folder / "checkpoints" / RUN_NAME).symlink_to(run)
    yield folder


def commands(page: str) -> list[list[str]]:
  """Return the words of every shell command on a page."""
  text = "\n".join(b.text for b in blocks(page) if b.language == "bash").replace("\\\n", " ")
  text = re.sub(r"^(\w+=\S* )+", "", text, flags=re.M)  # variables set for one command
  return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def without_example(text: str) -> str:
  """Undo that the registry holds the example method as well while these tests run."""
  return text.replace("ga, headft, iu", "ga, iu")


def test_every_python_block_says_what_it_is():
  for page in PAGES:
    for block in blocks(page):
      if block.language == "python":
        assert block.role in ("run", "file", "excerpt", "fragment"), (page, block.text)


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.role == "run" for b in blocks(p))])
def test_code_runs_and_prints_what_the_page_shows(page, workplace):
  namespace, printed = {"__name__": "docs"}, None
  with contextlib.chdir(workplace):
    for number, block in enumerate(blocks(page)):
      if block.role == "file" and "/" not in block.argument:
        Path(block.argument).write_text(block.text)
      if block.role == "run":
        with contextlib.redirect_stdout(io.StringIO()) as out:
          exec(compile(block.text, f"{page}, block {number}", "exec"), namespace)
        printed = out.getvalue()
      elif block.role == "output":
        assert without_example(printed) == block.text, page


def test_the_example_method_moves_the_head_only_and_is_measured(workplace, headft):
  """Through the benchmark: rows for both seeds, and the other leaves equal the original's."""
  run = Run.open(workplace / "checkpoints" / RUN_NAME)
  rows = run.rows().set_index(["method", "seed"])
  assert [tuple(key) for key in rows.index] == [
    (method, seed) for method in ("original", "retrained", "ft", "headft") for seed in (0, 1)
  ]
  assert rows.finite.all()
  record = Record(run.path)
  original, moved = record.variables("original"), record.variables("headft")
  assert not (original["params"]["head"]["kernel"] == moved["params"]["head"]["kernel"]).all()
  for name, leaf in named_leaves.leaves(original).items():
    if not name.startswith("params/head"):
      assert (leaf == named_leaves.leaves(moved)[name]).all(), name
  assert run.manifest.dataset.name == "npz"
  assert run.manifest.methods["headft"].title == headft.title
  assert re.search(rf"^\| {headft.label} +\|", (run.path / "report.md").read_text(), re.M)


def test_excerpts_are_lines_of_the_file_that_they_name():
  for page in PAGES:
    for block in blocks(page):
      if block.role == "excerpt":
        assert block.text in (ROOT / block.argument).read_text(), page


def test_the_methods_of_the_readme_are_the_registry():
  section = PAGES["README.md"].read_text().partition("## Methods\n")[2]
  shown = section.partition(":")[0].split(", ")
  assert [label.strip() for label in shown] == [
    method.label for name, method in METHODS.items() if name != "headft"
  ]


def test_the_readme_is_read_in_minutes():
  assert len(PAGES["README.md"].read_text().splitlines()) <= 150


def flat(tree, prefix=""):
  """Return dotted name -> leaf."""
  pairs = [(f"{prefix}{key}", value) for key, value in tree.items()]
  return {
    name: leaf
    for key, value in pairs
    for name, leaf in (
      flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    ).items()
  }


def test_the_table_of_config_entries_is_made_from_the_settings():
  assert region("configs.md", "entries").strip() == entry_table.markdown(catalog())


def refusals():
  (block,) = [b for b in blocks("configs.md") if b.role == "refusals"]
  lines = block.text.splitlines()
  assert len(lines) >= 20
  return list(zip((line.removeprefix("$ ") for line in lines[::2]), lines[1::2], strict=True))


@pytest.mark.parametrize(("words", "answer"), refusals())
def test_refusals_are_what_the_program_says(words, answer, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
  script = runpy.run_path(str(ROOT / "bin" / "sweep.py"), run_name="sweep")
  assert cli.run(script["main"], script["flags"](), [DIGITS, *words.split()]) == 2
  assert without_example(capsys.readouterr().err).strip() == answer
  assert list(tmp_path.iterdir()) == []


def test_the_table_of_columns_is_made_from_the_metrics():
  assert region("runs.md", "columns").strip() == metric_table.markdown()


def test_the_table_of_attacks_has_all_of_them_with_their_words():
  shown = {name: cells[-1] for name, cells in table("evaluation.md", "attacks").items()}
  assert shown == {name: attack.short for name, attack in ATTACKS.items()}


def files_of(run: Path) -> set[str]:
  """Return the files of a run as the page writes them: stages and groups by those words."""
  found = {path.relative_to(run).parts for path in run.rglob("*") if path.is_file()}
  inside = lambda parts: ("stages/STAGE/GROUP/" + parts[3]) + "/" * (len(parts) > 4)
  return {inside(parts) if parts[0] == "stages" else parts[0] for parts in found}


def test_the_tables_of_files_are_a_run(workplace):
  shown = {*table("runs.md", "files"), *table("runs.md", "benchmark-files")}
  found = files_of(workplace / "checkpoints" / RUN_NAME)
  assert found == shown - {"legs/STAGE/GROUP/"}  # legs are gone when a group is done


@pytest.mark.slow
def test_the_tables_of_files_are_a_study_of_shadow_models(tmp_path):
  assert sweeps.call(*studies.arguments(tmp_path)) == 0
  shown = {*table("runs.md", "files"), *table("runs.md", "study-files")}
  assert files_of(sweeps.only_run(tmp_path)) == shown - {"legs/STAGE/GROUP/"}


def help_of(script: str) -> str:
  with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
    patch.setattr(sys, "argv", [script, "--help"])
    patch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
      runpy.run_path(str(ROOT / script), run_name="__main__")
  assert ended.value.code == 0
  return out.getvalue()


@pytest.mark.parametrize(
  "script",
  sorted({w[1] for p in PAGES for w in commands(p) if len(w) > 1 and w[1].startswith("bin/")}),
)
def test_commands_use_flags_that_exist(script, headft):
  text = help_of(script)
  shown = [words for page in PAGES for words in commands(page) if words[:2] == ["python", script]]
  for words in shown:
    overrides = [w for w in words if w.startswith("--config.")]
    for flag in (w.split("=")[0] for w in words if w.startswith("--") and w not in overrides):
      assert re.search(rf"{flag}\b", text), (script, flag)
    config = [w.removeprefix("--config=") for w in words if w.startswith("--config=")]
    if config:
      pairs = [tuple(w.removeprefix("--config.").split("=", 1)) for w in overrides]
      loaded = config_file.load_config(str(ROOT / config[0]), pairs)
      # A file, or the run directory of a search or a study, in an example need not exist.
      found = lambda path: "0" * 64
      absent = {
        "tuned": lambda *asked: {},
        "scores_sha256": found,
        "listed_sha256": found,
      }
      parts = [part for cell in loaded.get("cells", {}).values() for part in cell.values()]
      for one in parts or [loaded]:
        Settings.from_config(one, dataclasses.replace(catalog(), **absent))


def test_other_commands_name_what_exists():
  known = {"python", "make", "pip", "export", "rm", ".", "jaxmu", "docker"}
  targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
  extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
  for page in PAGES:
    for words in commands(page):
      assert words[0] in known, words
      if words[0] == "make":
        assert words[1] in targets
      if words[0] == "pip":
        assert set(re.fullmatch(r"\.\[([\w,]+)\]", words[-1])[1].split(",")) <= set(extras)
      if words[0] == "docker":
        wanted = re.search(r"EXTRA=([\w,]+)", " ".join(words))[1]
        assert set(wanted.split(",")) <= set(extras)
      if words[:3] == ["python", "-m", "pytest"]:
        assert (ROOT / words[3]).exists()


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_config_entries_exist(page, headft):
  text = plain(page)
  for name in set(re.findall(r"`((?:jaxmu|bin|configs|tests|docs|bench)/[\w/.]*)`", text)):
    assert (ROOT / name).exists() or name == "jaxmu/unlearning/headft.py", name
  kinds = flat(settings.schema())
  for name in set(re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)", text)):
    section, *rest = name.split(".")
    if section == "unlearning" and rest:  # else METHOD and NAME stand for any
      assert rest[1] in get(rest[0]).defaults, name
    else:
      assert name in kinds, name
  for name in set(re.findall(r"`((?:data|model|training|population|evaluation)\.\w+)", text)):
    assert name in kinds, name


def anchors(path: Path) -> set[str]:
  """Return the anchors that a code host gives to the headings of a page."""
  heads = re.findall(
    r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S), re.M
  )
  return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
  text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(), flags=re.M | re.S)
  links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
  assert links
  for link in links:
    if re.match(r"https?://", link):
      continue
    file, _, anchor = link.partition("#")
    target = PAGES[page].parent / file if file else PAGES[page]
    assert target.exists(), link
    if anchor:
      assert anchor in anchors(target), link


def test_the_readme_links_to_every_page():
  readme = PAGES["README.md"].read_text()
  for page, path in PAGES.items():
    assert page == "README.md" or f"({path.relative_to(ROOT)})" in readme, page


def test_the_documented_figures_command_writes_figures(workplace, tmp_path):
  run = Run.open(workplace / "checkpoints" / RUN_NAME)
  written = write_figures(study_of(run).report(run), tmp_path)
  assert {path.suffix for path in written} == {".pdf", ".png", ".svg"}
