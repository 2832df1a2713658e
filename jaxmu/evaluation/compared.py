"""What a comparison of methods found: numbers side by side, advice, each method's evaluation."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jaxmu.audit import criteria, metrics, own_logits
from jaxmu.audit.decision import Decision, sentences
from jaxmu.audit.evaluation import Measured
from jaxmu.audit.own_logits import UNLEARNED, Audit
from jaxmu.audit.rules import Caution, gravest_first
from jaxmu.audit.text import factor, number, plural, value
from jaxmu.errors import DataError, MethodError, closest
from jaxmu.evaluation import extras, result
from jaxmu.evaluation.inputs import Given
from jaxmu.evaluation.result import Evaluation
from jaxmu.settings import ReportSettings

REFERENCES = ("retrained", "original")
COLUMNS = {"RA": "retain", "FA": "forget", "TA": "unseen", "T_strongest": "strongest attack"}
WARNED = "unlearning_warning"
ONE_ORIGINAL = Caution(
  "note",
  "one_original",
  "",
  "One original for all seeds",
  "Every model was unlearned from the same original: intervals tell what the randomness of "
  "unlearning and other samples move, and nothing of originals trained anew. Give several.",
)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What `jaxmu.compare` found; printed as a short table, `found["ft"]` is one method's evaluation.

  Attributes:
    rows: one row of metrics per model, columns as in a run's rows.parquet; a method that failed has
      rows without numbers, and the reason in `failed_steps`.
    intervals: method, metric, value, low, high: 95 % intervals over samples and seeds.
    differences: metric, method, other, value, low, high: paired differences of any two methods.
    cautions: what would mislead a reader, the gravest first.
    decision: what is asked of the methods, and who does it (`audit.decision`).
    evaluations: method -> `Evaluation`, as `jaxmu.evaluate` makes it of its finite models.
    failures: method -> why there is no model of it.
    hyperparameters: method -> all that it read.
  """

  rows: pd.DataFrame
  intervals: pd.DataFrame
  differences: pd.DataFrame
  cautions: tuple[Caution, ...]
  decision: Decision
  evaluations: Mapping[str, Evaluation]
  failures: Mapping[str, str]
  hyperparameters: Mapping[str, Mapping[str, Any]]
  audit: Audit = dataclasses.field(repr=False)
  asked: ReportSettings = dataclasses.field(repr=False)
  behind: Any = dataclasses.field(repr=False)

  def __getitem__(self, method: str) -> Evaluation:
    """Return the evaluation of a method.

    Raises:
      MethodError: there is none, and why.
    """
    if method in self.failures:
      raise MethodError(f"{method} has no evaluation: {self.failures[method]}")
    if method not in self.evaluations:
      raise MethodError(f"no method '{method}' was compared; {closest(method, self.evaluations)}")
    return self.evaluations[method]

  @property
  def advice(self) -> str:
    """What to take, in a sentence."""
    return sentences(self.decision, self.audit.results.label)[0]

  @property
  def table(self) -> pd.DataFrame:
    """Return methods by the numbers that matter most, as text: mean and 95 % interval."""
    summary, results = self.audit.summary, self.audit.results
    found = {
      results.label(name): {
        **{title: value(summary.cell(name, key)) for key, title in COLUMNS.items()},
        metrics.METRICS[results.deviation].label: number(
          summary.cell(name, results.deviation).mean
        ),
        "RTE": "" if name == "original" else factor(summary.cell(name, "RTE_work").mean),
        "verdict": self._outcome(name),
      }
      for name in summary.order
    }
    return pd.DataFrame.from_dict(found, orient="index")

  def _outcome(self, method: str) -> str:
    if method in REFERENCES:
      return ""
    return "no model" if method in self.failures else self.evaluations[method].verdict.outcome

  def __str__(self) -> str:
    sizes = self.audit.results.split_sizes
    seeds = plural(len(self.audit.results.seeds), "seed")
    label = self.audit.results.label
    return "\n".join(
      [
        f"{seeds}, {plural(sizes['forget'], 'forgotten sample')}, {sizes['test']:,} unseen; "
        "95 % intervals; 0.5 is guessing of an attack.",
        self.table.to_string(),
        f"{metrics.METRICS[self.audit.results.deviation].label}: how far accuracies are from "
        "retraining, 0 is best; RTE: the work of retraining divided by the method's.",
        *(f"{label(name)} failed: {reason}" for name, reason in self.failures.items()),
        "",
        self.advice,
        *(
          f"{one.level}: {one.text if one.code == WARNED else one.title + '.'}"
          for one in self.cautions
        ),
      ]
    )

  def report(self, folder: str | Path, title: str = "My model") -> list[Path]:
    """Write report.html, .md, .tex and .csv, and a folder with report and evidence per method.

    Raises:
      StoreError: the folder cannot be written, or the extra `report` is not installed.
    """
    report = extras.reports()
    from jaxmu.evaluation import compared_page

    folder = Path(folder)
    written = report.write(folder, compared_page.compose(self, title))
    for name, one in self.evaluations.items():
      written += one.report(folder / name, f"{title}: {self.audit.results.label(name)}")
    return written


