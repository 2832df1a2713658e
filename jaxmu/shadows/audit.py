"""From scores to tables: every attack on every stage of a study, with the same questions for all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmu import statistics
from jaxmu.attacks import exposure as exposed
from jaxmu.attacks.exposure import Interval
from jaxmu.attacks.klom import PERCENTILE, klom
from jaxmu.attacks.population_mia import population_mia_many
from jaxmu.attacks.population_scores import roc_points
from jaxmu.attacks.rmia import FLOOR, rmia
from jaxmu.attacks.roles import (
  EXCLUDED,
  FORGOTTEN,
  NEVER,
  RETAINED,
  exclude,
  role_counts,
  role_matrix,
  trained_roles,
)
from jaxmu.attacks.ulira import ulira
from jaxmu.errors import DataError
from jaxmu.shadows.models import models, original_of, splits_of
from jaxmu.shadows.stage import Lab

FEW = 16  # forgotten models per sample below which variances are pooled (spec evaluation 9.6)
FEW_SPLITS = 32  # splits per side and sample below which both sides are left out alike
SHOWN = 12  # most exposed samples of a method that the report shows
UNKNOWN = (np.nan, np.nan)


class Attacker(NamedTuple):
  """How Gaussians are fitted in a study."""

  fit: str
  fixed_variance: bool
  paired: bool


class Case(NamedTuple):
  """A stage as the attacks see it: scores [M, N], predictions [M, N], roles [M, N], splits [M]."""

  name: str
  phi: np.ndarray
  correct: np.ndarray
  roles: np.ndarray
  splits: np.ndarray


def write(lab: Lab, names: Sequence[str]) -> None:
  """Attack all stages and write the tables that the report reads."""
  every = models(lab.study, lab.settings, "retrained")
  splits = splits_of(lab.study, every)
  roles = role_matrix(
    [split.retain for split in splits], [split.forget for split in splits], lab.study.pool
  )
  groups = np.array([model[0] for model in every])
  attacker = choose(lab.settings.ulira, roles, groups)
  cases = {name: _case(lab, name, every, roles, groups) for name in names}
  rows, samples, rocs, before = [], [], [], None
  for name, case in cases.items():
    found, scores = _forgotten(case, attacker, cases["retrained"], lab)
    retained, before = _retained(case, attacker, before, lab)
    rows += [*found.rows, *retained, *_model(case)]
    if name == "original":
      rows += _trained(lab, case, attacker)
    samples += _samples(lab, case, found.accuracy)
    rocs += _roc(name, scores, case.roles)
  lab.run.write_table("exposure", rows)
  lab.run.write_table("samples", samples)
  lab.run.write_table("roc", rocs)
  _write_images(lab, samples, names)
  lab.run.write_json("timings.json", {name: lab.scores(name).cost for name in names})
  lab.run.write_json("study.json", _facts(lab, roles, attacker, cases))


def choose(settings: Any, roles: np.ndarray, splits: np.ndarray) -> Attacker:
  """Return the attacker that the settings ask for; "auto" pools variances of few models."""
  forgotten = (roles == FORGOTTEN).sum(0).mean()
  fixed = settings.variance == "fixed" or (settings.variance == "auto" and forgotten < FEW)
  seen = np.stack([(roles[splits == s] == FORGOTTEN).any(0) for s in np.unique(splits)])
  return Attacker(settings.fit, bool(fixed), bool(seen.sum(0).mean() < FEW_SPLITS))


def _case(lab: Lab, name: str, every, roles, groups) -> Case:
  """Read a stage; the original of each model stands where the model itself stands elsewhere."""
  scores = lab.scores(name)
  rows = [original_of(m, lab.settings) for m in every] if name == "original" else every
  roles = exclude(roles, scores.failed(rows))
  return Case(name, scores.phi(rows), scores.correct(rows), roles, groups)


class _Found(NamedTuple):
  rows: list[dict]
  accuracy: np.ndarray


def _forgotten(case: Case, attacker: Attacker, retrained: Case, lab: Lab):
  """Ask whether models forgot a sample or never saw it: rows, accuracies, and ratios [M, N]."""
  bootstrap = lab.settings.evaluation.bootstrap
  scores = ulira(case.phi, case.roles, case.splits, **attacker._asdict())
  if not _attackable(scores, case.roles, FORGOTTEN, NEVER):
    if (case.roles == EXCLUDED).all(1).any():  # too few models of this stage stayed finite
      return _Found([], np.full(case.phi.shape[1], np.nan)), scores
    raise DataError(
      f"{case.name}: no sample was forgotten by enough models to be attacked; use more "
      "config.ulira.splits or forgets: the same command with larger numbers adds models"
    )
  found = exposed.exposure(scores, case.roles, case.splits, bootstrap=bootstrap)
  rmia_scores = rmia(_confidence(case), splits=case.splits)
  table = found.statistics | {
    "confirmed_worst": Interval(_confirmed(case, attacker), *UNKNOWN),
    "rmia_auc": exposed.exposure(
      rmia_scores, case.roles, case.splits, bootstrap=bootstrap, threshold=0.5
    ).statistics["auc"],
    "population": _population(case, lab),
    "klom_q95": Interval(_klom(case, retrained), *UNKNOWN),
  }
  return _Found(_rows(case.name, "forgotten", table), found.accuracy), scores


def _retained(case: Case, attacker: Attacker, before, lab: Lab):
  """Ask whether models retained a sample or never saw it, and what changed since the originals."""
  sides, bootstrap = {"positive": RETAINED, "negative": NEVER}, lab.settings.evaluation.bootstrap
  plain = attacker._replace(fixed_variance=lab.settings.ulira.variance == "fixed")
  scores = ulira(case.phi, case.roles, case.splits, **plain._asdict(), **sides)
  if not _attackable(scores, case.roles, **sides):
    return [], before
  found = exposed.exposure(scores, case.roles, case.splits, bootstrap=bootstrap, **sides)
  table = dict(found.statistics)
  before = found.tally if before is None else before
  if case.name != "original":
    change = exposed.exposure_change(before, found.tally, bootstrap=bootstrap)[1]
    named = {"mean": "mean", "share_more": "share_more", "share_less": "share_less", "net": "net"}
    table |= {f"change_{name}": change[key] for key, name in named.items()}
  return _rows(case.name, "retained", table), before


def _trained(lab: Lab, case: Case, attacker: Attacker) -> list[dict]:
  """Ask the plain membership question of the originals, each counted once."""
  once = sorted({original_of((s, f), lab.settings) for s, f in lab.study.models.tolist()})
  every = models(lab.study, lab.settings, "retrained")
  rows = [every.index(model) for model in once]
  roles, splits = trained_roles(case.roles[rows]), case.splits[rows]
  plain = attacker._replace(fixed_variance=lab.settings.ulira.variance == "fixed")
  sides = {"positive": RETAINED, "negative": NEVER}
  scores = ulira(case.phi[rows], roles, splits, **plain._asdict(), **sides)
  if not _attackable(scores, roles, **sides):
    return []
  bootstrap = lab.settings.evaluation.bootstrap
  found = exposed.exposure(scores, roles, splits, bootstrap=bootstrap, **sides)
  return _rows(case.name, "trained", found.statistics)


def _attackable(scores: np.ndarray, roles: np.ndarray, positive: int, negative: int) -> bool:
  """Tell whether some sample has scores of both roles: small studies may lack models for a fit."""
  known = np.isfinite(scores)
  return bool(((known & (roles == positive)).any(0) & (known & (roles == negative)).any(0)).any())


def _model(case: Case) -> list[dict]:
  """Return accuracies by role, averaged over models, with intervals over splits."""
  table = {}
  for name, role in (("retained", RETAINED), ("forgotten", FORGOTTEN), ("never", NEVER)):
    mask = case.roles == role
    with np.errstate(invalid="ignore"):
      each = (case.correct & mask).sum(1) / mask.sum(1)
    table[f"accuracy_{name}"] = _over_splits(each, case.splits)
  return _rows(case.name, "model", table)


def _population(case: Case, lab: Lab) -> Interval:
  """Attack each model with one threshold on the loss for all its samples."""
  kept = ~(case.roles == EXCLUDED).all(1)
  losses = lambda role: np.stack(
    [np.logaddexp(0, -phi[r == role]) for phi, r in zip(case.phi[kept], case.roles[kept])]
  )  # -log sigmoid(phi), the cross-entropy
  results = population_mia_many(losses(NEVER), losses(FORGOTTEN))
  return _over_splits(np.array([result.accuracy for result in results]), case.splits[kept])


def _confirmed(case: Case, attacker: Attacker) -> float:
  """Return the accuracy on the most exposed samples, selected and measured by other splits."""
  runs = []
  for half in (case.splits % 2 == 0, case.splits % 2 == 1):
    if len(np.unique(case.splits[half])) < 2:
      return np.nan
    roles, splits = case.roles[half], case.splits[half]
    scores = ulira(case.phi[half], roles, splits, **attacker._asdict())
    runs.append(exposed.sample_accuracy(exposed.tally(scores, roles, splits))[0])
  return exposed.confirmed_worst(*runs)


def _klom(case: Case, retrained: Case) -> float:
  """Return the 95th percentile of KLOM where enough models forgot a sample; NaN for small studies.

  Each sample's first forgetting models are compared with as many retrained ones of the other
  half, so that the retrained models' own value is the noise of this measure.
  """
  mask = (case.roles == FORGOTTEN) & (retrained.roles == FORGOTTEN)
  half = int(np.quantile(mask.sum(0), 0.1)) // 2
  if half < FEW // 2 or case.name == "original":
    return np.nan
  enough = mask.sum(0) >= 2 * half
  order = np.argsort(~mask[:, enough], axis=0, kind="stable")
  take = lambda phi, part: np.take_along_axis(phi[:, enough], order[part], 0)
  unlearned = take(case.phi, slice(0, half))
  return float(
    np.percentile(klom(unlearned, take(retrained.phi, slice(half, 2 * half))), PERCENTILE)
  )


def _confidence(case: Case) -> np.ndarray:
  """Return the probability of the true class, positive also where it underflows."""
  with np.errstate(over="ignore", invalid="ignore"):
    p = 1 / (1 + np.exp(-np.asarray(case.phi, np.float64)))
  return np.where(np.isfinite(p), np.clip(p, FLOOR, 1), 1.0)


def _over_splits(values: np.ndarray, splits: np.ndarray) -> Interval:
  """Return the mean over models, and the interval of the mean over splits."""
  known = ~np.isnan(values)
  means = np.array([values[known & (splits == s)].mean() for s in np.unique(splits[known])])
  found = statistics.describe(means)
  return Interval(found["mean"], found["low"], found["high"])


def _rows(method: str, question: str, table: dict[str, Interval]) -> list[dict]:
  return [
    {"method": method, "question": question, "statistic": name, **interval._asdict()}
    for name, interval in table.items()
  ]


def _samples(lab: Lab, case: Case, accuracy: np.ndarray) -> list[dict]:
  """Return one row per sample of the pool."""
  counts, means = {}, {}
  for name, role in (("forgotten", FORGOTTEN), ("never", NEVER)):
    mask = case.roles == role
    counts[name] = mask.sum(0)
    total = np.where(mask, case.phi, 0).sum(0, dtype=float)
    means[name] = total / np.where(counts[name], counts[name], np.nan)
  columns = {
    "sample": lab.study.pool,
    "label": lab.dataset.labels[lab.study.pool],
    "accuracy": accuracy,
    **{f"n_{name}": count for name, count in counts.items()},
    **{f"score_{name}": mean for name, mean in means.items()},
  }
  lists = [column.tolist() for column in columns.values()]
  return [{"method": case.name} | dict(zip(columns, row)) for row in zip(*lists)]


def _roc(name: str, scores: np.ndarray, roles: np.ndarray) -> list[dict]:
  known = ~np.isnan(scores)
  members, others = known & (roles == FORGOTTEN), known & (roles == NEVER)
  counts = members.sum(0), others.sum(0)
  worth = np.where(counts[1] > 0, counts[0] / np.maximum(counts[1], 1), 0.0)
  asked = members & (counts[1] > 0), others & (counts[0] > 0)
  if not asked[0].any():
    return []
  weights = np.broadcast_to(worth, scores.shape)[asked[1]]
  points = roc_points(scores[asked[0]], scores[asked[1]], weights)
  return [{"method": name, "fpr": float(x), "tpr": float(y)} for x, y in points]


def _write_images(lab: Lab, samples: list[dict], names: Sequence[str]) -> None:
  """Write the images of each method's most exposed samples."""
  pool, shown = lab.study.pool, set()
  for name in names:
    accuracy = np.array([row["accuracy"] for row in samples if row["method"] == name])
    shown |= set(pool[exposed.most_exposed(accuracy, SHOWN)].tolist())
  order, dataset = sorted(shown), lab.dataset
  lab.run.write_array("exposed", dataset.images[order])
  given = {"labels": dataset.labels[order], "original_labels": dataset.original_labels[order]}
  lab.run.write_json("exposed.json", {"samples": order, **given})


def _facts(lab: Lab, roles: np.ndarray, attacker: Attacker, cases: dict[str, Case]) -> dict:
  counts, sizes = role_counts(roles), lab.study.split(0, 0).sizes
  spread = lambda values: {"mean": values.mean(), "min": values.min(), "max": values.max()}
  return {
    "splits": lab.study.splits,
    "forgets": lab.study.attempts,
    "models": len(roles),
    "originals": len(models(lab.study, lab.settings, "original")),
    "pool": len(lab.study.pool),
    "sizes": {
      **{part: sizes[part] for part in ("train", "retain", "forget", "val")},
      "held_out": sizes["test"],
    },
    "attack": {
      "variance": "fixed" if attacker.fixed_variance else "sample",
      "fit": attacker.fit,
      "paired": attacker.paired,
      "leave_out": "split",
    },
    "forgotten_per_sample": spread(counts["forgotten"]),
    "never_per_sample": spread(counts["never seen"]),
    "failed": {name: int((case.roles == EXCLUDED).all(1).sum()) for name, case in cases.items()},
  }
