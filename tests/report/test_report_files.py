"""The files of a report: written whole, the same every time, readable without a network."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from support import manifests
from support import report_cases as cases
from support.report_page import Page

from jaxmu import report
from jaxmu.errors import StoreError
from jaxmu.report import benchmark
from jaxmu.report.writers import html
from jaxmu.store import Run, files

ROOT = Path(__file__).parents[2]
SMALL = ("original", "retrained", "ft", "ga")


@pytest.fixture(scope="module")
def texts():
  return cases.texts(cases.data(table=cases.fail(cases.rows(), "ct", [3, 7])))


def write(run):
  return report.write(run.path, benchmark.report(run))


def page(made):
  return html.page(benchmark.compose(made))


def test_write_puts_four_files_into_the_run_and_returns_them(tmp_path):
  run = cases.save(tmp_path, cases.data(SMALL))
  paths = write(run)
  assert [p.name for p in paths] == ["report.md", "report.csv", "report.tex", "report.html"]
  assert all(p.parent == run.path and p.stat().st_size > 500 for p in paths)
  assert not list(run.path.glob(".*.*"))  # nothing under private names


def test_equal_runs_give_equal_bytes(tmp_path):
  runs = [cases.save(tmp_path / name, cases.data(SMALL, range(3))) for name in ("a", "b")]
  for one, other in zip(*map(write, runs)):
    assert one.read_bytes() == other.read_bytes()


def test_a_reopened_run_gives_the_same_report_as_the_data_it_was_made_of(tmp_path):
  made = cases.data(SMALL, range(3))
  paths = write(Run.open(cases.save(tmp_path, made).path))
  assert paths[0].read_text() == cases.markdown(made)


def test_rows_of_another_run_are_refused(tmp_path):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  with run.writing_results():
    run.write_rows(cases.rows(("original", "retrained", "msg"), range(2)).to_dict("records"))
  with pytest.raises(StoreError, match=r"rows\.parquet has method 'msg', which manifest\.json"):
    write(run)


@pytest.mark.parametrize(
  ("part", "found"),
  [
    (("data",), "'data' is missing"),
    (("model", "name"), "'model.name' is missing"),
    (("evaluation", "bootstrap"), "'evaluation.bootstrap' is missing"),
  ],
)
def test_a_config_without_what_the_report_says_of_it_is_one_line(tmp_path, part, found):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  stored = files.read_sealed(run.path / "config.json")
  entry = stored["config"]
  for key in part[:-1]:
    entry = entry[key]
  del entry[part[-1]]
  files.write_sealed(run.path / "config.json", stored)
  listed = files.read_sealed(run.path / "results.json")
  files.write_sealed(run.path / "results.json", listed | files.digests(run.path))
  with pytest.raises(StoreError, match=rf"config\.json is damaged \({found}\)") as error:
    write(Run.open(run.path))
  assert "\n" not in str(error.value)


def test_a_run_without_results_is_refused_in_one_line(tmp_path):
  run = Run.create(tmp_path, "empty", "0" * 8, {}, manifests.manifest())
  with pytest.raises(StoreError, match=r"empty-00000000 has no results yet; run the same command"):
    write(run)
  assert not list(run.path.glob("report.*"))


def test_reporting_imports_no_accelerator_and_draws_only_for_a_page(tmp_path):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  code = (
    "import sys; from jaxmu import report; from jaxmu.report import benchmark;"
    "from jaxmu.report.writers import latex, markdown; from jaxmu.store import Run;"
    f"run = Run.open({str(run.path)!r}); made = benchmark.report(run);"
    "markdown.document(made), latex.document(made);"
    "drawn = 'matplotlib' in sys.modules;"
    "report.write(run.path, made);"
    "heavy = {'jax', 'jaxlib', 'flax', 'optax', 'orbax'} & set(sys.modules);"
    "sys.exit(f'imported {heavy}, charts without need: {drawn}' if heavy or drawn else 0)"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_the_page_loads_nothing(texts):
  html = texts["report.html"]
  page = Page(html)
  assert len(html) < 1_500_000
  assert not page.named("script", "iframe", "img", "object", "embed", "base")
  for attributes in (attributes for _, attributes in page.tags):
    assert not {"src", "srcset", "onclick", "onload"} & set(attributes)
    for name in ("href", "xlink:href"):
      assert re.match(r"#|data:,$", attributes.get(name, "#"))
  assert "@import" not in html and not re.search(r"url\((?!#)", html)
  spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
  assert set(re.findall(r"https?://[^\"\s<]*", html)) == spaces


def test_the_page_is_well_formed_and_its_links_lead_somewhere(texts):
  page = Page(texts["report.html"])
  ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
  assert len(ids) == len(set(ids))
  targets = [a["href"][1:] for a in page.named("a")]
  assert len(targets) > 10 and set(targets) <= set(ids)


def test_figures_and_tables_speak_to_a_screen_reader(texts):
  page = Page(texts["report.html"])
  ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
  charts = [a for a in page.named("svg") if a.get("class") == "chart"]
  assert len(charts) >= 10
  for chart in charts:
    assert chart["role"] == "img" and set(chart["aria-labelledby"].split()) <= ids
  assert all(
    a.get("aria-hidden") == "true" for a in page.named("svg") if a.get("class") == "swatch"
  )
  assert {a.get("scope") for a in page.named("th")} == {"col", "row"}
  assert len(page.named("table")) == len(page.named("caption")) == 7
  scrolls = [a for a in page.named("div") if "scroll" in a.get("class", "").split()]
  assert len(scrolls) == 7 and all(a["tabindex"] == "0" and a["aria-label"] for a in scrolls)


def test_text_from_outside_is_escaped_everywhere():
  evil = "<script>alert('x')</script>"
  made = cases.data(("original", "retrained", "ft", evil), range(2), table=_with_method(evil))
  described = made.manifest.methods | {evil: manifests.description(evil, summary=evil)}
  manifest = manifests.manifest(command=evil, methods=described)
  made = cases.replace(made, config=cases.config(evil), manifest=manifest)
  html = page(made)
  assert "<script" not in html and html.count("&lt;script&gt;") > 5


def _with_method(name):
  table = cases.rows(("original", "retrained", "ft"), range(2))
  extra = table[table["method"] == "ft"].assign(method=name)
  return cases.concat(table, extra)


@pytest.mark.parametrize(
  ("changes", "present", "absent"),
  [
    ({"seeds": [4]}, ["Values of the one seed", "Few seeds"], [" ± 0", "<small>["]),
    ({"curves": cases.curves((), ())}, ["no training curves"], ["fig-training-loss"]),
    ({"timings": {}}, ["stored no timings"], ["Clocks of whole stages"]),
    (
      {"methods": ("original", "retrained")},
      ["fig-deviation-indiscernibility", "Only reference models were trained"],
      ["fig-deviation-speed", "<h3>Unlearning</h3>"],
    ),
  ],
  ids=["one seed", "no curves", "no timings", "only references"],
)
def test_a_report_is_written_of_what_there_is(changes, present, absent):
  changes = dict(changes)
  methods, seeds = changes.pop("methods", SMALL), changes.pop("seeds", range(3))
  made = cases.replace(cases.data(methods, seeds), **changes)
  html = page(made)
  Page(html)
  body = html[html.index("<main>") :]
  assert all(words in body for words in present), [w for w in present if w not in body]
  assert not any(words in body for words in absent), [w for w in absent if w in body]
  assert not re.search(r"\bnan\b", re.sub(r"<[^>]*>", "", body), re.IGNORECASE)


def test_a_method_without_a_finite_member_is_a_row_of_dashes():
  made = cases.data(SMALL, range(3), table=cases.fail(cases.rows(SMALL, range(3)), "ga", range(3)))
  texts = cases.texts(made)
  results = texts["report.md"].split("## Results")[1]
  line = next(x for x in results.splitlines() if x.startswith("| GA"))
  assert [cell.strip() for cell in line.split("|")[1:-1]] == ["GA", *["–"] * 8, "0/3"]
  assert "Without a finite member: GA." in texts["report.html"]
  Page(texts["report.html"])


def test_figures_are_written_for_papers(tmp_path):
  made = benchmark.report(cases.save(tmp_path, cases.data(SMALL, range(3))))
  paths = report.write_figures(made, tmp_path / "figures")
  names = {path.stem for path in paths}
  wanted = {
    "deviation-indiscernibility",
    "membership",
    "seeds-fa",
    "training-loss",
    "forget-attack",
  }
  assert wanted | {"order-retdev"} <= names
  assert {path.suffix for path in paths} == {".pdf", ".png", ".svg"}
  for path in paths:
    if path.suffix == ".svg":
      assert ElementTree.fromstring(path.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
    else:
      assert path.read_bytes()[:4] in (b"%PDF", b"\x89PNG")


def test_the_script_writes_a_report_again(tmp_path, script):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  code, out, _ = script(run.path, "--figures", tmp_path / "figures")
  assert code == 0 and out.splitlines()[0] == str(run.path / "report.md")
  assert (run.path / "report.html").exists() and (tmp_path / "figures/membership.pdf").exists()


def test_the_script_refuses_what_is_no_run_in_one_line(tmp_path, script):
  code, out, error = script(tmp_path)
  assert (code, out) == (2, "")
  assert error == f"error: {tmp_path} is not a run directory (it has no config.json)\n"


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("[]", "it is a list, expected an object"),
    ('{"ft": 3}', "'ft' is a whole number, expected an object"),
    ('{"ft": {"wall_s": "1"}}', "'ft.wall_s' is text, expected a number"),
  ],
)
def test_timings_of_another_form_are_one_line(tmp_path, content, message):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  cases.replace_result(run, "timings.json", content.encode())
  with pytest.raises(StoreError, match=rf"timings\.json is damaged \({message}\); delete it"):
    write(run)


@pytest.mark.parametrize("name", ["rows.parquet", "curves.parquet", "timings.json"])
@pytest.mark.parametrize("damage", ["torn", "lost"])
def test_the_script_refuses_damaged_results_and_keeps_the_old_report(
  tmp_path, script, name, damage
):
  run = cases.save(tmp_path, cases.data(SMALL, range(2)))
  before, path = write(run)[0].read_text(), run.path / name
  path.write_bytes(path.read_bytes()[:-9]) if damage == "torn" else path.unlink()
  code, _, error = script(run.path)
  assert code == 2 and error.count("\n") == 1
  assert error.startswith(f"error: {path} is not what this run wrote; run the same command again")
  assert (run.path / "report.md").read_text() == before