def assemble(
  given: Given,
  runs: Mapping[str, Any],
  labels: Mapping[str, str],
  seeds: Sequence[int],
  asked: ReportSettings,
  behind: Any,
) -> Comparison:
  """Put methods beside each other, and judge each of them.

  Args:
    given: logits of "original" and, if there are any, "retrained" models, [K, N, C] or [1, N, C].
    runs: `method_runs.Ran` by method, and of "retrained" where it was trained here.
    labels: names for readers, by method.
    behind: what a report says of where all this comes from (`compared_page.Behind`).

  Raises:
    DataError: sets overlap, or are too small to be attacked.
  """
  splits = _splits(given)
  measured = {}
  for name in ("retrained", "original"):
    if name in given.logits:
      measured[name] = _measure(name, given.logits[name], given, splits, seeds, runs.get(name))
  ran = {name: run for name, run in runs.items() if name not in REFERENCES and not run.error}
  for name, run in ran.items():
    measured[name] = _measure(name, run.logits, given, splits, seeds, run)
  numbered = {
    name: _renamed(found, name, seeds, runs.get(name)) for name, found in measured.items()
  }
  audit = own_logits.conclude(numbered, splits, given.logits["original"].shape[-1], labels)
  evaluations = {
    name: one
    for name, run in ran.items()
    if (one := _evaluation(given, name, run, measured, splits, asked)) is not None
  }
  errors = {name: run.error for name, run in runs.items() if run.error}
  lost = {
    name: f"all models turned non-finite, the first in {run.failures[0] or 'its logits'}"
    for name, run in ran.items()
    if name not in evaluations
  }
  failures = {name: (errors | lost)[name] for name in runs if name in errors | lost}
  rows = pd.concat([audit.rows, _failed_rows(errors, seeds)]) if errors else audit.rows
  cautions = [*_input_cautions(evaluations), *_notes(runs, labels), *audit.cautions]
  if len(given.logits["original"]) == 1 < len(seeds):
    cautions.append(ONE_ORIGINAL)
  cautions += [
    Caution("severe", "not_run", "", f"{labels[name]} did not run", f"{reason}.")
    for name, reason in errors.items()
  ]
  return Comparison(
    rows.reset_index(drop=True),
    audit.intervals,
    audit.differences,
    tuple(gravest_first(cautions)),
    criteria.decide(audit.results, audit.summary, cautions, asked),
    evaluations,
    failures,
    {name: dict(run.hyperparameters) for name, run in runs.items() if not run.error},
    audit,
    asked,
    behind,
  )


