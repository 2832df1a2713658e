"""What was run, in words that reports of all kinds share."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

from jaxmu.audit.metric import Number
from jaxmu.audit.text import MISSING, plural
from jaxmu.report.blocks import Cards, Facts, Meaning, MethodCard, Section, Table, Text
from jaxmu.report.source import RunData
from jaxmu.settings.choices import CLASSES, EACH, GROUPS, LISTED, RANDOM, RANKED
from jaxmu.store.manifest import Manifest

TOUCH = "Struck-through sets do not exist for a method: the program does not hand them over."


def header(data: RunData, asked: Iterable[tuple[str, str]], sizes: str, split: str = "") -> Facts:
  """List what was run; `asked` says how many models of what, `split` identifies one."""
  manifest = data.manifest
  facts = [
    ("Model", model(data)),
    ("Data set", f"{manifest.dataset.name}, {manifest.dataset.num_classes} classes"),
    *asked,
    *([("Split hash", split)] if split else []),
    ("Commit", manifest.commit[:12] or MISSING),
    ("Date", manifest.date or MISSING),
    ("Device", device(manifest)),
    ("Split sizes", sizes),
    ("Versions", plain(manifest.versions)),
    ("Command", manifest.command or MISSING),
  ]
  if data.random_labels > 0:
    facts.append(("Random labels", random_labels(data)))
  return Facts(tuple(facts))


def request(data: RunData, control: str) -> list[tuple[str, str]]:
  """Say who is forgotten, where that is not a random share, and what methods may read.

  Args:
    control: what the forgotten samples are compared with.
  """
  asked = data.config.scenario
  seen = f"{100 * asked.retain_share:g} % of the retain set"
  access = [] if asked.retain_share == 1 else [("Methods read", seen)]
  if asked.draws > 1:
    access.insert(0, ("Forget sets of a seed", f"{asked.draws}, drawn independently"))
  if asked.rounds > 1:
    access.insert(0, ("Forgotten in", f"{asked.rounds} rounds, one after another"))
  if asked.forget == RANDOM:
    return access
  which = {
    CLASSES: "each class in turn" if asked.classes == EACH else f"classes {_named(data)}",
    GROUPS: plural(asked.groups, "group"),
    RANKED: f"samples with the {asked.take} scores of {asked.scores}",
    LISTED: f"samples of {asked.path}",
  }[asked.forget]
  share = "" if asked.share == 1 else f", {100 * asked.share:g} % of their samples"
  return [("Forgotten", f"{which}{share}; compared with {control}"), *access]


def _named(data: RunData) -> str:
  """Name the classes that a request names, by number or name."""
  names = data.manifest.dataset.class_names
  words = [word.strip() for word in data.config.scenario.classes.split(",")]
  by_number = lambda word: word.isdecimal() and word not in names
  return ", ".join(class_name(data, int(word)) if by_number(word) else word for word in words)


def task(data: RunData) -> str:
  """Name network and data set."""
  return f"{data.config.model.name} on {data.manifest.dataset.name}"


def random_labels(data: RunData) -> str:
  """Say what share of the labels is random, and why."""
  return (
    f"{100 * data.random_labels:g} % of all samples got a random label, train, forget, validation "
    "and test samples alike, so that the sets stay exchangeable. Only a model that memorises can "
    "fit such labels, which makes a membership signal visible on an easy data set."
  )


def provenance(data: RunData) -> Facts:
  """List everything that identifies the run, as far as it is known."""
  manifest = data.manifest
  found = [
    ("Commit", manifest.commit or MISSING),
    ("Data SHA-256", manifest.dataset.sha256),
    ("Split SHA-256", manifest.split.sha256),
    ("Members per chunk", str(manifest.chunk)),
    ("Convolutions", lowerings(manifest.lowering)),
    ("Training", plain(data.config.training)),
    ("Recipe", plain(data.config.recipe.changed) or MISSING),
    ("Own code", ", ".join(data.config.own.sha256) or MISSING),
  ]
  return Facts(tuple((name, words) for name, words in found if words != MISSING))


def lowerings(table: Mapping[str, str]) -> str:
  """Say how many kinds of convolutions are computed in which way."""
  counts = collections.Counter(table.values())
  return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or MISSING


def methods(data: RunData, order: Iterable[str]) -> Section:
  """Describe the methods as the manifest does."""
  cards = Cards(tuple(_card(data, name) for name in order))
  return Section("Methods", (Text(TOUCH), cards), "methods")


def meanings(shown: Iterable[Number], short: str) -> Section:
  """Explain numbers, for those who read a page; `short` stands in its list of sections."""
  cards = tuple(Meaning(one.label, one.ideal, one.explanation, one.limits) for one in shown)
  return Section("What the numbers mean", (Cards(cards),), "metrics", short, page_only=True)


def results(legend: str, marks: str, main: Table) -> Section:
  """Show the main table between how to read it and what its columns mean."""
  words = Facts(tuple((column.label, column.words) for column in main.columns), wide=True)
  more = Text(f"{marks} ⚠ leads to a warning.", small=True)
  return Section("Results", (Text(legend, small=True), main, more, words), "results")


def _card(data: RunData, name: str) -> MethodCard:
  known = data.manifest.methods[name]
  given = tuple((key, plain(value)) for key, value in known.hyperparameters.items())
  words = known.title, known.summary, known.paper, data.needs(name), known.oddities
  return MethodCard(name, data.label(name), *words, given)


def counted(total: int, failed: int) -> str:
  """Write how many there are, "638/640" where some failed."""
  return f"{total - failed:,}/{total:,}" if failed else f"{total:,}"


def model(data: RunData) -> str:
  """Name the network with its options."""
  known = data.config.model
  width = f"width {known.width}, " if known.name == "cnn" else ""  # no other network reads it
  if not known.lowering:  # a network of somebody's own
    return known.name
  return f"{known.name} ({width}lowering {known.lowering})"


def device(manifest: Manifest) -> str:
  """Name kind and number of the devices, then the processor where both say different things."""
  name, count = manifest.device.kind, manifest.device.count
  processor = manifest.machine.processor
  where = f" ({processor})" if processor and processor != name else ""
  return f"{count} × {name}{where}" if count != 1 else f"{name}{where}"


def plain(value: Any) -> str:
  """Write a value of the manifest on one line."""
  if isinstance(value, Mapping):
    return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
  if isinstance(value, list | tuple):
    return ", ".join(map(plain, value))
  return f"{value:g}" if isinstance(value, float) else str(value)


def class_name(data: RunData, label: int) -> str:
  """Name a class as the manifest does, else, or where that is its number, by its number."""
  names = data.manifest.dataset.class_names
  known = 0 <= label < len(names) and names[label] != str(label)
  return names[label] if known else f"class {label}"
