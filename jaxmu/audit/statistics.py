"""Summaries over seeds: centre, spread and bootstrap intervals of every metric of every method."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from jaxmu.audit import metrics

_COLUMNS = ("mean", "sd", "median", "q25", "q75", "iqr", "seeds_low", "seeds_high")


def summarise(
  rows: pd.DataFrame, bootstrap: int = 2000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
  """Summarise each metric of each method over the seeds.

  Returns one row per (method, metric), methods in the order of `rows`, with the columns method,
  metric, n (values that entered), n_failed (non-finite members, which are left out), mean, sd
  (ddof 1), median, q25, q75, iqr, seeds_low, seeds_high (expanded percentile bootstrap interval of
  the mean over seeds: what other initialisations would give on the same samples. It says nothing
  about other samples where seeds share a split; `comparison.tables` does).

  Ratio metrics are non-linear, so the order of averaging matters (spec evaluation 2). `RR` ... are
  means of per-seed values; `RR_of_means` ... are computed from means over the seeds that are finite
  in both the method and the retrained models. For these `mean` is the value itself, and the
  interval resamples seeds, method and retrained together; sd, median and quartiles are NaN.
  """
  columns = metrics.numbers(rows.columns)
  retrained = _finite(rows, "retrained")
  table = []
  for method in rows["method"].unique():
    found = _finite(rows, method)
    failed = int((rows["method"] == method).sum()) - len(found)
    lines = {c: describe(found[c].to_numpy(float), bootstrap, level, seed) for c in columns}
    lines |= _of_means(found, retrained, bootstrap, level, seed)
    table += [
      {"method": method, "metric": name, "n": line.pop("n"), "n_failed": failed} | line
      for name, line in lines.items()
    ]
  return pd.DataFrame(table)


def describe(
  values: np.ndarray, bootstrap: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, float]:
  """Return n and the columns of `summarise` of the values [n] that are not NaN."""
  values = values[~np.isnan(values)]
  n = len(values)
  if not n:
    return {"n": 0} | dict.fromkeys(_COLUMNS, np.nan)
  with np.errstate(invalid="ignore"):  # an infinite ratio has no spread
    mean, sd = values.mean(), values.std(ddof=1) if n > 1 else np.nan
    q25, median, q75 = np.quantile(values, (0.25, 0.5, 0.75))
    means = resampled_means(values[:, None], bootstrap, seed)[:, 0]
    low, high = percentile_interval(means, n, level)
    numbers = (mean, sd, median, q25, q75, q75 - q25, low, high)
  return {"n": n} | {key: float(value) for key, value in zip(_COLUMNS, numbers)}


def resampled_means(values: np.ndarray, bootstrap: int, seed: int = 0) -> np.ndarray:
  """Return the means of `bootstrap` resamples of the rows of values [n, M], [bootstrap, M].

  The same seed draws the same rows for every method, so intervals do not depend on their order.
  Fewer than two rows have no spread to resample: NaN.
  """
  n = len(values)
  if n < 2:
    return np.full((max(bootstrap, 1), values.shape[1]), np.nan)
  drawn = np.random.default_rng(seed).integers(0, n, (bootstrap, n))
  return values[drawn].mean(1)


def percentile_interval(replicates: np.ndarray, n: int, level: float = 0.95) -> tuple[float, float]:
  """Return the expanded percentile interval of replicates [B] that resample n values.

  The plain percentile interval is too narrow for few values: at n = 10 about 0.90 of those at level
  0.95 hold the truth. Its tail probability is therefore widened to that of a t interval,
  Phi(-sqrt(n/(n-1)) t_{n-1}) (Hesterberg 2015, "What teachers should know about the bootstrap").
  NaN for fewer than two values.
  """
  if n < 2:
    return np.nan, np.nan
  wide = np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)
  tail = stats.norm.sf(wide)
  low, high = np.quantile(replicates, (tail, 1 - tail))
  return float(low), float(high)


def _finite(rows: pd.DataFrame, method: str) -> pd.DataFrame:
  return rows[(rows["method"] == method) & rows["finite"]]


def _of_means(found, retrained, bootstrap, level, seed) -> dict[str, dict]:
  """Compute the derived metrics from means over common seeds, with intervals."""
  pairs = found.merge(retrained, on="seed", suffixes=("", "_r"))
  n = len(pairs)
  if not n:
    return {}
  names = [name for name in metrics.averaged() if name in found]  # rows may be of an older run
  values = pairs[[*names, *(f"{name}_r" for name in names)]].to_numpy(float)
  point = _compare_columns(names, values.mean(0))
  spread = _compare_columns(names, resampled_means(values, bootstrap, seed).T)
  lines = {}
  for name, value in point.items():
    low, high = percentile_interval(spread[name], n, level)
    line = dict.fromkeys(_COLUMNS, np.nan)
    line |= {"mean": float(value), "seeds_low": low, "seeds_high": high}
    lines[f"{name}_of_means"] = {"n": n} | line
  return lines


def _compare_columns(names: list[str], means: np.ndarray) -> Mapping:
  new, reference = means[: len(names)], means[len(names) :]
  return metrics.compare(dict(zip(names, new)), dict(zip(names, reference)))
