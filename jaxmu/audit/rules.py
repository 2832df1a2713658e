"""Warnings that every kind of study has, to be filled with its own numbers and words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxmu.audit.outcome import useless
from jaxmu.audit.results import Cell
from jaxmu.audit.text import factor, listing, number, plural, value

LEVELS = ("severe", "caution", "note")
# Codes of what looks wrong in the inputs (`evaluation.input_cautions`): where severe, all is void.
INVALID = frozenset({"shared_samples", "swapped", "leaked", "same_models"})


class Caution(NamedTuple):
  """One warning; `method` is empty where it concerns the whole study."""

  level: str  # "severe" | "caution" | "note"
  code: str
  method: str
  title: str
  text: str


class Trained(NamedTuple):
  """How well a method's models classify: accuracies by name, and the same of the retrained models.

  `reference` is None where there is none to compare with: for original and retrained models.
  """

  accuracies: Mapping[str, Cell]
  ratio: float = math.nan  # of the first of them to that of the retrained models
  reference: Cell | None = None
  beside: str = ""  # the retrained models' accuracy in words


def gravest_first(found: Iterable[Caution]) -> list[Caution]:
  """Order by level, else as found."""
  return sorted(found, key=lambda caution: LEVELS.index(caution.level))


def destroyed(cautions: Iterable[Caution]) -> frozenset[str]:
  """Name the methods with a severe warning; they are never marked as best."""
  return frozenset(c.method for c in cautions if c.level == "severe" and c.method)


def no_signal(text: str) -> Caution:
  """Warn that there was nothing to forget."""
  title = "The original models show no membership signal"
  return Caution("severe", "no_signal", "", title, text)


def few(count: int, noun: str, enough: int, what: str, rest: Mapping[bool, str]) -> list[Caution]:
  """Warn of too few units of resampling; `rest` says what follows, of one (True) or several."""
  if count >= enough:
    return []
  text = f"{what} has {plural(count, noun)}{rest[count < 2]}"
  return [Caution("note", f"few_{noun}s", "", f"Few {noun}s", text)]


def failed(
  method: str, label: str, code: str, adjective: str, noun: str, counts: tuple[int, int], text: str
) -> list[Caution]:
  """Warn of models that failed; `counts` are those and all."""
  lost, total = counts
  if not lost:
    return []
  level = "severe" if lost >= total else "caution"
  title = f"{label}: {plural(lost, f'{adjective} {noun}')}"
  return [Caution(level, code, method, title, text)]


def collapsed(
  method: str, label: str, trained: Trained, chance: float, lesson: str, void: str
) -> list[Caution]:
  """Warn of models that guess, or lost more than half of what the retrained models reach.

  Args:
    lesson: what must not be concluded of a method; `void` of references that learned nothing.
  """
  ratios = [trained.ratio, *[math.nan] * len(trained.accuracies)]
  low = [
    f"{name} is {value(cell)}" + times(ratio, trained.beside) + guessing(chance)
    for (name, cell), ratio in zip(trained.accuracies.items(), ratios)
    if useless(cell.mean, ratio, chance)
  ]
  if not low:
    return []
  text = low[0]
  if trained.reference is None:
    title = f"{label}: the models have not learned"
    return [Caution("severe", "collapse", method, title, f"{text}. {void}")]
  title = f"{label} destroyed the model"
  return [Caution("severe", "collapse", method, title, f"{text}. {lesson}")]


def times(ratio: float, beside: str = "") -> str:
  """Say how an accuracy compares with that of the retrained models; "" where it cannot."""
  if not math.isfinite(ratio):
    return ""
  return f", {factor(ratio)} times that of the retrained models{beside}"


def guessing(chance: float) -> str:
  """Say what guessing gives, where that is known."""
  return f"; guessing gives {number(chance)}" if math.isfinite(chance) else ""


def troubles(
  cautions: Sequence[Caution], label, phrases: Mapping[str, str | tuple[str, str]]
) -> str:
  """Sum up the warnings about methods in one sentence.

  Args:
    phrases: by code what is said of one method, and of several where that differs.
  """
  parts = []
  for code, phrase in phrases.items():
    names = [label(c.method) for c in cautions if c.code == code and c.method]
    said = phrase if isinstance(phrase, str) else phrase[len(names) > 1]
    parts += [f"{listing(names)} {said}"] if names else []
  return f"Warnings: {'; '.join(parts)}." if parts else ""
