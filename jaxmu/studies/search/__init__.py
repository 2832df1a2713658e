"""A search for hyper-parameters: trials of all methods on some seeds, and what is chosen of them.

Members of a stage are trials on seeds: a batch of trials is one population, whatever they draw.
"""

from collections.abc import Generator, Mapping

import numpy as np

from jaxmu import data
from jaxmu.audit.text import plural
from jaxmu.execution import accounting
from jaxmu.execution.accounting import WHOLE
from jaxmu.report.search import report
from jaxmu.search import choice
from jaxmu.search.choice import Hp, Trial
from jaxmu.search.sampler import Fixed, Search, Searching
from jaxmu.search.space import Space
from jaxmu.settings import Settings
from jaxmu.settings.choices import GIVEN, REFERENCE, ROBUST
from jaxmu.store import tuned
from jaxmu.studies import benchmark
from jaxmu.studies.search import halving, search_tables
from jaxmu.studies.search.judged import judged as judged_trials
from jaxmu.studies.search.search_stages import Builder
from jaxmu.studies.study import Branch, Member, Outline, Row, Rows, Stage, Stages, Study
from jaxmu.unlearning import hyperparameters

FIXED = "fixed"


def stages(outline: Outline) -> Stages:
  """Yield original and retrained models, batches of trials, and checks of what they led to.

  Each seed has a search of its own. Trials train on the retain and forget set of their seed and are
  judged by its validation set, and by its validation control where a request has one; test samples
  play no part (spec evaluation 6.1).

  Raises:
    DataError: the split leaves a set too small to be attacked, or the data do not have what a
      request needs.
    SettingsError: methods need what they may not read.
  """
  settings, build = outline.settings, Builder(outline)
  benchmark.refuse_hidden(settings)
  anchors = build.anchors()
  yield next(anchors)
  retrained = yield next(anchors)
  searches = {method: _searches(build, method) for method in settings.methods}
  trials: dict[str, list[Trial]] = {method: [] for method in settings.methods}
  first = 0
  for number, count in enumerate(batches(settings), 1):
    drawn = {m: {place: s.ask(count) for place, s in own.items()} for m, own in searches.items()}
    asked = {method: build.batch(method, number, first, own) for method, own in drawn.items()}
    judged = yield from _trials(build, asked, retrained)
    if any(row.get("assumed") for row in retrained):  # a plan, for which one batch is as another
      searches = {m: {k: Fixed(hp) for k, hp in own.items()} for m, own in drawn.items()}
    for method, found in judged.items():
      achieved: dict[int, list[np.ndarray]] = {}
      for trial in found:
        achieved.setdefault(trial.place, []).append(trial.values)
      for place, search in searches[method].items():
        search.tell(achieved[place])
      trials[method] += found
    first += count
  again: dict[str, list[Trial]] = {}
  if _compares(settings):
    best = {m: choice.candidates(own, settings.search.robust) for m, own in trials.items()}
    again = yield from _all({m: build.again(m, own) for m, own in best.items() if own}, retrained)
  if settings.search.check_seeds:
    for method in settings.methods:
      for name, hp in chosen(settings, method, trials[method], again.get(method, [])).items():
        yield build.check(method, name, hp)


def chosen(
  settings: Settings, method: str, trials: list[Trial], again: list[Trial]
) -> dict[str, Hp]:
  """Return the configurations that are compared: as the config has it, and by either rule.

  A rule is left out whose trials all failed.
  """
  found = {
    GIVEN: hyperparameters(settings, method),
    REFERENCE: choice.reference(trials),
    ROBUST: choice.robust(again),
  }
  return {name: hp for name, hp in found.items() if hp is not None}


def batches(settings: Settings) -> list[int]:
  """Return how many trials each batch of a search has."""
  trials, size = settings.search.trials, settings.search.batch
  if settings.search.sampler == FIXED:
    return [1]
  return [min(size, trials - done) for done in range(0, trials, size)]


