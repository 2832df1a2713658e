"""What an evaluation found: numbers, what attacks could have seen, cautions, a verdict."""

import dataclasses
import math
from pathlib import Path

import pandas as pd

from jaxmu.audit import metrics, own_logits, power
from jaxmu.audit.own_logits import UNLEARNED, Audit
from jaxmu.audit.results import Cell
from jaxmu.audit.rules import Caution, gravest_first
from jaxmu.audit.text import number, plural, value
from jaxmu.evaluation import extras, input_cautions, twins
from jaxmu.evaluation.inputs import Given
from jaxmu.evaluation.verdict import Verdict, judge
from jaxmu.settings import ReportSettings

ATTACK_COLUMNS = ("method", "attack", "value", "low", "high", "visible", "reliable", "found")
LEGEND = (
  "FA, TA: accuracy on forgotten and unseen samples. T_ attacks compare forgotten with unseen "
  "samples, V_ with validation samples.\nThe verdict asks T_strongest, chosen on other samples, "
  "and T_MIA, and whether they are above retrained models' too: one of so many rows is above 0.5 "
  "by luck now and then."
)
_WITHOUT_CHANCE = "SVC_MIA"  # an attack whose value is compared with the retrained model's


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What `jaxmu.evaluate` found; printed as a short table.

  Attributes:
    rows: one row of metrics per model, columns as in a run's rows.parquet; method is "retrained",
      "original" or "unlearned", seed counts the models of each.
    attacks: method, attack, value, low, high (95 % interval), and what samples of this number can
      see: `visible`, from which on an interval leaves out one half, `reliable`, what is seen in
      four of five evaluations, and `found`, whether the interval lies above one half.
    intervals: method, metric, value, low, high: 95 % intervals over samples and seeds.
    differences: metric, method, other, value, low, high: paired differences.
    cautions: what would mislead a reader, or looks wrong in the inputs, the gravest first.
    verdict: "passed", "failed" or "undecided", with its checks.
    recognised: whether an attack finds the forget set, above one half and, where there are
      retrained models, above them.
  """

  rows: pd.DataFrame
  attacks: pd.DataFrame
  intervals: pd.DataFrame
  differences: pd.DataFrame
  cautions: tuple[Caution, ...]
  verdict: Verdict
  recognised: bool
  given: Given = dataclasses.field(repr=False)
  asked: ReportSettings = dataclasses.field(repr=False)
  audit: Audit = dataclasses.field(repr=False)

  @property
  def table(self) -> pd.DataFrame:
    """Return methods by metrics, as text: mean and 95 % interval."""
    return self.audit.table

  def __str__(self) -> str:
    sizes = self.given.sizes
    own = self.attacks[self.attacks["method"] == UNLEARNED].set_index("attack")
    seen = pd.DataFrame(
      {
        "accuracy": [value(_cell(row)) for row in own.itertuples()],
        "sees from": [number(least) for least in own["visible"]],
        "found": ["yes" if found else "" for found in own["found"]],
      },
      index=list(own.index),
    )
    lines = [
      self.table.to_string(),
      "",
      f"Attacks on the unlearned model ({plural(sizes['forget'], 'forgotten sample')}, "
      f"{sizes['unseen']:,} unseen; 0.5 is guessing):",
      seen.to_string(),
      LEGEND,
      "",
      str(self.verdict),
      *(f"{c.level}: {c.title}. {c.text}" for c in self.cautions),
    ]
    return "\n".join(lines)

  def report(self, folder: str | Path, title: str = "My model") -> list[Path]:
    """Write report.html, .md, .tex, .csv, evidence.json and evidence.npz; return their paths.

    `evidence.json` has the SHA-256 of every input, versions, thresholds and all numbers, and
    `evidence.npz` the logits, labels and positions: `jaxmu.evaluation.verify` recomputes the former
    from the latter.

    Raises:
      StoreError: the folder cannot be written, or the extra `report` is not installed.
    """
    report = extras.reports()
    from jaxmu.evaluation import page

    written = report.write(Path(folder), page.compose(self, title))
    return [*written, *self.evidence(folder)]

  def evidence(self, folder: str | Path) -> list[Path]:
    """Write evidence.json and evidence.npz alone, which needs no extra; return their paths.

    Raises:
      StoreError: the folder cannot be written.
    """
    from jaxmu.evaluation import evidence_file

    return evidence_file.write(Path(folder), self)


def measure(given: Given, asked: ReportSettings) -> Evaluation:
  """Measure, attack and judge the models.

  Raises:
    DataError: sets overlap, or are too small to be attacked.
  """
  sets = given.sets
  found = own_logits.audit(
    logits=given.logits["unlearned"],
    labels=given.labels,
    forget=sets["forget"],
    unseen=sets["unseen"],
    retrained=given.logits.get("retrained"),
    original=given.logits["original"],
    retain=sets["retain"],
    validation=sets.get("validation"),
  )
  return judged(given, asked, found)


def judged(given: Given, asked: ReportSettings, audit: Audit) -> Evaluation:
  """Look at inputs and numbers for what misleads, and judge."""
  shared = twins.shared(given) if given.shared is None else given.shared
  found = input_cautions.find(given, shared)
  cautions = tuple(gravest_first([*found, *audit.cautions]))
  return Evaluation(
    audit.rows,
    attacks(audit, given),
    audit.intervals,
    audit.differences,
    cautions,
    judge(audit, cautions, asked),
    audit.recognised,
    given,
    asked,
    audit,
  )


def attacks(audit: Audit, given: Given) -> pd.DataFrame:
  """Return every attack on every model: what it finds, and what it could have seen."""
  sizes, found = given.sizes, []
  known = [m.name for m in metrics.METRICS.values() if m.chance == 0.5 or m.name == _WITHOUT_CHANCE]
  for method in audit.summary.order:
    for name in known:
      cell = audit.summary.cell(method, name)
      if not cell.n:
        continue
      against = sizes.get("validation", 0) if name.startswith("V_") else sizes["unseen"]
      seen = (f(name, sizes["forget"], against) for f in (power.visible, power.reliable))
      plain = name == _WITHOUT_CHANCE
      least = (math.nan, math.nan) if plain else tuple(seen)
      bounds = (math.nan, math.nan) if plain else (cell.low, cell.high)
      found.append((method, name, cell.mean, *bounds, *least, not plain and cell.above(0.5)))
  return pd.DataFrame(found, columns=list(ATTACK_COLUMNS))


def _cell(row) -> Cell:
  return Cell(1, row.value, low=row.low, high=row.high)
