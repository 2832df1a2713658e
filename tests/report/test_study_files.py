"""The files of a study's report: written whole, the same every time, readable without a network."""

import base64
import dataclasses
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support import manifests, report_cases
from support import study_cases as cases
from support.report_page import Page

from jaxmu import report
from jaxmu.errors import StoreError
from jaxmu.report import ulira
from jaxmu.report.writers import html as pages
from jaxmu.store import Run
from jaxmu.store.records import ExposedRecord

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
  made = cases.data(tmp_path_factory.mktemp("study"), (*cases.LIKE_CIFAR, "mine"))
  return pages.page(ulira.compose(made))


def write(run):
  return report.write(run.path, ulira.report(run))


def test_write_puts_four_files_into_the_run_and_returns_them(tmp_path):
  run = cases.save(tmp_path)
  paths = write(run)
  assert [p.name for p in paths] == ["report.md", "report.csv", "report.tex", "report.html"]
  assert all(p.parent == run.path and p.stat().st_size > 500 for p in paths)
  assert not list(run.path.glob(".*.*"))  # nothing under private names


def test_equal_runs_give_equal_bytes_and_others_do_not(tmp_path):
  runs = [cases.save(tmp_path / name) for name in ("a", "b")]
  other = cases.save(tmp_path / "c", changes={"ft": {"accuracy": (0.6, 0.59, 0.61)}})
  for one, same, changed in zip(*map(write, [*runs, other])):
    assert one.read_bytes() == same.read_bytes() != changed.read_bytes()


def test_a_reopened_run_gives_the_same_report(tmp_path):
  run = cases.save(tmp_path)
  before = [path.read_bytes() for path in write(run)]
  assert [path.read_bytes() for path in write(Run.open(run.path))] == before