def check(given: Given) -> None:
  """Measure an original model, before anything is trained.

  Raises:
    DataError: sets overlap, or are too small to be attacked.
  """
  own_logits.measure_model(
    "original", given.logits["original"][:1], given.labels, _splits(given), 1
  )


def _splits(given: Given) -> list[Any]:
  names = {"unseen": "test", "validation": "val"}
  sets = {names.get(name, name): index for name, index in given.sets.items()}
  return own_logits.splits_of({"val": None} | sets, len(given.labels), 1)


def _measure(name, logits, given: Given, splits, seeds, run) -> Measured:
  failures = run.failures if run is not None and any(run.failures) else None
  return own_logits.measure_model(name, logits, given.labels, splits, len(seeds), failures)


def _renamed(found: Measured, name: str, seeds: Sequence[int], run) -> Measured:
  """Give rows their seeds, and what is known of a method beside logits."""
  rows = []
  for k, row in enumerate(found.rows):
    known: dict[str, Any] = {"method": name, "seed": seeds[k]}
    if run is not None:
      known |= {"passes": run.passes if row["finite"] else math.nan}
      known |= {} if run.moved is None else {"l2_original": float(run.moved[k])}
    rows.append(row | known)
  return Measured(rows, found.influences)


def _evaluation(given: Given, name: str, run, measured, splits, asked) -> Evaluation | None:
  """Judge the finite models of a method, as `jaxmu.evaluate` does; None where there are none."""
  kept = [k for k, row in enumerate(measured[name].rows) if row["finite"]]
  if not kept:
    return None
  whole = len(kept) == len(run.logits)
  few = lambda array: array if whole or len(array) == 1 else array[kept]
  logits = {n: few(given.logits[n]) for n in ("original", "retrained") if n in given.logits}
  own = given._replace(
    logits={"original": logits.pop("original"), UNLEARNED: few(run.logits), **logits}
  )

  def again(found: Measured, title: str) -> Measured:
    rows = [found.rows[k] | {"method": title, "seed": place} for place, k in enumerate(kept)]
    return Measured(rows, [found.influences[k] for k in kept])

  order = {UNLEARNED: name, "retrained": "retrained", "original": "original"}
  chosen = {title: again(measured[n], title) for title, n in order.items() if n in measured}
  found = own_logits.conclude(chosen, splits, own.classes)
  if any(not row["finite"] for one in chosen.values() for row in one.rows):
    raise DataError("an original or retrained model has logits that are not finite")
  judged = result.judged(own, asked, found)
  lost = len(run.logits) - len(kept)
  if not lost:
    return judged
  text = (
    f"{plural(lost, 'model')} of {len(run.logits)} turned non-finite and are not in the numbers."
  )
  caution = Caution("caution", "non_finite", UNLEARNED, "Models are missing", text)
  return dataclasses.replace(judged, cautions=tuple(gravest_first([*judged.cautions, caution])))


def _failed_rows(errors: Mapping[str, str], seeds: Sequence[int]) -> pd.DataFrame:
  return pd.DataFrame(
    [
      {"method": name, "seed": seed, "finite": False, "failed_steps": reason}
      for name, reason in errors.items()
      for seed in seeds
    ]
  )


def _input_cautions(evaluations: Mapping[str, Evaluation]) -> list[Caution]:
  """Return what looks wrong in the inputs: every evaluation says so alike."""
  known = {"shared_samples", "twins", "swapped", "leaked", "retain_unknown", "other_labels"}
  known |= {"other_training", "same_models", "few_samples", "no_retrained"}
  every = (c for one in evaluations.values() for c in one.cautions if c.code in known)
  return list({(c.code, c.title): c for c in every}.values())


def _notes(runs: Mapping[str, Any], labels: Mapping[str, str]) -> list[Caution]:
  return [
    Caution("note", WARNED, name, f"{labels[name]}: a warning", f"{text}.")
    for name, run in runs.items()
    for text in run.notes
  ]
