"""Audit anybody's shadow models: the tables, cautions and verdict of a study from their scores."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.audit.attacks.fits import refuse_non_finite
from jaxmu.audit.attacks.roles import EXCLUDED, FORGOTTEN, NAMES, NEVER
from jaxmu.audit.attacks.ulira import FITS, VARIANCES
from jaxmu.audit.questions import Case, choose
from jaxmu.audit.results import StudyResults, cells
from jaxmu.audit.rules import Caution
from jaxmu.audit.study import study_cautions, study_verdict
from jaxmu.audit.study.study_tables import Tables, describe, tables
from jaxmu.data.samples import as_array
from jaxmu.errors import DataError, shown

UNLEARNED = "unlearned"
LABELS = {UNLEARNED: "The unlearned models", "retrained": "Retrained", "original": "Original"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Given(StudyResults):
  """Results of scores that the caller gave."""

  def label(self, method: str) -> str:
    return LABELS.get(method, method)


@dataclasses.dataclass(frozen=True)
class StudyAudit:
  """What `audit_scores` found.

  Attributes:
    exposure: method, question, statistic, value, low, high, as in a run's exposure.parquet.
    samples: one row per method and sample, as in samples.parquet.
    roc: points of the pooled ROC curves: method, fpr, tpr.
    cautions: what would mislead a reader, the gravest first.
    verdict: sentences: can the study be trusted, what leaks.
  """

  exposure: pd.DataFrame
  samples: pd.DataFrame
  roc: pd.DataFrame
  cautions: tuple[Caution, ...]
  verdict: tuple[str, ...]

  def __str__(self) -> str:
    lines = [*self.verdict, *(f"{c.level}: {c.title}. {c.text}" for c in self.cautions)]
    return "\n".join(lines)


def audit_scores(
  phi: Any,
  roles: Any,
  splits: Any,
  *,
  correct: Any = None,
  retrained: Any = None,
  retrained_correct: Any = None,
  original: Any = None,
  original_correct: Any = None,
  fit: str = "normal",
  variance: str = "auto",
) -> StudyAudit:
  """Attack shadow models sample by sample, from any framework (U-LiRA and what stands beside it).

  >>> found = audit_scores(phi, roles, splits, retrained=phi_of_retrained_models)
  >>> print(found)

  The same attacks, intervals, cautions and sentences as in the report of a study.

  Args:
    phi: logit-scaled confidences of unlearned models, [M, N] (`attacks.scores`).
    roles: what each sample is to each model, int [M, N]: 0 never seen, 1 retained, 2 forgotten, -1
      left out (`attacks.roles.role_matrix` makes them from index sets).
    splits: int [M]; models of one split share their training samples.
    correct, retrained_correct, original_correct: whether the predictions are the labels, bool [M,
      N]. Where one of them is missing `phi > 0` serves for all, alike: that is right for two
      classes, and for more it misses predictions with a probability below one half.
    retrained, original: confidences [M, N] of the models retrained without the k-th forget set, and
      of those that the k-th was unlearned from. Without retrained models nothing shows that the
      attack finds one half where there is nothing to find.
    fit, variance: of the attacker's Gaussians, as in `ulira`; "auto" decides by their number.

  Raises:
    DataError: arrays that do not belong together, scores that are not finite, or too few models of
      a role for any sample to be attacked.
  """
  given = {"retrained": retrained, "original": original}
  given = {name: each for name, each in given.items() if each is not None} | {UNLEARNED: phi}
  arrays = {name: _read(f"{name} scores", array, "iuf") for name, array in given.items()}
  roles, splits = _read("roles", roles, "iu"), _read("splits", splits, "iu")
  _check_shapes(arrays, roles, splits)
  _check_values(arrays, roles)
  _check_fit(fit, variance)
  rights = {"retrained": retrained_correct, "original": original_correct, UNLEARNED: correct}
  rights = {name: _truths(name, rights[name]) for name in arrays if rights[name] is not None}
  _check_shapes(rights, roles, splits)
  whole = len(rights) == len(arrays)
  cases = {
    name: Case(array, rights[name] if whole else array > 0, roles, splits)
    for name, array in arrays.items()
  }
  attacker = choose(fit, variance, roles, splits)
  found = tables(cases, attacker)
  if found.roc[UNLEARNED].size == 0:
    raise DataError(
      "no sample was forgotten by enough models to be attacked: at least two splits must have "
      "forgotten it, and two must never have seen it; use more models"
    )
  count = len(np.unique(splits))
  study = describe(cases[UNLEARNED], attacker) | {
    "splits": count,
    "models": len(roles),
    "originals": len(roles),
    "failed": dict.fromkeys(cases, int((~cases[UNLEARNED].alive).sum())),
  }
  frames = _frames(found)
  results = _Given(
    cells=cells(found.exposures, count),
    samples={name: pd.DataFrame(columns) for name, columns in found.samples.items()},
    study=study,
  )
  warned = study_cautions.find(results)
  return StudyAudit(*frames, tuple(warned), tuple(study_verdict.write(results, warned)))


def _read(name: str, given: Any, kinds: str) -> np.ndarray:
  """Return an array of one of NumPy's kinds of types; nothing is cast to it."""
  array = as_array(name, given)
  if array.dtype.kind not in kinds:
    wanted = "numbers" if "f" in kinds else "whole numbers"
    raise DataError(f"{name} must be {wanted}, got {shown(array)}")
  return array


def _truths(name: str, given: Any) -> np.ndarray:
  """Return which predictions are right, bool; 0 and 1 say it, too."""
  array = as_array(f"correct predictions of {name}", given)
  if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
    raise DataError(f"correct predictions of {name} must be True or False, got {shown(array)}")
  return array.astype(bool)


def _check_fit(fit: Any, variance: Any) -> None:
  known = {"fit": (fit, FITS), "variance": (variance, ("auto", *VARIANCES))}
  for name, (given, names) in known.items():
    if not isinstance(given, str) or given not in names:
      raise DataError(f"{name} must be one of {', '.join(names)}, got {shown(given)}")


def _check_shapes(arrays: dict[str, np.ndarray], roles: np.ndarray, splits: np.ndarray) -> None:
  for name, array in arrays.items():
    if array.ndim != 2 or array.shape != roles.shape or splits.shape != roles.shape[:1]:
      raise DataError(
        f"{name} scores {array.shape}, roles {roles.shape} and splits {splits.shape} do not belong "
        "together; expected [M, N], [M, N] and [M]"
      )


def _check_values(arrays: dict[str, np.ndarray], roles: np.ndarray) -> None:
  for array in arrays.values():
    refuse_non_finite(np.where(roles == EXCLUDED, 0, array))
  if not np.isin(roles, list(NAMES)).all():
    known = ", ".join(f"{number} {name}" for number, name in sorted(NAMES.items()))
    raise DataError(f"roles holds {roles.min()}..{roles.max()}; expected {known}")
  for role in (FORGOTTEN, NEVER):
    if not (roles == role).any():
      raise DataError(f"no model has the role '{NAMES[role]}' for any sample; expected some")


def _frames(found: Tables) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
  samples = [
    pd.DataFrame({"method": name, "sample": np.arange(len(columns["accuracy"]))} | columns)
    for name, columns in found.samples.items()
  ]
  exposure, roc = pd.DataFrame(found.exposure_rows()), pd.DataFrame(found.roc_rows())
  return exposure, pd.concat(samples, ignore_index=True), roc
