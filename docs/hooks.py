"""What MkDocs does not do by itself: pages and links from outside docs/, formulas, anchors.

The Markdown files are written for a code host, where links are paths in the repository. In the
site, README.md is the first page, CONTRIBUTING.md and CHANGELOG.md are pages, so are notebooks, and
every other file that a page links to (a config, a module) becomes a page with its text. So nothing
depends on where the repository lies, and every link leads into the site.
"""

import json
import posixpath
import re
from pathlib import Path

import latex2mathml.converter
from mkdocs.structure.files import File
from pymdownx.slugs import slugify
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).parents[1]
# Pages that lie beside docs/: repository path -> path in the site.
BESIDE = {
  "README.md": "index.md",
  "CONTRIBUTING.md": "contributing.md",
  "CHANGELOG.md": "changelog.md",
}
FILES = "files"  # folder of the pages that show a file
FENCE = re.compile(r"^(```.*?^```$)", re.M | re.S)
LINK = re.compile(r'(?P<before>\]\(|(?:src|href)=")(?P<target>[^)"\s]+)')
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash"}


def on_config(config):
  """Set what a YAML file cannot say: functions."""
  options = config.mdx_configs
  # As a code host makes anchors, so that a link to a heading is valid in both places.
  options.setdefault("toc", {})["slugify"] = slugify(case="lower")
  options.setdefault("pymdownx.superfences", {})["custom_fences"] = [
    {"name": "mermaid", "class": "mermaid", "format": fence_code_format},
    {"name": "math", "class": "math", "format": formulas},
  ]
  return config


def on_files(files, *, config):
  """Add the pages that lie beside docs/, notebooks, and the files that pages link to."""
  for path, uri in BESIDE.items():
    files.append(File.generated(config, uri, content=(ROOT / path).read_text()))
  for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
    uri = _site_path(f"docs/notebooks/{path.name}")
    files.append(File.generated(config, uri, content=notebook(path)))
  pages = {_repository_path(file.src_uri): file.content_string for file in files if _written(file)}
  for path in sorted({path for page, text in pages.items() for path in _shown(page, text)}):
    files.append(File.generated(config, _site_path(path), content=_listing(path)))
  return files


def on_page_markdown(markdown, *, page, config, files):
  """Have links lead to where their targets are in the site."""
  uri = page.file.src_uri
  if not _written(page.file):
    return markdown

  def moved(found):
    path, anchor = _target(_repository_path(uri), found["target"])
    if path is None:
      return found[0]
    relative = posixpath.relpath(_site_path(path), posixpath.dirname(uri) or ".")
    return f"{found['before']}{relative}{anchor}"

  parts = FENCE.split(markdown)
  parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
  return "".join(parts)


def notebook(path: Path) -> str:
  """Return the cells of a notebook as a page; it is stored without outputs."""
  cells = json.loads(path.read_text())["cells"]
  texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
  shown = [f"```python\n{text}\n```" if kind == "code" else text for text, kind in texts]
  shown.insert(1, f"To be run: `docs/notebooks/{path.name}`.")
  return "\n\n".join(shown) + "\n"


def formulas(source, language, css_class, options, md, **kwargs):
  """Write a block of LaTeX as MathML, one formula a line: browsers show it without a script."""
  lines = [line.removesuffix(r"\\") for line in source.splitlines() if line.strip()]
  shown = [latex2mathml.converter.convert(line, display="block") for line in lines]
  return f'<div class="{css_class}">{"".join(shown)}</div>'


def _written(file) -> bool:
  """Tell whether a file is a page that people wrote."""
  return file.is_documentation_page() and not file.src_uri.startswith(f"{FILES}/")


def _repository_path(uri: str) -> str:
  beside = {site: path for path, site in BESIDE.items()}
  return beside.get(uri, f"docs/{uri}")


def _site_path(path: str) -> str:
  if path in BESIDE:
    return BESIDE[path]
  if path.startswith("docs/"):
    return re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))
  return f"{FILES}/{path}.md"


def _target(page: str, link: str) -> tuple[str | None, str]:
  """Return the repository path that a link of a page means (None: it stays), and its anchor."""
  if re.match(r"[a-z]+:|#", link):
    return None, ""
  path, mark, anchor = link.partition("#")
  return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)), mark + anchor


def _shown(page: str, text: str) -> set[str]:
  """Return the files outside docs/ that a page links to, and that are no pages themselves."""
  links = [found["target"] for found in LINK.finditer("".join(FENCE.split(text)[::2]))]
  paths = {path for path, _ in (_target(page, link) for link in links) if path}
  return {p for p in paths - BESIDE.keys() if not p.startswith("docs/") and (ROOT / p).is_file()}


def _listing(path: str) -> str:
  language = LANGUAGES.get(Path(path).suffix, "text")
  return f"# {path}\n\n````{language}\n{(ROOT / path).read_text().rstrip()}\n````\n"
