"""The study in one paragraph, computed from the numbers."""

from jaxmu.audit.cautions import Caution, destroyed
from jaxmu.audit.study.judgement import has_signal, raised, unbiased, unseen
from jaxmu.audit.study.statistics import ACCURACY, CONFIRMED, POPULATION
from jaxmu.audit.text import interval, listing, value
from jaxmu.report.marks import mark
from jaxmu.report.study.data import StudyData

_TROUBLES = {  # of one method or several
  "collapse": "destroyed the model",
  "over_forgotten": "over-forgot (forgotten samples stand out by being too unknown)",
  "retain_risk": "made samples that stay more exposed",
  "damage": "lost held-out accuracy",
  "failed": "had diverged models",
}


def write(data: StudyData, cautions: list[Caution]) -> list[str]:
  """Return sentences: can this study be trusted, what leaks, what a population attack misses."""
  sound = [name for name in data.unlearners if name not in destroyed(cautions)]
  sentences = [
    _reference(data),
    _signal(data),
    *_leaks(data, sound),
    _missed(data, sound),
    _troubled(cautions),
  ]
  return [sentence for sentence in sentences if sentence]


def _reference(data: StudyData) -> str:
  cell = data.cell("retrained", "accuracy")
  if not cell.n:
    return "The retrained models are missing, so nothing shows that this study can be trusted."
  text = f"Retrained models, which never saw the forgotten samples: U-LiRA accuracy {value(cell)}"
  if not cell.has_interval:
    return f"{text}. Without an interval it cannot be compared with one half."
  if unbiased(data):
    return f"{text}. The interval contains one half, as it must."
  return (
    f"{text}. The interval does not contain one half: something other than membership tells the "
    "samples apart, and no number of this study is to be trusted until that is found."
  )


def _signal(data: StudyData) -> str:
  cell = data.cell("original", "accuracy")
  if not cell.n:
    return "The original models are missing, so it is unknown how much there was to forget."
  text = f"Original models, before forgetting: {value(cell)}"
  if has_signal(data):
    return f"{text}. There is a signal to remove, and this is its upper bound."
  return f"{text}. There was no clear signal to remove, so methods cannot be told apart."


def _leaks(data: StudyData, sound: list[str]) -> list[str]:
  """Name the methods above the retrained models in accuracy, then those above only in the tail."""
  known = [name for name in sound if data.cell(name, "accuracy").has_interval]
  above = [name for name in known if raised(data, name)]
  tail = [name for name in sound if name not in above and raised(data, name, CONFIRMED)]
  level = [name for name in known if name not in above and name not in tail]
  found = []
  if above:
    found.append(f"Forgotten samples are recognised after {_named(data, above, ACCURACY)}.")
  if tail:
    words = _named(data, tail, CONFIRMED)
    found.append(f"At one half on average, yet the most exposed 1 % are recognised: {words}.")
  if level:
    names = listing(mark(name).label for name in level)
    found.append(f"Not separable from retraining by this attack: {names}.")
  return found


def _named(data: StudyData, names: list[str], statistic) -> str:
  """List methods with their intervals, as a sentence does."""
  cells = {name: data.cell(name, statistic.key) for name in names}
  return listing(f"{mark(name).label} {interval(cell)}" for name, cell in cells.items())


def _missed(data: StudyData, sound: list[str]) -> str:
  missed = [name for name in sound if raised(data, name) and unseen(data, name, POPULATION)]
  if not missed:
    return ""
  names = listing(mark(name).label for name in missed)
  return f"A population attack, one threshold for all samples, does not show this for {names}."


def _troubled(cautions: list[Caution]) -> str:
  parts = []
  for code, phrase in _TROUBLES.items():
    names = [mark(c.method).label for c in cautions if c.code == code and c.method]
    if names:
      parts.append(f"{listing(names)} {phrase}")
  return f"Warnings: {'; '.join(parts)}." if parts else ""
