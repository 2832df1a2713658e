"""The Newton solver finds the minimum of scikit-learn's objective, however wild the losses."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from jaxmu.audit.attacks.logistic import fit_logistic, objective

RNG = np.random.default_rng(1)


def features(name, n=400):
  y = np.repeat([0, 1], n // 2)
  x = {
    "ordinary": RNG.exponential(1, n) + 0.5 * y,
    "no signal": RNG.exponential(1, n),
    "separable": RNG.uniform(0, 1, n) + 3 * y,
    "memorised": np.where(y, RNG.exponential(1, n), np.exp(RNG.normal(-9, 2, n))),
    "huge": RNG.exponential(1e4, n) * (1 + y),
    "tiny": np.exp(RNG.normal(-10 + y, 2, n)),
    "heavy tail": np.exp(RNG.normal(-y, 5, n)),
    "one outlier": np.where(np.arange(n) == 3, 1e8, RNG.exponential(1 + y, n)),
    "constant": np.ones(n),
  }[name]
  return x, y


NAMES = (
  *("ordinary", "no signal", "separable", "memorised", "huge", "tiny", "heavy tail"),
  *("one outlier", "constant"),
)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_vanishes_at_the_solution(name):
  x, y = features(name)
  (w,), (b,) = fit_logistic(x[None], y)
  p = 1 / (1 + np.exp(-np.clip(w * x + b, -700, 700)))
  scale = max(np.ptp(x), 1e-9)
  assert abs((p - y).sum()) < 1e-3
  # The gradient in w, relative to how much the features can contribute.
  assert abs(((p - y) * x).sum() + w) < 1e-3 * max(scale, abs(w), 1)


@pytest.mark.parametrize("name", NAMES)
def test_no_other_solver_finds_a_lower_objective(name):
  x, y = features(name)
  w, b = fit_logistic(x[None], y)
  value = lambda v: objective(x[None], y[None], np.ones(1), v[:1], v[1:])[0]
  ours = value(np.array([w[0], b[0]]))
  starts = [np.zeros(2), np.array([w[0], b[0]]), np.array([1.0, -np.median(x)])]
  best = min(minimize(value, s, method="Nelder-Mead", options={"maxiter": 400}).fun for s in starts)
  assert ours <= best + 1e-8 * abs(best)


def test_damping_saves_the_rare_problem_that_plain_newton_overshoots():
  """About one in a thousand of these unbalanced, heavy-tailed problems needs a shorter step."""
  rng = np.random.default_rng(2)
  y = (rng.random((10_000, 60)) < 0.1).astype(float)
  x = np.exp(3 * rng.normal(size=y.shape)) * rng.choice([-1, 1], y.shape)
  both = y.min(1) < y.max(1)  # with one class only there is no finite minimum
  w, b = fit_logistic(x[both], y[both])
  x, y = x[both], y[both]
  p = expit(w[:, None] * x + b[:, None])
  gradient = np.stack([((p - y) * x).sum(1) + w, (p - y).sum(1)], -1)[..., None]
  design = np.stack([x, np.ones_like(x)], 1)
  hessian = (design * (p * (1 - p))[:, None]) @ design.swapaxes(1, 2)
  hessian[:, 0, 0] += 1
  decrement = gradient.swapaxes(1, 2) @ np.linalg.solve(hessian, gradient)
  assert decrement.max() < 1e-6


def test_problems_do_not_influence_each_other():
  problems = [features(name) for name in NAMES]
  x, y = np.stack([p[0] for p in problems]), problems[0][1]
  together = np.stack(fit_logistic(x, y))
  alone = np.concatenate([np.stack(fit_logistic(row[None], y)) for row in x], 1)
  np.testing.assert_array_equal(together, alone)
