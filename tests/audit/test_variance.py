"""Parts of a spread: truth by simulation, and cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from jaxmu.audit import variance
from jaxmu.audit.variance import Parts, parts

T, U = 0.03, 0.02  # standard deviations of training and unlearning


def simulated(rng, seeds, repeats, training=T, unlearning=U):
  return training * rng.standard_normal((seeds, 1)) + unlearning * rng.standard_normal(
    (seeds, repeats)
  )


def test_parts_are_those_that_the_numbers_were_made_with():
  found = parts(simulated(np.random.default_rng(0), 20_000, 3))
  assert found.training == pytest.approx(T, rel=0.02)
  assert found.unlearning == pytest.approx(U, rel=0.02)


def test_squares_are_unbiased_with_few_seeds():
  rng = np.random.default_rng(1)
  many = np.array([parts(simulated(rng, 10, 3)) for _ in range(4000)])
  np.testing.assert_allclose(np.square(many).mean(0), (T**2, U**2), rtol=0.05)


def test_by_hand():
  values = np.array([[1.0, 3.0], [5.0, 7.0]])  # within 2, means 2 and 6: between 8 - 2 / 2
  assert parts(values) == Parts(math.sqrt(7), math.sqrt(2))
  assert parts(np.array([[1.0, 3.0], [3.0, 1.0]])) == Parts(0.0, math.sqrt(2))
  assert parts(np.array([[1.0, 1.0], [2.0, 2.0]])).unlearning == 0
  assert all(map(math.isnan, (*parts(np.ones((1, 3))), *parts(np.ones((3, 1))))))


def test_more_runs_from_each_original_do_not_make_its_training_part_smaller():
  rng = np.random.default_rng(2)
  few, many = (np.mean([parts(simulated(rng, 5, j)) for _ in range(1500)], 0) for j in (2, 20))
  assert many[0] == pytest.approx(few[0], rel=0.05)


def test_of_samples_is_the_spread_over_draws_of_them():
  rng = np.random.default_rng(3)
  right = rng.random((2, 400)) < 0.8
  influences = [(row - row.mean()) / len(row) for row in right]
  drawn = [rng.choice(right[0], 400).mean() for _ in range(4000)]
  assert variance.of_samples(influences[:1]) == pytest.approx(np.std(drawn), rel=0.05)
  assert math.isnan(variance.of_samples([]))


def test_seeds_with_a_failure_are_left_out_of_a_table():
  def row(seed, repeat, value, finite=True):
    return {"seed": seed, "repeat": repeat, "finite": finite, "FA": value if finite else math.nan}

  rows = [row(0, 0, 0.1), row(0, 1, 0.3), row(1, 0, 0.5), row(1, 1, 0.7)]
  influences = [{"FA": np.array([0.1, -0.1])}] * 2
  (found,) = variance.table("ft", rows, influences)
  assert (found["metric"], found["seeds"], found["repeats"]) == ("FA", 2, 2)
  assert found["samples"] == pytest.approx(math.sqrt(0.02))
  failing = [*rows, row(2, 0, 0.9), row(2, 1, 0.0, finite=False)]
  (same,) = variance.table("ft", failing, [*influences, {}])
  assert same == found