def assumed(stage: Stage) -> list[Row]:
  """Return rows as if all models of a stage were alike, for a plan that looks ahead."""
  same = {"finite": True, "RA": 1.0, "FA": 1.0, "VA": 1.0, "V_MIA": 0.5, "assumed": True}
  return [{**member.at, **same, "epochs_left": _left(stage, member)} for member in stage.members]


def _left(stage: Stage, member: Member) -> int:
  """Return how many epochs a trial has after those of a stage."""
  if stage.span == WHOLE:
    return 0
  known = stage.method, member.hp, member.sets.trained_sizes
  (whole,) = accounting.epochs(*known, fidelity=None, num_classes=2)  # neither changes it
  return max(whole - stage.span.stop, 0)


def branches(settings: Settings) -> list[Branch]:
  """Return what can be searched apart: methods, and their seeds where no stage compares these."""
  asked = settings.search
  if _compares(settings) or asked.check_seeds:
    return [Branch(method) for method in settings.methods]
  coordinate, places = "seed", settings.seeds
  if asked.splits:
    coordinate, places = "split", tuple(range(asked.splits))
  return [Branch(method, coordinate, (place,)) for method in settings.methods for place in places]


def _compares(settings: Settings) -> bool:
  """Tell whether the best configurations run again on all seeds."""
  several = len(settings.seeds) + len(settings.search.robust_seeds) > 1
  return bool(settings.search.robust) and not settings.search.splits and several


def about(outline: Outline) -> list[str]:
  """Say how many trials there are, and what they are drawn from."""
  settings = outline.settings
  asked, total = settings.search, sum(batches(settings))
  places = plural(asked.splits, "split") if asked.splits else plural(len(settings.seeds), "seed")
  sizes = []
  if not asked.splits:
    splits = data.searched_splits_for(settings, outline.facts)
    sizes = [f"{len(splits)} members a stage; {benchmark.sizes_of(splits)}"]
  return [
    *sizes,
    f"{len(settings.methods)} methods x {plural(total, 'trial')} x {places} "
    f"({asked.sampler}, {asked.ranges} ranges, batches of {asked.batch}); choices are checked on "
    f"{plural(len(asked.check_seeds), 'further seed')}",
  ]


def _trials(
  build: Builder, asked: Mapping[str, Stage], retrained: Rows
) -> Generator[Stage, Rows, dict[str, list[Trial]]]:
  """Yield a batch of trials; return what they achieved, by method."""
  search = build.settings.search
  if not search.rungs:
    # All methods' trials are known before any is looked at, so processes share the work.
    return (yield from _all(asked, retrained))
  found = {}
  for method, stage in asked.items():  # one by one: states of all would not fit on a disk
    found[method] = yield from halving.run(stage, build.spans(stage.method), search, retrained)
  return found


def _all(stages: Mapping[str, Stage], retrained: Rows) -> Generator[Stage, Rows, dict[str, list]]:
  """Yield stages, one a method; return what their members achieved, once all are asked for."""
  rows = {}
  for method, stage in stages.items():
    rows[method] = yield stage
  return {m: judged_trials(stage, rows[m], retrained) for m, stage in stages.items()}


def _searches(build: Builder, method: str) -> dict[int, Searching]:
  """Begin a search for each place."""
  settings, asked = build.settings, build.settings.search
  if asked.sampler == FIXED:
    return {place: Fixed([hyperparameters(settings, method)]) for place in build.places}
  space = Space.of(settings, method)
  begin = lambda place: Search(space, asked.sampler, build.sampler_seed(place), asked.batch)
  found = {place: begin(place) for place in build.places}
  if asked.start:
    known = tuned.read(asked.start, settings.dataset, settings.model.name)
    for search in found.values():
      search.first([known[method]] if method in known else [])
  return found


SEARCH = Study(stages, search_tables.write, report, about, assumed, branches)
