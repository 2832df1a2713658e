"""Numbers of a study's report are those of its tables, in every file."""

import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from support import study_cases as cases

from jaxmu.audit.attacks.exposure import STATISTICS
from jaxmu.audit.study import judgement
from jaxmu.audit.study.study_statistics import FURTHER, METRICS, RETAIN_SIDE
from jaxmu.audit.text import amount, duration
from jaxmu.report import facts
from jaxmu.report.ulira import gallery, making, ulira_data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  failed = cases.study(failed={"ga": 3})
  return cases.save(tmp_path_factory.mktemp("study"), tuple(cases.LIKE_CIFAR), study=failed)


@pytest.fixture(scope="module")
def made(run):
  return ulira_data.from_run(run)


@pytest.fixture(scope="module")
def texts(made):
  return cases.texts(made)


def value(run, method, statistic, question="forgotten"):
  table = run.table("exposure").set_index(["method", "question", "statistic"])
  return table.loc[(method, question, statistic)]


def shown(entry, digits):
  if math.isnan(entry["value"]):
    return "–"
  low, high = (f"{entry[k]:.{digits}f}".replace("-", "−") for k in ("low", "high"))
  return f"{entry['value']:.{digits}f}".replace("-", "−") + f" [{low}, {high}]"


def test_every_statistic_of_the_attack_has_a_place():
  known = {m.name for m in (*METRICS, *FURTHER)}
  assert set(STATISTICS) <= known
  assert {"confirmed_worst", "rmia_auc", "population", "klom_q95", "accuracy_never"} <= known


@pytest.mark.parametrize("method", ["original", "retrained", "ft", "srl"])
def test_the_main_table_holds_values_and_intervals(run, texts, method):
  label = {"original": "Original", "retrained": "Retrained", "ft": "FT", "srl": "SRL"}[method]
  line = cases.tables(texts["report.md"])["Results"][label]
  row = re.search(rf'<tr id="main-{method}">.*?</tr>', texts["report.html"], re.S).group()
  cells = [re.sub(r"<[^>]*>", " ", c) for c in re.findall(r"<td.*?</td>", row, re.S)]
  tex = next(x for x in texts["report.tex"].splitlines() if x.startswith(f"{label} &"))
  for metric, cell, written in zip(METRICS, cells, tex.split(" & ")[1:]):
    entry = value(run, method, metric.name, metric.question)
    wanted = shown(entry, metric.digits)
    assert line[metric.label].removeprefix("▲ ") == wanted
    assert " ".join(cell.split()).removeprefix("▲ ") == wanted
    main = wanted.split(" ")[0].replace("–", "--")
    assert written.replace(r"\,$\uparrow$", "") == main


def test_marks_stand_where_the_interval_is_above_and_nowhere_else(made, texts):
  found = cases.tables(texts["report.md"])["Results"]
  html = texts["report.html"]
  count = 0
  for method, label in (("ct", "CT"), ("msg", "MSG"), ("retrained", "Retrained")):
    for metric in METRICS:
      raised = judgement.raised(made, method, metric)
      assert found[label][metric.label].startswith("▲") is raised
      count += raised
    row = re.search(rf'<tr id="main-{method}">.*?</tr>', html, re.S).group()
    assert row.count("▲") == sum(judgement.raised(made, method, m) for m in METRICS)
  assert count == 1 + 8  # CT: worst 1 %; MSG: all but population, KLOM and accuracy


def test_references_come_first_then_the_least_exposed(texts):
  order = list(cases.tables(texts["report.md"])["Results"])
  assert order == ["Retrained", "Original", "CT", "MSG", "CFW", "GA", "FT", "SRL"]


def test_diverged_models_are_counted_in_the_last_column(texts):
  found = cases.tables(texts["report.md"])["Results"]
  assert [found[name]["n"] for name in ("GA", "FT", "Original")] == ["61/64", "64", "16"]


def test_the_retained_samples_have_their_own_table(run, texts):
  found = cases.tables(texts["report.md"])["Samples that stay"]
  for metric in RETAIN_SIDE:
    wanted = shown(value(run, "cfw", metric.name, "retained"), metric.digits)
    assert found["CFW"][metric.label] == wanted
    assert wanted.split(" ")[0] in texts["report.html"]
  assert found["Original"]["Net"] == "–"
  upper = cases.tables(texts["report.md"])["All training samples, before unlearning"]
  assert list(upper) == ["Original"]
  assert upper["Original"]["Accuracy"] == shown(value(run, "original", "accuracy", "trained"), 3)


def test_the_csv_is_tidy_and_exact(run, made, texts):
  tidy = pd.read_csv(io.StringIO(texts["report.csv"]))
  keys = ["method", "question", "statistic"]
  assert list(tidy.columns) == [*keys, "value", "low", "high"]
  assert not tidy.duplicated(keys).any()
  stored = run.table("exposure").set_index(keys).sort_index()
  derived = tidy["statistic"].isin(["score_gap", "share_below"])
  pd.testing.assert_frame_equal(tidy[~derived].set_index(keys).sort_index(), stored)
  gap = tidy[(tidy["method"] == "srl") & (tidy["statistic"] == "score_gap")]["value"].item()
  rows = made.samples["srl"].dropna(subset="accuracy")
  assert gap == pytest.approx((rows["score_forgotten"] - rows["score_never"]).mean())


