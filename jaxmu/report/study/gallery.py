"""The most exposed samples as pictures, inside the page."""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxmu.report.study.data import StudyData

SHOWN = 12  # per method


class Picture(NamedTuple):
  """One sample: its image as a data URI, its labels in words, and how the attack fared."""

  sample: int
  source: str
  label: str
  true_label: str  # empty where the label was not randomised
  accuracy: float  # of the half of the splits that did not choose the sample
  score_forgotten: float
  score_never: float


def pictures(data: StudyData) -> dict[str, list[Picture]]:
  """Return the most exposed samples of every method, the most exposed first.

  A method's list ends before its first sample without a thumbnail: what follows would be the most
  exposed of another method.
  """
  place = {sample: k for k, sample in enumerate(data.exposed.samples)}
  sources = [source(image) for image in _images(data)]
  return {name: _of_method(data, name, place, sources) for name in data.order}


def _of_method(data: StudyData, method: str, place: dict, sources: list[str]) -> list[Picture]:
  table, found = data.attacked(method), []
  listed = table[table["exposed"] >= 0].sort_values("exposed")[:SHOWN]
  for _, one in listed.iterrows():
    k = place.get(int(one["sample"]))
    if k is None:
      break
    label, true = data.exposed.labels[k], data.exposed.original_labels[k]
    words = class_name(data, label), class_name(data, true) if true != label else ""
    scores = (float(one[n]) for n in ("confirmed", "score_forgotten", "score_never"))
    found.append(Picture(int(one["sample"]), sources[k], *words, *scores))
  return found


def class_name(data: StudyData, label: int) -> str:
  """Name a class as the manifest does, else by its number."""
  names = data.manifest.dataset.class_names
  return names[label] if 0 <= label < len(names) else f"class {label}"


def source(image: np.ndarray) -> str:
  """Return an image, uint8 [H, W, 1 or 3], as a PNG inside a data URI."""
  file = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
  return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _images(data: StudyData) -> np.ndarray | tuple:
  return () if data.exposed.images is None else data.exposed.images
