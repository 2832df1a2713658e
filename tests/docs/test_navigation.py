"""The site: its navigation has every page, its reference names what exists, and it builds.

All but the last tests need no MkDocs.
"""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

import jaxmu

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = {str(path.relative_to(DOCS)): path for path in DOCS.rglob("*.md")}
NOTEBOOKS = [f"notebooks/{path.stem}.md" for path in (DOCS / "notebooks").glob("*.ipynb")]
REFERENCE = {name: path for name, path in PAGES.items() if name.startswith("api/")}
TOOLS = ("mkdocs", "material", "mkdocstrings", "latex2mathml")


def beside() -> dict[str, str]:
  """Return the pages that lie beside docs/, as docs/hooks.py has them: path -> place."""
  tree = ast.parse((DOCS / "hooks.py").read_text())
  (value,) = [
    node.value
    for node in tree.body
    if isinstance(node, ast.Assign) and node.targets[0].id == "BESIDE"
  ]
  return ast.literal_eval(value)


def entries(nav) -> list[str]:
  """Return the pages of a navigation in order."""
  if isinstance(nav, str):
    return [nav]
  children = nav if isinstance(nav, list) else nav.values()
  return [page for child in children for page in entries(child)]


def directives(page: str) -> list[tuple[str, dict]]:
  """Return (name, options) of everything that mkdocstrings is asked for on a page."""
  found = re.findall(r"^::: (\S+)\n((?:    .*\n)*)", PAGES[page].read_text(), re.M)
  return [(name, (yaml.safe_load(text) or {}).get("options", {})) for name, text in found]


def named(name: str):
  """Return what a dotted name means."""
  module, _, attribute = name.rpartition(".")
  return getattr(importlib.import_module(module), attribute)


def test_the_navigation_has_every_page_once_and_nothing_else():
  assert all((ROOT / path).is_file() for path in beside())
  assert Counter(entries(SITE["nav"])) == Counter([*PAGES, *beside().values(), *NOTEBOOKS])


def test_pages_have_no_navigation_of_their_own():
  for name, path in PAGES.items():
    title, _, rest = path.read_text().partition("\n")
    assert title.startswith("# "), name
    assert not rest.lstrip().startswith("[README]"), name


@pytest.mark.parametrize("page", REFERENCE)
def test_links_of_the_reference_lead_to_files(page):
  for link in re.findall(r"\]\(([^)#]+)", PAGES[page].read_text()):
    assert (PAGES[page].parent / link).is_file(), link


@pytest.mark.parametrize("page", REFERENCE)
def test_the_reference_names_what_exists(page):
  found = directives(page)
  assert found
  for name, options in found:
    value = named(name)
    assert value.__doc__, name
    for member in options.get("members", []):
      assert hasattr(value, member), (name, member)
    if "heading" in options:  # where a reader imports it from
      assert named(options["heading"]) is value


def test_the_reference_has_every_public_name():
  shown = [named(name) for page in REFERENCE for name, _ in directives(page)]
  rooms = {"audit": ("Audit", "StudyAudit", "audit", "audit_scores")}
  rooms["models"] = ("build", "make", "from_torch", "to_torch")
  rooms["errors"] = [
    name
    for name, value in vars(jaxmu.errors).items()
    if isinstance(value, type) and issubclass(value, (BaseException, Warning))
  ]
  for name in set(jaxmu.__all__) - {"__version__"}:
    inside = [getattr(getattr(jaxmu, name), each) for each in rooms.get(name, ())]
    for value in inside or [getattr(jaxmu, name)]:
      assert any(value is each for each in shown), value


@pytest.mark.parametrize("page", [*PAGES, *beside()])
def test_lists_begin_where_both_readers_of_markdown_see_them(page):
  """A code host lets a list begin within a paragraph; the site takes any number for one there."""
  path = PAGES.get(page, ROOT / page)
  text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
  item = re.compile(r" *(?:[-*]|\d+\.) ")
  before = ""
  for line in text.splitlines():
    if item.match(line):
      top = not line.startswith(" ")
      assert not before or (top and (item.match(before) or before.startswith("  "))), line
    before = line


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  if absent := [name for name in TOOLS if importlib.util.find_spec(name) is None]:
    pytest.skip(f"not installed: {', '.join(absent)}")
  folder = tmp_path_factory.mktemp("site")
  words = ("-m", "mkdocs", "build", "--strict", "--site-dir", folder)
  done = subprocess.run(
    [sys.executable, *words],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
  )
  assert done.returncode == 0, done.stderr
  assert "WARNING" not in done.stderr
  return folder


def article(page: Path) -> str:
  return page.read_text().split("<article")[1].split("</article>")[0]


def test_every_page_is_built_whole(site):
  for page in entries(SITE["nav"]):
    text = re.sub(
      r"<(pre|code)\b.*?</\1>", "", article(site / page.replace(".md", ".html")), flags=re.S
    )
    text = re.sub(r"<[^>]+>", "", text)
    assert not re.search(r"^\s*\||\|---|```|\]\(|&gt;&gt;&gt;|^:::", text, re.M), page


def test_nothing_is_loaded_from_elsewhere(site):
  for page in site.rglob("*.html"):
    loaded = r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://[^\"]+"
    assert re.findall(loaded, page.read_text()) == []


def test_formulas_pictures_and_files_are_shown(site):
  formulas = (DOCS / "evaluation.md").read_text().count("```math")
  assert article(site / "evaluation.html").count("<math") == formulas > 0
  assert '<pre class="mermaid">' in article(site / "architecture.html")
  assert "def get_config" in re.sub(
    r"<[^>]+>", "", article(site / "files" / "configs" / "cnn_digits.py.html")
  )
  assert "files/configs/cnn_digits.py.html" in article(site / "first_steps.html")


def test_notebooks_are_shown_and_linked(site):
  for page in NOTEBOOKS:
    place = page.replace(".md", ".html")
    assert f'href="{place}"' in article(site / "index.html")
    assert "import jaxmu" in re.sub(r"<[^>]+>", "", article(site / place))


def test_the_reference_shows_docstrings(site):
  text = re.sub(r"<[^>]+>", "", article(site / "api" / "unlearning.html"))
  assert "Remove the influence of the forget set" in text
  assert re.search(r"forget\s+Any\s+\(x \[n, \.\.\.\]; y int", text)
