"""Figures hold the data they are given, look alike everywhere, and lose nothing."""

import io
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from support import manifests
from support import report_cases as cases

from jaxmu import report
from jaxmu.audit import breakdown
from jaxmu.audit.results import Cell
from jaxmu.audit.rules import Caution
from jaxmu.report import benchmark, figures, marks
from jaxmu.report.benchmark import benchmark_figures, benchmark_traces
from jaxmu.report.charts import planes, rendering, rows, theme
from jaxmu.report.charts.plots import Axis, Curve, Grid, Lines, Plane, Spread

SMALL = ("original", "retrained", "ft")


def described(*names):
  return manifests.manifest(names).methods


def looks(*names):
  return marks.assign(described(*names))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [5.0], [3.0, 3.0], [math.nan, math.inf, 7.0], [0.0, 1.0]])
def test_a_span_holds_its_finite_values_with_a_margin(values, log):
  low, high = theme.span(values, log)
  kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
  assert low < high and all(low < v < high for v in kept)


@pytest.mark.parametrize("span", [(0.3, 400), (1, 14), (0.9, 1.1), (1e-5, 1e5), (2.0, 2.01)])
def test_log_ticks_are_few_and_inside(span):
  sheet = theme.Sheet(theme.PAGE, {}, 100)
  ax = sheet.axes(10, 10, 10, 10)
  theme.scale(ax, "x", Axis("", log=True), span)
  sheet.figure.canvas.draw()
  shown = [v for v in ax.get_xticks() if span[0] <= v <= span[1]]
  assert 2 <= len(shown) <= 11


def test_colours_are_all_different_and_the_page_knows_them():
  assert len(set(theme.COLOURS.values())) == len(theme.COLOURS)
  style = rendering.inline(some_plane(), looks(*SMALL))
  assert not re.search(r"#[0-9a-f]{6}", style)  # every colour is one of the page's
  assert "var(--ink)" in style and "var(--blue)" in style


def some_plane(**points):
  points = points or {"retrained": (0.0, 1.0), "ft": (0.2, 0.9)}
  cells = {n: tuple(Cell(3, v, low=v - 0.05, high=v + 0.05) for v in p) for n, p in points.items()}
  hints = {n: f"{n} <says> & more" for n in points}
  return Plane("plane", "A title", "In words.", Axis("x"), Axis("y"), cells, hints, "retrained")


def test_a_drawing_names_itself_and_says_hints_when_pointed_at():
  text = rendering.inline(some_plane(), looks(*SMALL))
  root = ElementTree.fromstring(text)
  assert root.find("{*}title").text == "A title" and root.find("{*}desc").text == "In words."
  titles = [e.text for e in root.iter("{http://www.w3.org/2000/svg}title")]
  assert "ft <says> & more" in titles
  words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
  assert {"FT", "Retrained", "x", "y"} <= set(words)  # text is text


def test_several_drawings_share_no_names_of_parts():
  plots = (some_plane(), some_plane()._replace(name="other"))
  ids = [re.findall(r' id="([^"]+)"', rendering.inline(one, looks(*SMALL))) for one in plots]
  assert ids[0] and not set(ids[0]) & set(ids[1])
  assert len(set(ids[0])) == len(ids[0])


def test_equal_plots_give_equal_bytes_in_every_format():
  one, other = (rendering.files(some_plane(), looks(*SMALL)) for _ in range(2))
  assert one == other and set(one) == {"plane.pdf", "plane.png", "plane.svg"}


def test_a_vector_figure_for_a_paper_holds_text_as_text_and_its_fonts():
  found = rendering.files(some_plane(), looks(*SMALL))
  assert b"/FontFile2" in found["plane.pdf"] and b"/Type0" in found["plane.pdf"]
  assert b">FT</text>" in found["plane.svg"] and b"var(" not in found["plane.svg"]
  width = float(re.search(rb'width="([\d.]+)pt"', found["plane.svg"])[1])
  assert 230 < width < 250  # a column


def test_no_two_methods_of_a_run_look_alike():
  names = [f"m{k}" for k in range(48)]
  found = marks.assign(described("original", "retrained", *names))
  seen = [(mark.hue, mark.shape) for mark in found.values()]
  assert len(set(seen)) == len(seen) == 50
  for one, other in itertools.pairwise(seen[2:]):
    assert one[0] != other[0] and one[1] != other[1]
  assert {shape for _, shape in seen} <= set(theme.SHAPES)
  assert {hue for hue, _ in seen} <= set(theme.COLOURS)


def test_the_order_of_the_methods_decides_and_the_references_keep_their_looks():
  found, other = marks.assign(described("original", "a", "b")), marks.assign(described("b", "c"))
  assert found["a"][1:] == other["b"][1:] and found["b"][1:] == other["c"][1:]
  again = marks.assign(described("a", "retrained", "original", "b"))
  assert {name: again[name] for name in found} == found
  assert again["retrained"] == ("Retrained", "ink", "target")
  assert again["original"] == ("Original", "grey", "plus")


