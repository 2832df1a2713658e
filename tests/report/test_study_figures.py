"""Figures of a study hold the data they are given."""

import re

import numpy as np
import pytest
from support import study_cases as cases

from jaxmu.report.study import figures, histograms, roc


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return cases.data(tmp_path_factory.mktemp("study"), tuple(cases.LIKE_CIFAR))


def test_histograms_hold_every_attacked_sample():
  edges = np.linspace(0.4, 0.7, 4)
  shares = histograms.share(np.array([0.1, 0.45, 0.55, 0.65, 0.9]), edges)
  np.testing.assert_allclose(shares, [0.4, 0.2, 0.4])


def test_every_histogram_has_the_noise_of_retraining_behind(made):
  panels = histograms.panels(made)
  assert list(panels) == list(made.order)
  assert all(str(p).count('class="range"') == 1 for p in panels.values())
  share = (made.samples["ft"].dropna(subset="accuracy")["accuracy"] > 0.6).mean()
  assert f"share above 0.6 {share:.3f}." in panels["ft"]


def test_the_roc_figure_draws_what_a_logarithm_can_show(made):
  drawing = str(roc.curves(made, "x"))
  assert drawing.count('class="curve"') == len(made.order)
  assert drawing.count('class="chance"') == 1 and drawing.count('class="guide"') == 2
  power = 1 - 1.6 * (cases.LIKE_CIFAR["ft"][0] - 0.5)
  assert f"FT {0.01**power:.3f}" in drawing


def test_a_roc_curve_of_zeros_is_left_out(tmp_path):
  rows = [r if r["method"] != "ft" else r | {"tpr": 0.0} for r in cases.roc(cases.SMALL)]
  drawing = str(roc.curves(cases.data(tmp_path, roc=rows), "x"))
  assert drawing.count('class="curve"') == len(cases.SMALL) - 1


def test_figures_show_intervals_and_leave_out_what_is_unknown(made):
  found = figures.build(made)
  accuracy, retained = str(found["attack"][0].drawing), str(found["retained"][0].drawing)
  assert accuracy.count('class="bar"') == accuracy.count('class="hollow"') == len(made.order)
  assert retained.count('class="bar"') == len(made.order) - 1 and "Original" not in retained
  assert "FT: U-LiRA 0.571 [0.565, 0.577]" in accuracy


def test_long_names_make_room_for_themselves(tmp_path):
  name = "a_method_with_a_long_name"
  made = cases.data(tmp_path, ("original", "retrained", name))
  drawing = str(figures.build(made)["attack"][0].drawing)
  place = float(re.search(rf'<text x="([\d.]+)"[^>]*>{name}<', drawing).group(1))
  assert place > 7 * len(name)