def test_the_latex_table_has_one_cell_per_column(texts):
  tex = texts["report.tex"]
  table = tex[tex.index(r"\begin{tabular}") : tex.index(r"\end{tabular}")]
  spec = re.search(r"\\begin\{tabular\}\{(\w+)\}", table).group(1)
  rows = [line for line in table.splitlines() if line.endswith(r"\\")]
  assert spec == "l" + "r" * (len(METRICS) + 1) and len(rows) == 1 + len(cases.LIKE_CIFAR)
  assert all(len(re.findall(r"(?<!\\)&", row)) == len(spec) - 1 for row in rows)
  assert tex.isascii() and not re.search(r"(?<!\\)%(?!$)", tex.split("\n", 1)[1], re.M)


def test_markdown_tables_keep_their_columns(texts):
  blocks = [b for b in texts["report.md"].split("\n\n") if b.startswith("|")]
  assert len(blocks) == 13
  for block in blocks:
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_the_direction_counts_exposed_samples_below(made):
  table = made.samples["ft"].dropna(subset="accuracy")
  gap = table["score_forgotten"] - table["score_never"]
  hit = table["accuracy"] > 0.6
  found = judgement.direction(made, "ft")
  assert found == (pytest.approx(gap.mean()), hit.sum(), pytest.approx((gap[hit] < 0).mean()))
  assert judgement.direction(made, "unheard").exposed == 0
  assert math.isnan(judgement.direction(made, "unheard").below)


def test_costs_add_up_and_compare_with_retraining(made, texts):
  table = making.costs(made)
  head = [column.label for column in table.columns]
  rows = {row.label: dict(zip(head, (cell.main for cell in row.cells))) for row in table.rows}
  assert rows["FT"]["RTE"] == "12.1"  # 3.74e6 / 3.1e5
  assert rows["Retrained"]["RTE"] == "1.00" and rows["Original"]["RTE"] == "–"
  assert rows["FT"]["work per model"] == "310 k" and rows["GA"]["work per model"] == "12.0 k"
  hours = sum(cost.wall_s for cost in made.timings.values()) / 3600
  assert rows["All"]["wall clock"] == f"{hours:.2f} h"
  assert rows["All"]["models"] == f"{cases.SPLITS + 7 * 64}"
  for row in rows.values():
    assert all(cell in texts["report.html"] for cell in row.values())


@pytest.mark.parametrize(
  ("seconds", "words"),
  [(3.21, "3.2 s"), (150, "2.5 min"), (7200, "2.00 h"), (math.nan, "–")],
)
def test_times_have_a_fitting_unit(seconds, words):
  assert duration(seconds) == words


@pytest.mark.parametrize(
  ("value", "words"), [(812, "812"), (27846, "27.8 k"), (1.25e6, "1.25 M"), (3e13, "30.0 T")]
)
def test_counts_have_three_digits(value, words):
  assert amount(value) == words


def test_the_making_is_told_in_words(made, texts):
  for words in (
    "16 random splits of a pool of 47,500 samples into 23,750 to train on and 23,750 never seen",
    "4 forget sets per split of 2,375 trained samples each: 64 models per method",
    "16 trained, each shared by the forget sets of its split",
    "forgotten by 3.2 models on average (1 to 8), never seen by 32.0 models on average (12 to 52)",
    "one variance per role for all samples",
    "paired: for each attacked model",
    "3 diverged models of GA",
  ):
    assert words in dict(making.making(made).items).values() or words in texts["report.md"]
    assert words in texts["report.html"]


def test_pictures_are_the_most_exposed_of_each_method(made, texts):
  found = gallery.exposed(made)
  for method, pictures in found.items():
    table = made.samples[method].query("exposed >= 0").sort_values("exposed")
    wanted = table["confirmed"].to_numpy()[: len(pictures)]  # not the accuracy that chose them
    assert len(pictures) >= 5
    np.testing.assert_array_equal([p.accuracy for p in pictures], wanted)
    listed = texts["report.html"].split(f'Pictures of {made.label(method)}"')
    assert f"<b>{wanted[0]:.2f}</b>" in listed[1].split("</ul>")[0]


def test_true_labels_stand_only_where_they_were_randomised(made, texts):
  exposed = made.exposed
  for picture in (p for found in gallery.exposed(made).values() for p in found):
    k = exposed.samples.index(picture.sample)
    assert picture.label == f"class {exposed.labels[k]}"
    changed = exposed.labels[k] != exposed.original_labels[k]
    assert picture.true_label == (f"class {exposed.original_labels[k]}" if changed else "")
  assert '<span class="random">truly class ' in texts["report.html"]


def test_a_list_of_pictures_ends_before_the_first_without_an_image(tmp_path):
  table = cases.samples(cases.SMALL, 60)
  ranked = table[table["method"] == "ft"].sort_values("accuracy", ascending=False, kind="stable")
  kept = ranked["sample"].to_list()
  chosen = [kept[0], kept[1], kept[3]]
  named = {"samples": chosen, "labels": [1, 2, 3], "original_labels": [1, 2, 3]}
  images = np.zeros((3, 4, 4, 1), np.uint8)
  found = gallery.exposed(cases.data(tmp_path, exposed=named, images=images))
  assert [p.sample for p in found["ft"]] == kept[:2]


def test_class_names_are_used_where_the_manifest_has_them(tmp_path):
  known = cases.manifest()
  named = dataclasses.replace(known.dataset, class_names=tuple("abcdefghij"))
  made = cases.data(tmp_path, manifest=dataclasses.replace(known, dataset=named))
  assert [facts.class_name(made, k) for k in (0, 9, 10)] == ["a", "j", "class 10"]


def test_a_class_that_is_named_by_its_number_is_still_called_a_class(tmp_path):
  known = cases.manifest()
  numbered = dataclasses.replace(known.dataset, class_names=tuple("0123456789"))
  made = cases.data(tmp_path, manifest=dataclasses.replace(known, dataset=numbered))
  assert facts.class_name(made, 3) == "class 3"