def test_a_label_comes_from_the_description_of_the_method():
  other = manifests.description("other")
  mine = {"mine": manifests.description("mine", label="My+"), "other": other}
  found = marks.assign(described("ngplus") | mine)
  assert [mark.label for mark in found.values()] == ["NG+", "My+", "other"]


def test_a_method_has_its_colour_in_every_figure():
  made = cases.data(("original", "retrained", "msg", "ga", "ft"), range(2))
  composed = benchmark.compose(made)
  for label, hue in (("MSG", "blue"), ("GA", "orange"), ("FT", "green")):
    found = []
    for one in report.blocks.drawings(composed.sections):
      text = rendering.inline(one.plot, composed.marks)
      found += re.findall(rf"<title>{label}: .*?fill: var\(--(\w+)\)", text, re.S)
    assert len(found) > 3 and set(found) == {hue}


def test_a_curve_is_the_mean_and_range_of_the_seeds_counted_on_through_phases():
  table = [("ft", "b", s, e, 10 * e + s, 0.5, 0.1) for e in (1, 2) for s in (0, 1)]
  table += [("ft", "a", s, 1, 5.0 + s, 0.5, 0.1) for s in (0, 1)]
  found = benchmark_figures.curve(curves(table), "ft", "loss")
  np.testing.assert_array_equal(found.x, [1, 2, 3])
  np.testing.assert_array_equal(found.y, [10.5, 20.5, 5.5])
  np.testing.assert_array_equal(found.low, [10, 20, 5])
  np.testing.assert_array_equal(found.high, [11, 21, 6])
  assert found.starts == (3,)


def curves(table):
  columns = ["stage", "phase", "seed", "epoch", "loss", "accuracy", "lr"]
  return pd.DataFrame(table, columns=columns)


def test_a_frozen_member_leaves_the_curve():
  table = [("ft", "a", 0, 1, 1.0, 0.5, 0.1), ("ft", "a", 1, 1, math.nan, 0.5, 0.1)]
  assert benchmark_figures.curve(curves(table), "ft", "loss").y[0] == 1.0


@pytest.mark.parametrize(
  ("losses", "log"), [([2.0, 0.01], True), ([2.0, 0.5], False), ([2.0, -0.01], False)]
)
def test_losses_use_a_logarithm_only_where_they_fall_far(losses, log):
  table = curves([("ft", "a", 0, k, v, 0.5, 0.1) for k, v in enumerate(losses, 1)])
  judged = cases.judged(cases.data(SMALL, [0], curves=table))
  assert benchmark_figures.lines(judged, ["ft"], "loss", "x").y.log is log


def test_no_coordinate_is_lost_when_losses_explode():
  table = cases.curves(SMALL, range(3))
  table.loc[table["stage"] == "ft", "loss"] = [-3e7, np.nan, np.inf] * 12
  judged = cases.judged(cases.data(SMALL, range(3), curves=table))
  drawings = [*benchmark_figures.training(judged, SMALL), *benchmark_figures.unlearning(judged)]
  for one in drawings:
    text = rendering.inline(one.plot, judged.data.marks)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)


def test_names_in_a_plane_cover_neither_each_other_nor_markers():
  rng = np.random.default_rng(0)
  places = {f"m{k}": tuple(rng.uniform((0.2, 0.2), (0.8, 0.8))) for k in range(12)}
  cells = {n: (Cell(1, x), Cell(1, y)) for n, (x, y) in places.items()}
  plot = Plane("p", "", "", Axis("x"), Axis("y"), cells, {})
  with theme.settings("p"):
    figure = planes.plane(plot, looks(*places), theme.PAGE)
    figure.canvas.draw()
  (ax,) = figure.axes
  renderer = figure.canvas.get_renderer()
  names = [t for t in ax.texts if t.get_text() in {f"m{k}" for k in range(12)}]
  boxes = [t.get_window_extent(renderer) for t in names]
  points = [ax.transData.transform(place) for place in places.values()]
  assert len(boxes) == 12
  assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
  assert sum(box.contains(*point) for box in boxes for point in points) == 0


def test_methods_that_would_squeeze_the_plane_are_left_out_and_named():
  judged = cases.judged(cases.data())
  shown, out = benchmark_figures.without_outliers(judged._replace(cautions=()))
  assert out == ["ff"] and shown == [name for name in judged.summary.order if name != "ff"]
  broken = (Caution("severe", "collapse", "ga", "", ""),)
  assert benchmark_figures.without_outliers(judged._replace(cautions=broken))[1] == ["ga", "ff"]
  plane = benchmark_figures.comparison(judged)[0]
  assert "Not drawn" in plane.caption and "FF (RetDev 2.67" in plane.caption
  assert "ff" not in plane.plot.points


