"""Which hyper-parameters made trials good or bad."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxmu.search.choice import Trial
from jaxmu.search.space import Space
from jaxmu.training.hyper import Distribution

FEWEST = 10  # finite trials below which nothing can be said


def of(space: Space, trials: Sequence[Trial]) -> list[tuple[str, float]]:
  """Return each hyper-parameter with its importance for S, the sum being 1; [] for few trials.

  PED-ANOVA (Watanabe et al., IJCAI 2023): how far its distribution among the best trials is from
  that among all, as optuna computes it.
  """
  import optuna

  finite = [trial for trial in trials if np.isfinite(trial.score) and not trial.stopped]
  distributions = {name: _distribution(space, name, each) for name, each in space.drawn.items()}
  if len(finite) < FEWEST or len(distributions) < 2:
    return []
  study = optuna.create_study()
  for trial in finite:
    values = {name: space.inside(name, trial.hp[name]) for name in distributions}
    made = optuna.trial.create_trial(params=values, distributions=distributions, value=trial.score)
    study.add_trial(made)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
  return list(found.items())


def _distribution(space: Space, name: str, each: Distribution) -> Any:
  from optuna import distributions

  if each.kind == "categorical":
    return distributions.CategoricalDistribution(each.choices)
  if each.kind == "integer":
    return distributions.IntDistribution(int(each.low), int(space.high(name)))
  log = each.kind == "log_uniform"
  return distributions.FloatDistribution(each.low, space.high(name), log=log)