def test_reporting_imports_no_accelerator(tmp_path):
  run = cases.save(tmp_path)
  code = (
    "import sys; from jaxmu import report; from jaxmu.report import ulira;"
    f"from jaxmu.store import Run; run = Run.open({str(run.path)!r});"
    "report.write(run.path, ulira.report(run));"
    "heavy = {'jax', 'jaxlib', 'flax', 'optax', 'orbax'} & set(sys.modules);"
    "sys.exit(f'imported {heavy}' if heavy else 0)"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_the_page_loads_nothing(html):
  page = Page(html)
  assert not page.named("script", "iframe", "object", "embed", "base")
  for tag, attributes in page.tags:
    assert not {"srcset", "onclick", "onload"} & set(attributes)
    for name in ("href", "xlink:href"):
      assert re.match(r"#|data:,$", attributes.get(name, "#"))
    assert tag == "img" or "src" not in attributes
  sources = [image["src"] for image in page.named("img")]
  assert sources and all(s.startswith("data:image/png;base64,") for s in sources)
  assert "@import" not in html and not re.search(r"url\((?!#)", html)
  spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
  assert set(re.findall(r"https?://[^\"\s<]*", html)) == spaces


def test_the_page_is_well_formed_and_its_links_lead_somewhere(html):
  page = Page(html)
  ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
  assert len(ids) == len(set(ids))
  targets = [a["href"][1:] for a in page.named("a")]
  assert len(targets) > 12 and set(targets) <= set(ids)
  assert "<title>study: U-LiRA study</title>" in html
  assert '<p class="kicker">U-LiRA study</p>' in html


def test_figures_tables_and_images_speak_to_a_screen_reader(html):
  page = Page(html)
  ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
  charts = [a for a in page.named("svg") if a.get("class") == "chart"]
  assert len(charts) == 3 + len(cases.LIKE_CIFAR) + 1
  for chart in charts:
    assert chart["role"] == "img" and set(chart["aria-labelledby"].split()) <= ids
  assert {a.get("scope") for a in page.named("th")} == {"col", "row"}
  assert len(page.named("table")) == len(page.named("caption")) == 13
  assert all(image["alt"].startswith("Sample ") for image in page.named("img"))


def test_every_drawing_is_well_formed_and_complete(html):
  drawings = re.findall(r"<svg xmlns.*?</svg>", html, re.S)
  assert len(drawings) > 10
  for drawing in drawings:
    assert ElementTree.fromstring(drawing).find("{*}title").text
    assert not re.search(r'="[^"]*\b(nan|inf)\b', drawing)


def test_text_from_outside_is_escaped_everywhere(tmp_path):
  evil = "<script>alert('x')</script>"
  methods = ("original", "retrained", evil)
  known = cases.manifest(methods)
  made = dataclasses.replace(
    known,
    command=evil,
    methods=known.methods | {evil: manifests.description(evil, summary=evil)},
    dataset=dataclasses.replace(known.dataset, class_names=(evil,) * 10),
  )
  config, timings = report_cases.config(evil), cases.timings((evil,))
  texts = cases.texts(cases.data(tmp_path, methods, manifest=made, config=config, timings=timings))
  assert "<script" not in texts["report.html"] and texts["report.html"].count("&lt;script") > 10
  assert "<script" not in texts["report.md"]
  Page(texts["report.html"])


@pytest.mark.parametrize(
  ("parts", "present"),
  [
    ({"exposed": None, "images": None}, "stored no thumbnails"),
    ({"timings": None}, "stored no timings"),
    ({"methods": ("original", "retrained")}, "None of the checks found anything"),
    ({"study": cases.study(splits=1, forgets=1, models=1)}, "Values of the one split"),
    ({"channels": 1}, "data:image/png"),
  ],
  ids=["no thumbnails", "no timings", "only references", "one split", "grey"],
)
def test_a_report_is_written_of_what_there_is(tmp_path, parts, present):
  made = cases.data(tmp_path, **parts)
  html = pages.page(ulira.compose(made))
  Page(html)
  assert present in html
  assert not re.search(r"\bnan\b", re.sub(r"<[^>]*>", "", html), re.IGNORECASE)


def test_absent_and_nan_statistics_are_dashes(tmp_path):
  nothing = (np.nan, np.nan, np.nan)
  gone = {key: nothing for key in ("rmia_auc", "klom_q95", "population", "model/accuracy_never")}
  absent = {"ft": gone, "ga": dict.fromkeys([*gone, "auc", "confirmed_worst"])}
  texts = cases.texts(cases.data(tmp_path, changes=absent))
  found = cases.tables(texts["report.md"])["Results"]
  cells = {name: list(row.values())[1:] for name, row in found.items()}
  assert [k for k, cell in enumerate(cells["FT"]) if cell == "–"] == [7, 8, 9, 10]
  assert [k for k, cell in enumerate(cells["GA"]) if cell == "–"] == [1, 6, 7, 8, 9, 10]
  Page(texts["report.html"])


def test_a_rate_that_was_asked_in_vain_is_not_resolvable_and_one_never_asked_is_a_dash(tmp_path):
  """Runs of before have no TPR at 10 % FPR."""
  changes = {"ft": {"tpr_at_0.1": (np.nan,) * 3}, "ga": {"tpr_at_0.1": None}}
  texts = cases.texts(cases.data(tmp_path, changes=changes))
  found = cases.tables(texts["report.md"])["Results"]
  column = {name: row["TPR at 10 % FPR"] for name, row in found.items()}
  assert (column["FT"], column["GA"]) == ("not resolvable", "–")
  assert column["Original"].startswith("▲ 0.")


def test_a_method_of_which_nothing_is_known_is_a_row_of_dashes(tmp_path):
  rows = cases.exposure(cases.SMALL, {})
  rows = [r | {"value": np.nan} if r["method"] == "ga" else r for r in rows]
  table = cases.samples(cases.SMALL, 40)
  table.loc[table["method"] == "ga", "accuracy"] = np.nan
  made = cases.data(tmp_path, exposure=rows, samples=table.to_dict("records"))
  texts = cases.texts(made)
  results = texts["report.md"].split("## Results")[1]
  line = next(x for x in results.splitlines() if x.startswith("| GA"))
  assert [cell.strip() for cell in line.split("|")[2:-1]] == ["–"] * 11 + ["64"]
  Page(texts["report.html"])


@pytest.mark.parametrize("name", ["exposure", "samples", "roc"])
@pytest.mark.parametrize("fault", ["absent", "changed", "torn", "column", "words"])
def test_a_bad_table_is_refused_in_one_line_and_keeps_the_old_report(tmp_path, name, fault):
  run = cases.save(tmp_path)
  before = write(run)[0].read_text()
  path = run.path / f"{name}.parquet"
  number = {"exposure": "value", "samples": "accuracy", "roc": "tpr"}[name]
  if fault == "absent":
    path.unlink()
  elif fault == "changed":
    path.write_bytes(path.read_bytes()[::-1])
  elif fault == "torn":
    report_cases.replace_result(run, path.name, b"PAR1 torn")
  else:
    table = pd.read_parquet(path)
    bad = table.drop(columns=number) if fault == "column" else table.assign(**{number: "x"})
    report_cases.replace_result(run, path.name, bad.to_parquet())
  other = "is not what this run wrote"
  wanted = {"absent": other, "changed": other, "column": f"has no column {number}"}
  with pytest.raises(
    StoreError, match=rf"{name}\.parquet .*{wanted.get(fault, 'is damaged')}"
  ) as e:
    write(run)
  assert "\n" not in str(e.value)
  assert (run.path / "report.md").read_text() == before


@pytest.mark.parametrize(
  ("parts", "message"),
  [
    ({"study": None}, r"study\.json is not what this run wrote"),
    ({"study": [1]}, r"study\.json is damaged \(it is a list, expected an object\)"),
    ({"study": {"attack": "normal"}}, r"\('attack' is text, expected an object\)"),
    (
      {"manifest": cases.manifest(("original", "retrained", "ga"))},
      r"exposure\.parquet has method 'ft', which manifest\.json beside it does not describe",
    ),
    ({"timings": cases.timings(("mine",))}, r"timings\.json has method 'mine', which manifest"),
    ({"timings": []}, r"timings\.json is damaged \(it is a list, expected an object\)"),
    (
      {"timings": {"ft": {"models": 0.5}}},
      r"\('ft\.models' is a number, expected a whole number\)",
    ),
    ({"images": None}, r"exposed\.npy is not what this run wrote"),
    ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, r"uint8 \(2, 8, 8, 3\) does not fit"),
    ({"exposed": {"samples": [1]}}, r"exposed\.json is damaged \('labels' is missing\)"),
    ({"exposed": {"samples": ["1"]}}, r"\('samples\.0' is text, expected a whole number\)"),
  ],
)
def test_bad_files_beside_the_tables_are_refused(tmp_path, parts, message):
  with pytest.raises(StoreError, match=message):
    cases.data(tmp_path, **parts)