def test_every_seed_is_a_dot():
  judged = cases.judged(cases.data(("original", "retrained", "ft"), range(6)))
  plot = benchmark_figures.seeds(judged)[0].plot
  assert isinstance(plot, Spread) and {len(v) for v in plot.values.values()} == {6}
  (ax,) = rows.spread(plot, dict(judged.data.marks), theme.PAGE).axes
  dots = [line for line in ax.lines if line.get_marker() == "o"]
  assert [len(line.get_xdata()) for line in dots] == [6, 6, 6]
  assert len(ax.patches) == 3  # boxes


def test_the_attack_figure_holds_chance_intervals_and_the_band_of_retraining():
  judged = cases.judged(cases.data(("original", "retrained", "ft"), range(6)))
  plot = benchmark_figures.comparison(judged)[1].plot
  cell = judged.summary.cell
  for name, (first, second) in plot.cells.items():
    assert (first, second) == (cell(name, "T_strongest"), cell(name, "T_MIA"))
  assert plot.band == cell("retrained", "T_strongest") and plot.chance == 0.5
  (ax,) = rows.strip(plot, dict(judged.data.marks), theme.PAGE).axes
  chance = [line for line in ax.lines if list(line.get_xdata()) == [0.5, 0.5]]
  assert len(chance) == 1 and len(ax.patches) == 1


def test_long_names_make_room_for_themselves():
  names = ("retrained", "a_method_with_a_long_name")
  cells = {n: (Cell(3, 0.5, low=0.4, high=0.6), Cell()) for n in names}
  plot = figures.strip("x", "", "", "", cells, str, 0.5)
  figure = rows.strip(plot, looks(*names), theme.PAGE)
  figure.canvas.draw()
  (ax,) = figure.axes
  assert all(t.get_window_extent().x0 >= 0 for t in ax.get_yticklabels())


def test_the_order_shows_paired_differences_ranks_and_who_cannot_be_told_apart():
  judged = cases.judged(cases.data(("original", "retrained", "ft", "ct", "ga")))
  plot = benchmark_traces.order(judged)[0].plot
  names = list(plot.gaps)
  assert names == ["ft", "ct", "ga"] and plot.gaps["ft"].mean == 0
  assert plot.gaps["ga"] == judged.summary.difference("ga", "ft", "RetDev")
  wide = judged.data.rows.pivot(index="seed", columns="method", values="RetDev")[names]
  assert plot.ranks == wide.rank(axis=1).mean().to_dict()


def test_groups_are_the_longest_runs_without_a_difference():
  apart = {("a", "c"), ("b", "d")}
  alike = lambda one, other: (one, other) not in apart and other != "e"
  assert list(benchmark_traces.together("abcde", alike)) == [("a", "b"), ("b", "c"), ("c", "d")]
  assert list(benchmark_traces.together("abc", lambda *_: True)) == [("a", "b", "c")]
  assert list(benchmark_traces.together("abc", lambda *_: False)) == []


def test_the_cloud_is_the_retrained_models_one_per_seed():
  judged = cases.judged(cases.data(("original", "retrained", "ft"), range(6)))
  plane = benchmark_traces.traces(judged)[0].plot
  of = judged.data.rows[judged.data.rows["method"] == "retrained"]
  np.testing.assert_array_equal(plane.cloud["retrained"], of[["FA", "T_strongest"]])


def test_a_roc_curve_is_the_mean_over_seeds_and_references_show_their_range():
  made = cases.data(("original", "retrained", "ft"), range(3))
  made.roc["tpr"] = (made.roc["tpr"] + 0.01 * made.roc["seed"]).clip(upper=1.0)
  plot = benchmark_traces.traces(cases.judged(made))[1].plot
  of = made.roc[made.roc["method"] == "retrained"].pivot(index="seed", columns="fpr", values="tpr")
  np.testing.assert_allclose(plot.curves["retrained"].y, of.mean())
  np.testing.assert_allclose(plot.curves["retrained"].high, of.max())
  assert np.isnan(plot.curves["ft"].high).all()


def test_a_roc_curve_without_a_hit_is_left_out():
  nothing = Curve(np.geomspace(0.01, 1, 5), np.zeros(5), *[np.full(5, np.nan)] * 2)
  found = figures.roc("x", {"ft": nothing, "ga": nothing._replace(y=nothing.x)}, str, 1e-4)
  assert set(found.curves) == {"ga"} and found.hints["ga"] == {
    0.01: "ga: 0.0100 at 0.01",
    0.1: "ga: 0.1000 at 0.1",
  }


