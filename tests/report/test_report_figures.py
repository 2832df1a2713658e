"""Figures: scales, marks and curves hold the data they are given."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from support import manifests
from support import report_cases as cases

from jaxmu import report
from jaxmu.audit import cautions, summary
from jaxmu.report import curves, figures, marks, scatter, strips, svg

SMALL = ("original", "retrained", "ft")


@pytest.mark.parametrize(
  ("low", "high", "wanted"),
  [
    (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (-3, 7, [-2, 0, 2, 4, 6]),
    (0.43, 0.62, [0.45, 0.5, 0.55, 0.6]),
  ],
)
def test_ticks_are_round_and_inside(low, high, wanted):
  np.testing.assert_allclose(svg.Scale(low, high, 0, 100).ticks(), wanted, atol=1e-12)


@pytest.mark.parametrize("span", [(0.3, 400), (1, 14), (0.9, 1.1), (1e-5, 1e5), (2.0, 2.01)])
def test_log_ticks_are_few_sorted_and_inside(span):
  ticks = svg.Scale(*span, 0, 100, log=True).ticks()
  assert 2 <= len(ticks) <= 8 and ticks == sorted(ticks)
  assert all(span[0] <= v <= span[1] * (1 + 1e-9) for v in ticks)


def test_scales_map_ends_to_ends_and_logs_to_their_middle():
  linear = svg.Scale(2, 4, 10, 20)
  assert [linear.at(v) for v in (2, 3, 4)] == [10, 15, 20]
  assert svg.Scale(1, 100, 0, 1, log=True).at(10) == pytest.approx(0.5)
  assert math.isnan(svg.Scale(1, 100, 0, 1, log=True).at(-1))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [5.0], [3.0, 3.0], [math.nan, math.inf, 7.0], [0.0, 1.0]])
def test_a_span_holds_its_finite_values_with_a_margin(values, log):
  scale = svg.spanning(values, 0, 100, log=log)
  kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
  assert scale.low < scale.high and all(scale.low < v < scale.high for v in kept)


def test_a_path_lifts_its_pen_at_gaps():
  points = [(0, 0), (1, 1), (2, math.nan), (3, 3), (4, 4)]
  assert 'd="M0 0L1 1M3 3L4 4"' in svg.path(points, "curve")


def test_attributes_and_text_are_escaped():
  assert svg.text(0, 0, "<a&b>").endswith(">&lt;a&amp;b&gt;</text>")
  assert "&#34;" in svg.tag("g", class_='x" onload="y') and 'onload="' not in svg.tag(
    "g", class_='x" onload="y'
  )


def described(*names):
  return manifests.manifest(names).methods


def test_no_two_methods_of_a_run_look_alike():
  names = [f"m{k}" for k in range(48)]
  found = marks.assign(described("original", "retrained", *names))
  looks = [(mark.hue, mark.shape) for mark in found.values()]
  assert len(set(looks)) == len(looks) == 50
  for one, other in itertools.pairwise(looks[2:]):
    assert one[0] != other[0] and one[1] != other[1]
  assert {shape for _, shape in looks} - {"circle", "target"} == set(svg._OUTLINES)


def test_the_order_of_the_methods_decides_and_the_references_keep_their_looks():
  found, other = marks.assign(described("original", "a", "b")), marks.assign(described("b", "c"))
  assert found["a"][1:] == other["b"][1:] and found["b"][1:] == other["c"][1:]
  again = marks.assign(described("a", "retrained", "original", "b"))
  assert {name: again[name] for name in found} == found
  assert again["retrained"] == ("Retrained", "ink", "target")
  assert again["original"] == ("Original", "grey", "hexagon")


def test_a_label_comes_from_the_description_of_the_method():
  other = manifests.description("other")
  mine = {"mine": manifests.description("mine", label="My+"), "other": other}
  found = marks.assign(described("ngplus") | mine)
  assert [mark.label for mark in found.values()] == ["NG+", "My+", "other"]


def test_a_method_looks_the_same_in_every_figure():
  methods = ("original", "retrained", "msg", "ga", "ft")
  html = report.render(cases.data(methods, range(2)))["report.html"]
  for label, hue in (("MSG", "blue"), ("GA", "orange"), ("FT", "green")):
    found = re.findall(rf'<g class="mark hue-(\w+)"><title>{label}: ', html)
    assert set(found) == {hue} and len(found) > 3


def test_a_curve_is_the_mean_and_range_of_the_seeds_counted_on_through_phases():
  rows = [("ft", "b", s, e, 10 * e + s, 0.5, 0.1) for e in (1, 2) for s in (0, 1)]
  rows += [("ft", "a", s, 1, 5.0 + s, 0.5, 0.1) for s in (0, 1)]
  table = pd.DataFrame(rows, columns=["stage", "phase", "seed", "epoch", "loss", "accuracy", "lr"])
  found = curves.curve(table, "ft", "loss")
  np.testing.assert_array_equal(found.epochs, [1, 2, 3])
  np.testing.assert_array_equal(found.mean, [10.5, 20.5, 5.5])
  np.testing.assert_array_equal(found.low, [10, 20, 5])
  np.testing.assert_array_equal(found.high, [11, 21, 6])
  assert found.starts == (3,)


def test_a_frozen_member_leaves_the_curve():
  rows = [("ft", "a", 0, 1, 1.0, 0.5, 0.1), ("ft", "a", 1, 1, math.nan, 0.5, 0.1)]
  table = pd.DataFrame(rows, columns=["stage", "phase", "seed", "epoch", "loss", "accuracy", "lr"])
  assert curves.curve(table, "ft", "loss").mean[0] == 1.0


@pytest.mark.parametrize(
  ("losses", "log"), [([2.0, 0.01], True), ([2.0, 0.5], False), ([2.0, -0.01], False)]
)
def test_losses_use_a_logarithm_only_where_they_fall_far(losses, log):
  rows = [("ft", "a", 0, k, v, 0.5, 0.1) for k, v in enumerate(losses, 1)]
  table = pd.DataFrame(rows, columns=["stage", "phase", "seed", "epoch", "loss", "accuracy", "lr"])
  drawing = curves.panel(cases.data(SMALL, [0], curves=table), ["ft"], "loss", "x", small=False)
  assert ("log scale" in drawing) is log


def test_names_in_a_scatter_cover_neither_each_other_nor_markers():
  rng = np.random.default_rng(0)
  places = {f"m{k}": tuple(rng.uniform((120, 80), (320, 220))) for k in range(8)}
  written = scatter._labels(cases.data(tuple(places), table=cases.rows()), places, [])
  found = [re.search(r'<text x="([\d.]+)" y="([\d.]+)"', str(one)) for one in written]
  boxes = [
    scatter.Box(float(m[1]) - 7, float(m[2]) - 9, float(m[1]) + 7, float(m[2])) for m in found if m
  ]
  boxes += [scatter.Box(x - 3, y - 3, x + 3, y + 3) for x, y in places.values()]
  assert len(boxes) == 16
  assert all(a.overlap(b) == 0 for k, a in enumerate(boxes) for b in boxes[:k])


def test_methods_that_would_squeeze_the_plane_are_left_out_and_named():
  made = cases.data()
  found = summary.summarise(made)
  shown, out = scatter.without_outliers(found, ())
  assert out == ["ff"] and shown == [name for name in found.order if name != "ff"]
  assert scatter.without_outliers(found, {"ga"})[1] == ["ga", "ff"]
  plane = figures.build(made, found, cautions.find(made, found))["comparison"][0]
  assert "Not drawn" in plane.caption and "FF (RetDev 2.67" in plane.caption
  assert "FF" not in plane.drawing


def test_every_seed_is_a_dot():
  made = cases.data(("original", "retrained", "ft"), range(6))
  found = summary.summarise(made)
  drawing = strips.distribution(made, found, list(found.order), "FA", "forget accuracy", "x")
  assert drawing.count('class="dot"') == 18 and drawing.count('class="box"') == 3


def test_the_attack_figure_holds_chance_and_intervals():
  made = cases.data(("original", "retrained", "ft"), range(6))
  found = summary.summarise(made)
  drawing = str(strips.attack(made, found, "x"))
  assert drawing.count('class="chance"') == drawing.count('class="band"') == 1
  assert drawing.count('class="bar"') == drawing.count('class="hollow"') == 3
  x = svg.spanning([0.5, *_reach(found)], strips.LEFT, strips.RIGHT).at(0.5)
  assert f'<line x1="{svg.num(x)}"' in drawing


def _reach(found):
  cells = [found.cell(name, metric) for name in found.order for metric in ("T_strongest", "T_MIA")]
  return [v for cell in cells for v in (cell.mean, *cell.bounds)]
