"""What of a study a tracker was told already, and what is to be told: every model once.

Any process may tell it, under a lock. What was told stands in `tracked.jsonl` of the run directory,
so a study that goes on, or grows, tells what is new.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from json import dumps
from typing import Any, NamedTuple

import numpy as np

from jaxmu.errors import short
from jaxmu.store import Run, attempts, files
from jaxmu.store.groups import MemberRecord, text, without_round
from jaxmu.store.record import Record
from jaxmu.tracking.trackers import TRACKERS, About, Sink, Tracker

TOLD, LOCK = "tracked.jsonl", ".tracked.lock"
CURVES = ("loss", "accuracy", "learning_rate")
PATIENCE, PAUSE = 60.0, 0.2  # seconds for which another process may be telling; between two looks


class News(NamedTuple):
  """Something to tell of a model.

  Attributes:
    what: which part of it, for the list of what was told.
    curves: numbers by epoch.
    result: of the finished model.
  """

  about: About
  what: str
  result: Mapping[str, float]
  curves: tuple[Mapping[str, float], ...] = ()


class Tracking:
  """Tells a tracker of a study's models; does nothing where there is none.

  A tracker that fails is left alone from then on: it never ends a study.
  """

  def __init__(self, name: str, run: Run, record: Record, say: Callable[[str], None]):
    self.name, self.run, self.record, self.say = name, run, record, say
    self.tracker: Tracker | None = TRACKERS[name] if name else None

  def finished(self, stage: str) -> None:
    """Tell curves, accuracies and seconds of models of a stage whose units are finished.

    Where another process is telling, the next call comes to these.
    """
    self._tell(lambda known: self._trained([stage], known), 0.0)

  def measured(self) -> None:
    """Tell all that is left: curves, and the rows of results that compare models."""
    self._tell(lambda known: self._trained(list(self.record.expected), known), PATIENCE)
    self._tell(self._compared, PATIENCE)

  def _tell(self, news: Callable[[set[str]], Iterator[News]], patience: float) -> None:
    if self.tracker is None:
      return
    try:
      end = time.monotonic() + patience
      while not self._told_alone(self.tracker, news):
        if time.monotonic() > end:
          return
        time.sleep(PAUSE)
    except Exception as error:  # of a package, a network or a disk: none of them ends a study
      self.tracker = None
      self.say(
        f"note: the tracker {self.name} failed ({type(error).__name__}: {short(str(error))}); the "
        "study goes on without it, and the same command tells it what is missing"
      )

  def _told_alone(self, tracker: Tracker, news: Callable[[set[str]], Iterator[News]]) -> bool:
    """Tell what is new unless another process is at it; say whether."""
    with attempts.lock(self.run.path / LOCK) as mine:
      if mine:
        path = self.run.path / TOLD
        known = {line["told"] for line in files.read_lines(path)}
        for each in news(known):
          with tracker(each.about) as sink:
            _send(sink, each)
          files.append_line(path, dumps({"told": self._key(each.about, each.what)}))
      return mine

  def _key(self, about: About, what: str) -> str:
    return f"{self.name} {about.id} {what}"

  def _trained(self, stages: Sequence[str], known: set[str]) -> Iterator[News]:
    """Yield models that are finished and not told, with their curves."""
    for stage in stages:
      wanted = {member.identity for member in self.record.expected[stage]}
      for group in self.record.groups(stage):
        about = {k: self._about(stage, m) for k, m in enumerate(group.members)}
        new = [
          k
          for k, member in enumerate(group.members)
          if member.identity in wanted and self._key(about[k], "curves") not in known
        ]
        if not new:
          continue
        rows = self.record.curves_of(group) if "curves.parquet" in group.files else []
        seconds = {"seconds": group.cost.wall_s / len(group.members)}
        for k in new:
          own = [{name: row[name] for name in CURVES} for row in rows if row["member"] == k]
          result = _numbers(group.members[k].row) | seconds
          yield News(about[k], "curves", result, tuple(map(_numbers, own)))

  def _compared(self, known: set[str]) -> Iterator[News]:
    """Yield the rows of results that are not told, or that are others than they were."""
    if not self.run.has("rows.parquet"):
      return
    rows = self.run.rows().to_dict("records")
    for stage, expected in self.record.expected.items():
      own = [row for row in rows if row["method"] == stage]
      places = {text(member.at): member for member in self.record.members(stage)} if own else {}
      for row in own:
        member = places[text({name: int(row[name]) for name in expected[0].at})]
        result = _numbers(row)
        digest = sha256(dumps(result, sort_keys=True).encode()).hexdigest()[:16]
        about = self._about(stage, member)
        if self._key(about, digest) not in known:
          yield News(about, digest, result)

  def _about(self, stage: str, member: MemberRecord) -> About:
    method = without_round(stage)
    described = self.run.manifest.methods.get(method)
    hyperparameters = dict(described.hyperparameters) if described else {}
    config = {"method": method, "stage": stage, **member.at, **hyperparameters}
    study = self.run.path.name
    name = f"{study}-{member.identity[:16]}"
    return About(study, self.run.path, stage, text(member.at), name, config)


def _send(sink: Sink, news: News) -> None:
  for epoch, numbers in enumerate(news.curves, 1):
    sink.epoch(numbers, epoch)
  sink.result(news.result)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
  """Return what of a row is a finite number."""
  kinds = (bool, int, float, np.number, np.bool_)
  return {
    name: float(value)
    for name, value in row.items()
    if isinstance(value, kinds) and math.isfinite(value)
  }