def test_classes_are_compared_with_retraining_seed_by_seed_and_named():
  made = cases.data(("original", "retrained", "ft"), range(3))
  forget, test = benchmark_traces.classes(cases.judged(made))
  of = made.classes[made.classes["set"] == "forget"]
  wide = of.pivot(index=["class", "seed"], columns="method", values="accuracy")
  wanted = (wide["ft"] - wide["retrained"]).groupby("class").mean()
  assert isinstance(forget.plot, Grid) and forget.plot.columns[3] == "class 3"
  np.testing.assert_allclose(forget.plot.values[forget.plot.methods.index("ft")], wanted)
  assert test.plot.name == "classes-test" and len(test.plot.columns) == 10


def test_of_many_classes_those_that_changed_most_are_shown():
  made = cases.data(SMALL, range(2), classes=cases.classes(SMALL, range(2), count=100))
  grid, _ = benchmark_traces.classes(cases.judged(made))
  assert len(grid.plot.columns) == 12 and "The 12 classes of 100 that changed most" in grid.caption
  of = made.classes[made.classes["set"] == "forget"]
  wide = of.pivot(index=["class", "seed"], columns="method", values="accuracy")
  gaps = wide.sub(wide["retrained"], axis=0).groupby("class").mean().abs().max(axis=1)
  assert f"class {gaps.idxmax()}" in grid.plot.columns


def confused(methods, seeds, count, forgotten):
  """A confusion table: retrained models take the forgotten class for the one after it."""
  rows = []
  for method in methods:
    for seed in seeds:
      for one in range(count):
        other = (one + 1) % count
        wrong = 1.0 if one == forgotten and method == "retrained" else 0.25
        wanted = ((one, 1 - wrong), (other, wrong))
        rows += [(method, seed, "test", one, to, share) for to, share in wanted if share]
  return pd.DataFrame(rows, columns=list(breakdown.CONFUSION_COLUMNS))


@pytest.mark.parametrize("count", [10, 100])
def test_what_forgotten_classes_are_taken_for_is_a_matrix_per_model(count):
  classes = cases.classes(SMALL, range(2), count)
  classes = classes[(classes["set"] == "test") | (classes["class"] == 3)]
  table = confused(SMALL, range(2), count, 3)
  judged = cases.judged(cases.data(SMALL, range(2), classes=classes, confusion=table))
  found = {one.plot.name: one for one in benchmark_traces.confusion(judged)}
  assert set(found) == {f"confusion-{name}" for name in SMALL}
  plot = found["confusion-retrained"].plot
  assert len(plot.lines) == len(plot.columns) == min(count, 12)
  assert plot.lines[3] == "class 3 *" and plot.columns[3:5] == ("class 3", "class 4")
  assert np.isnan(plot.values[3, 3]) and plot.values[3, 4] == 1
  assert plot.words == "1.00 of class 3 are taken for class 4."
  assert found["confusion-original"].plot.values[3, 3:5].tolist() == [0.75, 0.25]
  assert ("12 classes in all" in found["confusion-original"].caption) is (count == 100)
  drawn = rendering.files(plot, looks(*SMALL))["confusion-retrained.svg"]
  assert b"+1.000" not in drawn and len(drawn) > 1000


def test_a_forgotten_class_as_which_nothing_is_predicted_stays_in_the_figure():
  only = ("retrained",)
  classes = cases.classes(only, range(2), 100).query("set == 'test' or `class` == 50")
  made = cases.data(only, range(2), classes=classes, confusion=confused(only, range(2), 100, 50))
  (one,) = benchmark_traces.confusion(cases.judged(made))
  assert "class 50 *" in one.plot.lines and "class 51" in one.plot.columns


def test_without_forgotten_classes_there_is_no_matrix():
  assert benchmark_traces.confusion(cases.judged(cases.data(SMALL, range(2)))) == ()


def test_a_run_without_details_has_fewer_figures():
  made = cases.data(SMALL, range(2), classes=cases.classes((), ()), roc=cases.roc((), ()))
  judged = cases.judged(made)
  assert benchmark_traces.classes(judged) == ()
  assert [one.plot.name for one in benchmark_traces.traces(judged)] == ["forget-attack"]


def test_pixels_of_a_figure_are_not_blank():
  from PIL import Image

  found = rendering.files(some_plane(), looks(*SMALL))
  pixels = np.asarray(Image.open(io.BytesIO(found["plane.png"])).convert("L"))
  assert pixels.shape[1] > 900 and (pixels < 128).mean() > 0.002


def test_every_kind_of_plot_can_be_drawn():
  composed = benchmark.compose(cases.data(SMALL, range(3)))
  kinds = {type(one.plot) for one in report.blocks.drawings(composed.sections)}
  assert kinds | {type(None)} >= {Lines, Grid, Plane, Spread}
  assert kinds <= set(rendering.DRAW)
