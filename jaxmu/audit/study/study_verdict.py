"""The study in one paragraph, computed from the numbers."""

from collections.abc import Sequence

from jaxmu.audit import rules
from jaxmu.audit.results import StudyResults
from jaxmu.audit.rules import Caution, destroyed
from jaxmu.audit.study.judgement import has_signal, raised, unbiased, unseen
from jaxmu.audit.study.study_statistics import AUC, POPULATION, TAILS, Statistic
from jaxmu.audit.text import interval, listing, value

_TROUBLES = {  # of one method or several
  "collapse": "destroyed the model",
  "over_forgotten": "over-forgot (forgotten samples stand out by being too unknown)",
  "retain_risk": "made samples that stay more exposed",
  "damage": "lost held-out accuracy",
  "failed": "had diverged models",
}


def write(data: StudyResults, cautions: Sequence[Caution]) -> list[str]:
  """Return sentences: can this study be trusted, what leaks, what a population attack misses."""
  sound = [name for name in data.unlearners if name not in destroyed(cautions)]
  sentences = [
    _reference(data),
    _signal(data),
    *_leaks(data, sound),
    _missed(data, sound),
    rules.troubles(cautions, data.label, _TROUBLES),
  ]
  return [sentence for sentence in sentences if sentence]


def _reference(data: StudyResults) -> str:
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


def _signal(data: StudyResults) -> str:
  cell = data.cell("original", "accuracy")
  if not cell.n:
    return "The original models are missing, so it is unknown how much there was to forget."
  text = f"Original models, before forgetting: {value(cell)}"
  if has_signal(data):
    return f"{text}. There is a signal to remove, and this is its upper bound."
  return f"{text}. There was no clear signal to remove, so methods cannot be told apart."


def _leaks(data: StudyResults, sound: list[str]) -> list[str]:
  """Name the methods above the retrained models on average, then those above only in the tail."""
  known = [name for name in sound if data.cell(name, "accuracy").has_interval]
  above = [name for name in known if raised(data, name) or raised(data, name, AUC)]
  tail = {
    name: [one for one in TAILS if raised(data, name, one)] for name in sound if name not in above
  }
  tail = {name: signs for name, signs in tail.items() if signs}
  level = [name for name in known if name not in above and name not in tail]
  found = []
  if above:
    words = listing(
      f"{data.label(name)} {interval(data.cell(name, 'accuracy'))}"
      if raised(data, name)
      else f"{data.label(name)} (AUC {interval(data.cell(name, AUC.name))})"
      for name in above
    )
    found.append(f"Forgotten samples are recognised after {words}.")
  if tail:
    words = "; ".join(_tail(data, name, signs) for name, signs in tail.items())
    found.append(
      f"At one half on average, yet a leak in the tail: few samples are recognised, and these "
      f"surely: {words}."
    )
  if level:
    names = listing(data.label(name) for name in level)
    bar = "retraining" if data.cell("retrained", "accuracy").n else "one half"
    found.append(f"Not separable from {bar} by this attack: {names}.")
  return found


def _tail(data: StudyResults, method: str, signs: list[Statistic]) -> str:
  """Name a method with the numbers that show its leak, and those of the retrained models."""
  beside = lambda one: data.cell("retrained", one.name)
  shown = [
    f"{one.label} {value(data.cell(method, one.name), one.digits)}"
    + (f", retrained {value(beside(one), one.digits)}" if beside(one).n else "")
    for one in signs
  ]
  return f"{data.label(method)} ({'; '.join(shown)})"


def _missed(data: StudyResults, sound: list[str]) -> str:
  missed = [name for name in sound if raised(data, name) and unseen(data, name, POPULATION)]
  if not missed:
    return ""
  names = listing(data.label(name) for name in missed)
  return f"A population attack, one threshold for all samples, does not show this for {names}."