def test_images_of_another_type_are_refused(tmp_path):
  named, images = cases.exposed(cases.samples(cases.SMALL, 60), 3)
  with pytest.raises(StoreError, match=r"float32 .* does not fit"):
    cases.data(tmp_path, exposed=named, images=images.astype(np.float32))


def test_a_statistic_that_stands_twice_is_refused(tmp_path):
  rows = cases.exposure(cases.SMALL, {})
  with pytest.raises(StoreError, match="original, forgotten, accuracy stands there twice"):
    cases.data(tmp_path, exposure=[*rows, rows[0]])


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_the_stored_pixels(tmp_path, channels):
  run = cases.save(tmp_path, channels=channels)
  named, images = run.record(ExposedRecord, "exposed.json"), run.array("exposed")
  page = Page(write(run)[3].read_text())
  shown = page.named("img")
  assert len(shown) >= len(images)
  for image in shown:
    sample = int(re.match(r"Sample (\d+),", image["alt"]).group(1))
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))))
    wanted = images[named.samples.index(sample)]
    np.testing.assert_array_equal(pixels.reshape(wanted.shape), wanted)


def test_figures_are_written_for_papers(tmp_path):
  made = ulira.report(cases.save(tmp_path))
  paths = report.write_figures(made, tmp_path / "figures")
  names = {path.stem for path in paths}
  assert names == {"accuracy", "roc", "retained", *(f"samples-{name}" for name in cases.SMALL)}
  assert {path.suffix for path in paths} == {".pdf", ".png", ".svg"}
