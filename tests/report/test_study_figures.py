"""Figures of a study hold the data they are given."""

import numpy as np
import pytest
from support import study_cases as cases

from jaxmu.report.ulira import ulira_figures as figures


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return cases.data(tmp_path_factory.mktemp("study"), tuple(cases.LIKE_CIFAR))


def test_histograms_hold_every_attacked_sample():
  edges = np.linspace(0.4, 0.7, 4)
  shares = figures.share(np.array([0.1, 0.45, 0.55, 0.65, 0.9]), edges)
  np.testing.assert_allclose(shares, [0.4, 0.2, 0.4])


def test_every_histogram_has_the_noise_of_retraining_behind(made):
  found = {one.plot.method: one.plot for one in figures.samples(made)}
  assert list(found) == list(made.order)
  retrained = found["retrained"].shares
  assert all((plot.noise == retrained).all() for plot in found.values())
  share = (made.samples["ft"].dropna(subset="accuracy")["accuracy"] > 0.6).mean()
  assert f"share above 0.6 {share:.3f}." in found["ft"].words


def test_the_roc_figure_draws_what_a_logarithm_can_show(made):
  plot = figures.roc(made)
  assert set(plot.curves) == set(made.order) and plot.rates == (0.01, 0.001)
  assert all((one.x > 0).all() and (one.y > 0).all() for one in plot.curves.values())
  power = 1 - 1.6 * (cases.LIKE_CIFAR["ft"][0] - 0.5)
  assert f"FT {0.01**power:.3f}" in plot.words


def test_a_roc_curve_of_zeros_is_left_out(tmp_path):
  rows = [r if r["method"] != "ft" else r | {"tpr": 0.0} for r in cases.roc(cases.SMALL)]
  plot = figures.roc(cases.data(tmp_path, roc=rows))
  assert set(plot.curves) == set(cases.SMALL) - {"ft"}


def test_a_roc_curve_has_its_band_where_the_table_has_one(tmp_path):
  rows = [r | {"low": 0.9 * r["tpr"], "high": 1.1 * r["tpr"]} for r in cases.roc(cases.SMALL)]
  one = figures.roc(cases.data(tmp_path, roc=rows)).curves["ft"]
  np.testing.assert_allclose(one.low, 0.9 * one.y)
  np.testing.assert_allclose(one.high, 1.1 * one.y)


def test_figures_show_intervals_and_leave_out_what_is_unknown(made):
  accuracy, retained = figures.attack(made)[0].plot, figures.retained(made)[0].plot
  assert set(accuracy.cells) == set(made.order)
  assert all(first.has_interval and second.n for first, second in accuracy.cells.values())
  assert set(retained.cells) == set(made.order) - {"original"}
  assert accuracy.hints["ft"] == "FT: U-LiRA 0.571 [0.565, 0.577]"
