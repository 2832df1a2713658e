"""Every figure of a study with its caption, in the page's sections."""

from jaxmu.audit.results import RETAINED, Cell
from jaxmu.audit.study.study_statistics import ACCURACY, NET, POPULATION
from jaxmu.report.figures import Figure
from jaxmu.report.strips import intervals
from jaxmu.report.study import histograms, roc
from jaxmu.report.study.data import StudyData


def build(data: StudyData) -> dict[str, list[Figure]]:
  """Return all figures by section; a section without data is empty."""
  return {"attack": _attack(data), "samples": _samples(data), "retained": _retained(data)}


def _attack(data: StudyData) -> list[Figure]:
  found = []
  cells = {
    name: (data.cell(name, ACCURACY.name), data.cell(name, POPULATION.name)) for name in data.order
  }
  if any(first.n for first, _ in cells.values()):
    title = "Accuracy of U-LiRA per method; one half is chance"
    caption = (
      "Filled: U-LiRA with its interval; hollow: the population attack. The line is chance, the "
      "band the interval of the retrained models. Between filled and hollow lies what one "
      "threshold for all samples does not see."
    )
    strip = intervals(data, cells, "fig-accuracy", title, "U-LiRA", "attack accuracy", 0.5)
    found.append(Figure("accuracy", strip, caption))
  if any(name in data.roc for name in data.order):
    caption = (
      "How many forgotten cases are recognised (up) at how many wrong accusations (right). The "
      "diagonal is guessing; the dotted lines are the two columns of the table. Left is what "
      "counts: an attacker who is seldom wrong."
    )
    found.append(Figure("roc", roc.curves(data, "fig-roc"), caption))
  return found


def _samples(data: StudyData) -> list[Figure]:
  return [
    Figure(f"samples-{name}", drawing, f"{data.label(name)}: {len(data.attacked(name)):,} samples")
    for name, drawing in histograms.panels(data).items()
  ]


def _retained(data: StudyData) -> list[Figure]:
  cells = {name: (data.cell(name, NET.name, RETAINED), Cell()) for name in data.order}
  if not any(first.n for first, _ in cells.values()):
    return []
  title = "Retained samples more exposed than before, net; 0 is chance"
  caption = (
    "Share of retained samples that are attacked better after unlearning than before, minus the "
    "share attacked worse. Right of the line, forgetting some samples exposed others."
  )
  drawing = intervals(
    data, cells, "fig-retained", title, "net share", "more minus less exposed", 0.0
  )
  return [Figure("retained", drawing, caption)]
