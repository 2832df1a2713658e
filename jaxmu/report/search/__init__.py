"""The report of a search: what was chosen, what it is worth, and how the trials went."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxmu.audit import power
from jaxmu.audit.rules import Caution
from jaxmu.audit.text import MISSING, interval, listing, number, plural, spread
from jaxmu.report import facts
from jaxmu.report.blocks import (
  MET,
  MISSED,
  SHARED,
  Cell,
  Column,
  Facts,
  Report,
  Row,
  Section,
  Steps,
  Table,
  Text,
  Warnings,
)
from jaxmu.report.search.search_data import SearchData, from_run
from jaxmu.report.search.search_figures import figures
from jaxmu.settings.choices import GIVEN, GROUPS, RANDOM, REFERENCE, ROBUST, SEARCHED
from jaxmu.store import Run

OBJECTIVE = (
  "Every trial unlearns one original model with hyper-parameters that were drawn, and is "
  "compared with the model retrained from the same seed. **S** is the norm of four numbers: a "
  "third of each difference in retain, forget and validation accuracy, and |2 MIA − 1| of the "
  "attack on {unseen}. 0 is ideal. Test samples play no part."
)
READING = (
  "The least S of many trials is **too good**: part of it is luck. So configurations are run "
  "again on seeds that had no part in the choice, and only those numbers compare them.",
  "Two rules choose. **Reference**: the one trial of least S on any seed. **Robust**: the best "
  "trials of each seed run on all searched seeds and on further ones, and the least mean counts.",
  "A configuration is better than the given one where the interval of the paired difference lies "
  "above zero (✓), worse where it lies below (✗), and cannot be told apart otherwise (≈).",
)
CALM = "None of the checks found anything."
ONE_SEED = "A configuration that suits one model need not suit others; search on two seeds or more."
DEAR = 0.1  # of an accuracy, which nobody would pay for chance
NOT_CHECKED = (
  "The S of the best trial is too good: it is the least of many. Give seeds that are not searched, "
  "--config.search.check_seeds=3..9."
)


def report(run: Run) -> Report:
  """Read a run and say what it shows; StoreError where a table is missing or damaged."""
  return compose(from_run(run))


def compose(data: SearchData) -> Report:
  """Say what a search found."""
  main = _main(data)
  total = sum(one.trials for one in data.tuned.values())
  searched = f"{plural(total, 'trial')} on {data.place}s {', '.join(map(str, data.places))}"
  return Report(
    title=data.title,
    kind="hyper-parameter search",
    subject=f"{facts.task(data)}, {searched}",
    header=_header(data, searched),
    first=Section("In short", tuple(map(Text, _sentences(data))), "verdict"),
    sections=(
      Section("How to read this", (_reading(data),), page_only=True),
      Section("Results", (main,), "results"),
      Section("Warnings", (Warnings(_cautions(data), CALM),), "warnings"),
      Section("Configurations", (_configurations(data),), "configurations"),
      figures(data),
      Section("Provenance", (facts.provenance(data),), "provenance"),
    ),
    marks=data.marks,
    main=main,
    numbers=_numbers(data),
    stored="the run's stored tables",
  )


def _reading(data: SearchData) -> Steps:
  """Explain S with the unseen samples that the attack reads."""
  random = data.config.scenario.forget == RANDOM
  unseen = "validation samples" if random else f"the validation control ({_control(data)})"
  return Steps((OBJECTIVE.format(unseen=unseen), *READING))


def _control(data: SearchData) -> str:
  """Say which unseen samples the attack of the search reads."""
  rule = data.config.scenario.forget
  of_shadows = rule == GROUPS and data.search.splits
  return "validation samples of these groups" if of_shadows else SEARCHED[rule]


def _header(data: SearchData, searched: str) -> Facts:
  asked = data.search
  known = data.manifest.split.sizes
  sizes = ", ".join(f"{name} {known[name]:,}" for name in ("retain", "forget", "val"))
  drawn = f"{asked.sampler}, {asked.ranges} ranges, batches of {asked.batch}"
  more = [
    ("Trials", searched),
    *facts.request(data, _control(data)),
    ("Sampler", drawn),
    *_halving(data),
    ("Checked on", f"seeds {', '.join(map(str, asked.check_seeds)) or MISSING}"),
  ]
  return facts.header(data, more, sizes, data.manifest.split.sha256[:12])


def _halving(data: SearchData) -> list[tuple[str, str]]:
  """Say how many trials were stopped midway, where any may be."""
  asked, stopped = data.search, int((data.trials["stopped"] > 0).sum())
  if not asked.rungs:
    return []
  looks = " and ".join(f"{share:g}" for share in asked.rungs)
  words = f"{stopped} of {len(data.trials)} trials were stopped midway (looked at after {looks} of "
  return [("Halving", f"{words}the most epochs; the better {asked.keep:g} go on)")]


def _sentences(data: SearchData) -> list[str]:
  """Say in a few sentences whether the search was worth it."""
  label, rule = data.label, data.best
  compared = {m: data.gain(m, rule) for m in data.methods}
  compared = {m: cell for m, cell in compared.items() if cell.n}
  if not compared:
    return [
      "Nothing was compared on seeds that were not searched (config.search.check_seeds is empty), "
      "so the S of what was chosen is better than it will be."
    ]
  better = [m for m, cell in compared.items() if cell.above(0)]
  lower = [m for m, cell in compared.items() if cell.mean > 0]
  worse = [m for m, cell in compared.items() if cell.below(0)]
  fresh = plural(len(data.search.check_seeds), "seed")
  found = [
    f"On {fresh} that were not searched, the configurations chosen by the {rule} rule have a lower "
    f"S than those of the config for {len(lower)} of {plural(len(compared), 'method')}, for "
    f"{len(better)} of them beyond doubt (95 % interval of the paired difference)."
  ]
  if worse:
    found.append(f"The search made {listing(map(label, worse))} worse.")
  curses = [c for m in data.methods if np.isfinite(c := data.curse(m))]
  if curses:
    found.append(
      f"The best single trial promised too much: on fresh seeds the same configuration has an S "
      f"{number(float(np.median(curses)), 1)} times as large (median over methods)."
    )
  ranked = sorted(compared, key=lambda m: data.score(m, rule).mean)
  best = ranked[0]
  score = data.score(best, rule)
  found.append(f"Lowest S of all: {label(best)}, {number(score.mean)} {interval(score)}.")
  return found


def _main(data: SearchData) -> Table:
  """Compare configurations on seeds that were not searched."""
  columns = (
    Column("Best trial", "0", "least S of all trials, which is too good"),
    Column("Given", "0", "S of the config's hyper-parameters on seeds that were not searched"),
    Column("Reference", "0", "S there of the configuration of the best single trial"),
    Column("Robust", "0", "S there of the configuration of least mean S over searched seeds"),
    Column("Gain", "", "Given minus the recommended rule's, paired by seed"),
    Column("Failed", "0", "trials whose model turned non-finite"),
  )
  rows = []
  for method in sorted(data.methods, key=lambda m: _sorting(data, m)):
    gain = data.gain(method, data.best)
    scores = [data.score(method, choice) for choice in (GIVEN, REFERENCE, ROBUST)]
    cells = (
      Cell(number(data.tuned[method].searched)),
      *(Cell(spread(one), interval(one)) for one in scores),
      Cell(number(gain.mean), interval(gain), _standing(gain)),
      Cell(str(data.failed(method))),
    )
    rows.append(Row(data.label(method), cells, method))
  caption = "S of configurations, mean ± SD over seeds that were not searched"
  return Table(caption, columns, tuple(rows), explained=True, name="main")


def _sorting(data: SearchData, method: str) -> float:
  score = data.score(method, data.best).mean
  return score if np.isfinite(score) else data.tuned[method].searched


def _standing(gain: Any) -> str:
  if not gain.has_interval:
    return ""
  return MET if gain.above(0) else MISSED if gain.below(0) else SHARED


def _configurations(data: SearchData) -> Facts:
  """List what was given and what was chosen."""
  found = [
    (f"{data.label(method)}, {choice}", _written(hp))
    for method in data.methods
    for choice in (GIVEN, REFERENCE, ROBUST)
    if (hp := data.hyperparameters(method, choice)) is not None
  ]
  return Facts(tuple(found))


def _written(hp: Mapping[str, Any]) -> str:
  short = lambda value: f"{value:.3g}" if isinstance(value, float) else facts.plain(value)
  return ", ".join(f"{name} {short(value)}" for name, value in hp.items())


def _cautions(data: SearchData) -> tuple[Caution, ...]:
  found = _few_samples(data)
  if len(data.places) < 2:
    found.append(Caution("caution", "one-searched-seed", "", "One searched seed", ONE_SEED))
  if not data.search.check_seeds:
    found.append(Caution("caution", "not-checked", "", "Nothing was checked", NOT_CHECKED))
  for method in data.methods:
    failed, total = data.failed(method), data.tuned[method].trials
    if failed > total / 2:
      words = f"{failed} of {total} trials turned non-finite; its ranges do not suit this problem."
      title = f"{data.label(method)}: most trials failed"
      found.append(Caution("caution", "trials-failed", method, title, words))
    for choice in (GIVEN, REFERENCE, ROBUST):
      failed, total = data.broken(method, choice)
      if failed:
        title = f"{data.label(method)}, {choice}: models failed on fresh seeds"
        words = f"{failed} of {total} turned non-finite. The mean S of the others is too good."
        found.append(Caution("severe", "checks-failed", method, title, words))
  return tuple(found)


def _few_samples(data: SearchData) -> list[Caution]:
  """Warn where chance moves the attack by as much as a loss of accuracy that would matter."""
  sizes = data.manifest.split.sizes
  forget, unseen = sizes["forget"], sizes.get("val_control", sizes["val"])
  error = 2 * power.standard_error("V_MIA", forget, unseen)  # of |2 V-MIA − 1|, beside thirds
  if 3 * error <= DEAR:
    return []
  words = (
    f"V-MIA compares {forget:,} forgotten with {unseen:,} unseen samples, so chance alone moves "
    f"|2 V-MIA − 1| by {number(error)} (one standard error), which weighs in S as much as "
    f"{number(3 * error)} of an accuracy. A choice may pay that much accuracy for an attack that "
    "is no better: look at the accuracies and RetDev of a benchmark with what was chosen."
  )
  return [Caution("caution", "few-samples", "", "Few samples for S", words)]


def _numbers(data: SearchData) -> pd.DataFrame:
  rows = [
    {"method": method, "choice": choice, **cell._asdict()}
    for method in data.methods
    for choice in (GIVEN, REFERENCE, ROBUST)
    if (cell := data.score(method, choice)).n
  ]
  return pd.DataFrame(rows)
