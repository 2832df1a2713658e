"""What a method changes in exposure: the same attack before and after, sample by sample."""

import numpy as np

from jaxmu.audit.attacks.crossed import (
  Interval,
  density_weights,
  influence_of_samples,
  share_bounds,
  t_interval,
  variance_of_mean,
  variance_of_share,
)
from jaxmu.audit.attacks.exposure import Tally, sample_accuracy
from jaxmu.errors import DataError

CHANGES = ("mean", "share_more", "share_less", "net")
_TIE = 1e-6  # accuracies closer than this are equal: they are float32


def exposure_change(
  before: Tally, after: Tally, *, level: float = 0.95
) -> tuple[np.ndarray, dict[str, Interval]]:
  """Return how much more exposed each sample is after than before [N], and statistics of it.

  With tallies of the retained against the never-seen role this is the retain-side risk of spec
  extensions 8. `mean`, `share_more`, `share_less` and their difference `net` (chance moves as many
  up as down), with intervals over splits and samples as in `exposure`: splits move both tallies
  together. NaN where no sample was attacked both times.

  Raises:
    DataError: the tallies are of different splits or samples.
  """
  shapes = before.positives.shape, after.positives.shape
  if shapes[0] != shapes[1]:
    raise DataError(f"tallies over (splits, samples) {shapes[0]} and {shapes[1]} do not compare")
  change = sample_accuracy(after) - sample_accuracy(before)
  known, splits = np.isfinite(change), shapes[0][0]
  values, size = change[known].astype(float), int(known.sum())
  if not size:
    return change, dict.fromkeys(CHANGES, Interval(np.nan, np.nan, np.nan))

  def moved(weight):
    ends = (influence_of_samples(tally, weight, size) for tally in (after, before))
    return np.subtract(*ends)

  near = moved(density_weights(change, 0.0))
  shares = [float((sign * values > _TIE).mean()) for sign in (1, -1)]
  spreads = [variance_of_share(p * (1 - p) / size, near) for p in shares]
  more, less = (
    Interval(p, *share_bounds(p, spread, size, level, splits - 1))
    for p, spread in zip(shares, spreads)
  )
  mean = t_interval(values.mean(), variance_of_mean(moved(known.astype(float))), splits, level)
  net = shares[0] - shares[1]
  variance = variance_of_share((sum(shares) - net**2) / size, 2 * near)
  return change, dict(zip(CHANGES, (mean, more, less, t_interval(net, variance, splits, level))))
