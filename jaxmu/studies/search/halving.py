"""Successive halving: trials are looked at after some of their epochs, and the better ones go on.

A trial that goes on continues from its state, and ends as if it had never been looked at. Ranges of
epochs are absolute, as in Jamieson and Talwalkar (AISTATS 2016): short trials are ended already
where long ones are judged. Methods of several phases have no state that is worth comparing in the
first one; their trials run whole.
"""

import math
from collections.abc import Generator, Sequence

from jaxmu.execution.accounting import NO_LIMIT, WHOLE, Span
from jaxmu.search import choice
from jaxmu.search.choice import Trial
from jaxmu.settings import SearchSettings
from jaxmu.store.groups import text
from jaxmu.studies.search.judged import judged
from jaxmu.studies.study import Rows, Stage


def run(
  stage: Stage, spans: Sequence[Span], asked: SearchSettings, retrained: Rows
) -> Generator[Stage, Rows, list[Trial]]:
  """Yield a stage of trials part by part; return what each achieved when it was last looked at."""
  found: dict[str, Trial] = {}
  names: tuple[str, ...] = ()
  for number, span in enumerate(spans, 1):
    name = f"{stage.name}.{span.first}" if names else stage.name
    part = stage._replace(name=name, span=span, earlier=names)
    trials = judged(part, (yield part), retrained)
    found |= {text(trial.at): trial for trial in trials}
    names = (*names, name)
    running = {text(trial.at) for trial in trials}
    share, most = asked.keep**number, asked.hopeless or math.inf
    on = {text(trial.at) for trial in better(list(found.values()), running, share, most)}
    left = tuple(member for member in stage.members if text(member.at) in on)
    if not left:
      break
    stage = stage._replace(members=left)
  return sorted(found.values(), key=lambda trial: tuple(trial.at.values()))


def better(trials: Sequence[Trial], running: set[str], share: float, most: float) -> list[Trial]:
  """Return the trials that go on: those with epochs left among the best of their place.

  Args:
    trials: of all places, as they were last looked at.
    running: coordinates of those that were looked at now; the others were stopped before, or have
      ended. Ended ones compete.
    share: of all trials of a place, that are its best.
    most: S of the worst that goes on; one that is not finite never does.
  """
  found = []
  for place in dict.fromkeys(trial.place for trial in trials):
    own = [trial for trial in trials if trial.place == place]
    came = [trial for trial in own if text(trial.at) in running or not trial.stopped]
    best = choice.least(came, math.ceil(share * len(own) - 1e-9))
    found += [trial for trial in best if trial.stopped and trial.score <= most]
  return found


def spans(shares: Sequence[float], longest: int, phases: int) -> tuple[Span, ...]:
  """Return the epochs between looks at trials.

  Args:
    shares: of the most epochs that a trial may have, after which trials are looked at.
    longest: that number.
    phases: of the method.
  """
  if phases != 1:
    return (WHOLE,)
  looks = sorted({min(max(math.ceil(share * longest), 1), longest) for share in shares} - {longest})
  return tuple(Span(*pair) for pair in zip((0, *looks), (*looks, NO_LIMIT)))
