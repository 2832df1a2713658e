"""The published re-run: its derived columns follow from its means, and it stands beside ours."""

import numpy as np
import pytest
from support import report_cases

from jaxmu.audit import formulas
from jaxmu.report.cells import compose, published
from jaxmu.report.writers import texts

ROWS = published.rows().set_index("method")


def test_all_methods_but_one_are_there():
  assert len(ROWS) == 18 and "euk" not in ROWS.index
  assert ROWS.loc["ff"].isna().sum() > 0  # it collapsed


def test_retention_deviation_follows_from_the_means():
  """The mean of a convex function is at least the function of the means, and near it here."""
  retrained = ROWS.loc["retrained"]
  ratios = [formulas.retention(ROWS[key], retrained[key]) for key in ("RA", "FA", "TA")]
  ours = formulas.retention_deviation(*ratios)
  # Rounded to three digits, each accuracy to four.
  assert (ROWS["RetDev"] - ours > -0.0015).all()
  steady = ROWS["RetDev_sd"] < 0.02
  np.testing.assert_allclose(ours[steady], ROWS["RetDev"][steady], atol=0.006)


def test_indiscernibility_follows_from_the_attack():
  theirs, sd = ROWS["Indisc"], ROWS["T_MIA_sd"]
  ours = formulas.indiscernibility(ROWS["T_MIA"])
  known = theirs.notna()
  # |2 MIA - 1| of single seeds is larger than that of the mean, by what the seeds spread.
  assert (ours[known] - theirs[known] > -0.0015).all()
  assert (ours[known] - theirs[known] < 2 * sd[known].fillna(0) + 0.002).all()


def test_run_time_efficiency_follows_from_the_seconds():
  ours = formulas.rte(ROWS["seconds"], ROWS.loc["retrained", "seconds"])
  np.testing.assert_allclose(ours, ROWS["RTE"], rtol=0.03)


def test_it_stands_beside_a_benchmark_of_the_same_cell():
  made = report_cases.judged(report_cases.data())
  assert published.fits(made)
  page = texts(compose({"one": made}))["report.md"]
  mean = made.summary.cell("ft", "FA").mean
  assert f"{mean:.3f} / 0.848" in page


@pytest.mark.parametrize("method", ["retrained", "msg"])
def test_a_line_of_the_table(method):
  expected = {"retrained": (0.9993, 0.8734, 0.5028), "msg": (0.9884, 0.8239, 0.5074)}[method]
  assert tuple(ROWS.loc[method, ["RA", "FA", "T_MIA"]]) == expected
