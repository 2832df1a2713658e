"""A U-LiRA study: shadow models of random halves of a pool, attacked sample by sample."""

import numpy as np

from jaxmu.audit.attacks.population_mia import MINIMUM
from jaxmu.audit.text import plural
from jaxmu.data import Facts
from jaxmu.data.shadow_splits import ShadowStudy, of_request, shadow_study
from jaxmu.errors import DataError
from jaxmu.report.ulira import report
from jaxmu.settings import Settings
from jaxmu.settings.choices import CLASSES
from jaxmu.studies.given_models import applied
from jaxmu.studies.study import Member, Outline, Stage, Stages, Study
from jaxmu.studies.ulira import attack_tables
from jaxmu.unlearning import ANCHORS, chosen, hyperparameters


def stages(outline: Outline) -> Stages:
  """Yield original, retrained and the methods, a model for each split and forget set.

  As in the reference, all models begin with the same weights and see one batch order; methods draw
  from keys of their own. A shared original is trained on retain and forget of its split's first
  forget set: the same samples as for the others.
  """
  settings, drawn = outline.settings, draw(outline.settings, outline.facts)
  (seed,) = settings.seeds
  splits = {tuple(model): drawn.split(*model) for model in drawn.models.tolist()}
  shared, pool = settings.ulira.share_original, np.asarray(drawn.pool)
  for name in (*ANCHORS, *settings.methods):
    hp, anchor = hyperparameters(settings, name), name in ANCHORS
    keep = {"scores", "variables"} if name == "original" else {"scores"}
    members = tuple(
      Member(
        {"split": split, "forget": forget},
        sets,
        hp,
        (seed,) if anchor else (seed, split, forget),
        None if anchor else {"split": split, "forget": 0 if shared else forget},
      )
      for (split, forget), sets in splits.items()
      if not (shared and name == "original" and forget)
    )
    order = settings.training.data_seed if anchor else None
    parent = None if anchor else "original"
    stage = Stage(name, chosen(settings, name), members, parent, frozenset(keep), order, pool)
    yield applied(settings, stage) if anchor else stage


def draw(settings: Settings, facts: Facts) -> ShadowStudy:
  """Draw pool, splits and forget sets from the training part of a data set, its first samples.

  Raises:
    DataError: too few samples for the pool or the forget sets, or not what a request needs.
  """
  chosen, seed = settings.ulira, settings.data.split_seed
  drawn = shadow_study(
    facts.num_train,
    splits=chosen.splits,
    attempts=chosen.forgets,
    pool=chosen.pool or None,
    seed=seed,
  )
  drawn = of_request(drawn, facts, settings.scenario, seed)
  forget = drawn.split(0, 0).sizes["forget"]
  if forget < MINIMUM:
    raise DataError(
      f"a forget set of this study has {forget} samples, the attacks need at least {MINIMUM}; use "
      "more data or a larger config.ulira.pool or config.scenario.share"
    )
  return drawn


def about(outline: Outline) -> list[str]:
  """Say how many models there are, what each is trained on, and how often a sample is seen."""
  chosen, drawn = outline.settings.ulira, draw(outline.settings, outline.facts)
  sizes, total = drawn.split(0, 0).sizes, chosen.splits * chosen.forgets
  share, who, more = 0.05, "a sample", []
  if drawn.wanted is not None:
    count = int(drawn.wanted[drawn.pool].sum())
    share, who = sizes["forget"] / count, "such a sample"
    more.append(
      f"forget sets: {sizes['forget']:,} of the {count:,} samples of {_whose(outline)} in the pool"
      ", drawn in each half: all of one size, by the half that has the fewest"
    )
  return [
    f"{chosen.splits} splits x {chosen.forgets} forget sets; pool of {len(drawn.pool):,}: "
    f"{sizes['retain']:,} retained, {sizes['forget']:,} forgotten, {sizes['test']:,} never seen "
    "in each model",
    *more,
    f"{who} is forgotten in {share * total:.1f} and never seen in {0.5 * total:.0f} of {total} "
    "models on average",
  ]


def _whose(outline: Outline) -> str:
  asked = outline.settings.scenario
  if asked.forget == CLASSES:
    return f"classes {asked.classes}"
  return plural(asked.groups, "drawn group")


ULIRA = Study(stages, attack_tables.write, report, about)
