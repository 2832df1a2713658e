"""Many small logistic regressions on one feature, solved together by Newton's method."""

import numpy as np
from scipy.special import expit

MAX_ITERATIONS = 200
MAX_HALVINGS = 40
TOLERANCE = 1e-10  # on Newton's decrement, in units of the summed objective


def fit_logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Minimise `w^2 / 2 + sum_i log(1 + exp(-s_i (w x_i + b)))`, `s = 2 y - 1`, for P problems.

  The objective of scikit-learn's `LogisticRegression()` (L2 penalty on the weight only, C = 1;
  spec evaluation 3), solved to its minimum; scikit-learn stops at a gradient of 1e-4.

  Args:
    x: finite features, [P, n].
    y: labels 0 or 1, [P, n] or [n].

  Returns:
    w [P] and b [P]; class 1 is predicted where `w x + b > 0`.
  """
  y = np.broadcast_to(y, x.shape).astype(float)
  centre, scale = _location_and_scale(x)
  # With z = (x - centre) / scale, w = w_z / scale: the penalty becomes ridge w_z^2 / 2 with
  # ridge = 1 / scale^2. Same objective and same minimum, in a well-conditioned variable.
  with np.errstate(over="ignore"):  # beyond 1e100 quartiles every loss is as wrong as any
    z = np.clip((x - centre[:, None]) / scale[:, None], -1e100, 1e100)
  ridge = scale**-2
  slope, intercept = np.zeros(len(x)), np.zeros(len(x))
  live = np.arange(len(x))
  for _ in range(MAX_ITERATIONS):
    if not live.size:
      break
    problem = (z[live], y[live], ridge[live])
    slope[live], intercept[live], done = _newton_step(*problem, slope[live], intercept[live])
    live = live[~done]
  weight = slope / scale
  return weight, intercept - weight * centre


def objective(x, y, ridge, slope, intercept) -> np.ndarray:
  """Return `ridge w^2 / 2 + sum_i log(1 + exp(-s_i (w x_i + b)))`, [P]."""
  margin = (2 * y - 1) * (slope[:, None] * x + intercept[:, None])
  loss = np.log1p(np.exp(-np.abs(margin))) - np.minimum(margin, 0)
  return 0.5 * ridge * slope**2 + loss.sum(-1)


def _location_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return median and interquartile range, which a few huge losses cannot move."""
  low, centre, high = np.quantile(x, (0.25, 0.5, 0.75), axis=-1)
  scale = high - low
  scale = np.where(scale > 0, scale, np.abs(x - centre[:, None]).mean(-1))
  return centre, np.where(scale > 0, scale, 1.0)


def _newton_step(z, y, ridge, slope, intercept):
  """Return slope and intercept after one damped step, and which problems are solved, [P] each."""
  p = expit(slope[:, None] * z + intercept[:, None])
  curvature = p * (1 - p)
  gradient_b = (p - y).sum(-1)
  gradient_w = ((p - y) * z).sum(-1) + ridge * slope
  # Block elimination around the weighted mean: no cancellation in the 2 x 2 determinant.
  total = np.maximum(curvature.sum(-1), 1e-12)
  mean = (curvature * z).sum(-1) / total
  spread = (curvature * (z - mean[:, None]) ** 2).sum(-1) + ridge
  step_w = (gradient_w - mean * gradient_b) / np.maximum(spread, 1e-300)
  step_b = gradient_b / total - mean * step_w
  decrement = gradient_w * step_w + gradient_b * step_b
  slope, intercept, moved = _line_search(
    (z, y, ridge), (slope, intercept), (step_w, step_b), decrement
  )
  return slope, intercept, (decrement < TOLERANCE) | ~moved


def _line_search(problem, start, step, decrement):
  """Halve the steps of those problems whose objective does not fall enough (Armijo)."""
  slope, intercept = start
  before = objective(*problem, slope, intercept)
  slack = 1e-13 * np.abs(before)  # round-off of the sum
  length = np.ones(len(slope))
  for _ in range(MAX_HALVINGS):
    new = (slope - length * step[0], intercept - length * step[1])
    good = objective(*problem, *new) <= before - 1e-4 * length * decrement + slack
    if good.all():
      break
    length = np.where(good, length, length / 2)
  return np.where(good, new[0], slope), np.where(good, new[1], intercept), good
