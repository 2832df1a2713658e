"""The most exposed samples, as pictures and as a table."""

from typing import NamedTuple

import numpy as np

from jaxmu.audit.text import number
from jaxmu.report.blocks import Cell, Column, Gallery, Picture, Row, Table
from jaxmu.report.facts import class_name
from jaxmu.report.ulira.ulira_data import StudyData

SHOWN, LISTED = 12, 5  # per method, on a page and in a text


class Sample(NamedTuple):
  """A sample: its image, its labels in words, and how the attack fared."""

  sample: int
  image: np.ndarray
  label: str
  true_label: str  # empty where the label was not randomised
  accuracy: float  # of the half of the splits that did not choose the sample
  score_forgotten: float
  score_never: float


def exposed(data: StudyData) -> dict[str, list[Sample]]:
  """Return the most exposed samples of every method, the most exposed first.

  A method's list ends before its first sample without a thumbnail: what follows would be the most
  exposed of another method.
  """
  place = {sample: k for k, sample in enumerate(data.exposed.samples)}
  return {name: _of_method(data, name, place) for name in data.order}


def gallery(data: StudyData) -> Gallery:
  """Return the most exposed samples as pictures."""
  return Gallery({name: tuple(map(_picture, found)) for name, found in exposed(data).items()})


def table(data: StudyData) -> Table:
  """Return the very most exposed ones as a table, for where there are no pictures."""
  rows = []
  for name, found in exposed(data).items():
    for one in found[:LISTED]:
      words = (str(one.sample), one.label, one.true_label or one.label, number(one.accuracy, 3))
      scores = (number(one.score_forgotten, 2), number(one.score_never, 2))
      rows.append(Row(data.label(name), tuple(map(Cell, (*words, *scores))), name))
  labels = ("sample", "label", "true label", "accuracy", "forgotten", "never seen")
  return Table("The most exposed samples", tuple(map(Column, labels)), tuple(rows))


def _of_method(data: StudyData, method: str, place: dict[int, int]) -> list[Sample]:
  table, found = data.attacked(method), []
  listed = table[table["exposed"] >= 0].sort_values("exposed")[:SHOWN]
  for _, one in listed.iterrows():
    k = place.get(int(one["sample"]))
    if k is None or data.exposed.images is None:
      break
    label, true = data.exposed.labels[k], data.exposed.original_labels[k]
    words = class_name(data, label), class_name(data, true) if true != label else ""
    scores = (float(one[n]) for n in ("confirmed", "score_forgotten", "score_never"))
    found.append(Sample(int(one["sample"]), data.exposed.images[k], *words, *scores))
  return found


def _picture(one: Sample) -> Picture:
  scores = f"confidence {number(one.score_forgotten, 1)}, never seen {number(one.score_never, 1)}"
  return Picture(
    one.image,
    f"Sample {one.sample}, {one.label}",
    number(one.accuracy, 2),
    (one.label, scores, f"sample {one.sample}"),
    f"truly {one.true_label}" if one.true_label else "",
  )
