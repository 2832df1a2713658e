"""What was run: header, provenance, timings and method cards, as label and text."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxmu.audit.text import MISSING, number, plural
from jaxmu.report.data import ReportData, RunData
from jaxmu.store.manifest import Manifest

SETS = ("train", "retain", "forget", "val", "test")
STAGE_COLUMNS = ("wall (s)", "compilation (s)", "predictions (s)", "steps")


class MethodCard(NamedTuple):
  method: str
  label: str
  title: str
  summary: str
  paper: str
  needs: tuple[str, ...]
  oddities: str
  hyperparameters: tuple[tuple[str, str], ...]


def subject(data: ReportData) -> str:
  """Name the experiment in one line: network on data set, seeds."""
  return f"{task(data)}, {plural(len(data.seeds), 'seed')}"


def task(data: RunData) -> str:
  """Name network and data set."""
  return f"{data.config.model.name} on {data.manifest.dataset.name}"


def header(data: ReportData) -> list[tuple[str, str]]:
  """List what a reader must know before the first number."""
  manifest, known = data.manifest, data.split_sizes
  sizes = ", ".join(f"{name} {known[name]:,}" for name in SETS if name in known)
  if manifest.split.per_seed:
    sizes += "; every seed has a split of its own, so the spread includes the choice of samples"
  facts = [
    ("Model", model(data)),
    ("Data set", dataset(data)),
    ("Seeds", _seeds(data.seeds)),
    ("Split hash", manifest.split.sha256[:12]),
    ("Commit", manifest.commit[:12] or MISSING),
    ("Date", manifest.date),
    ("Device", device(manifest)),
    ("Split sizes", sizes),
    ("Versions", plain(manifest.versions)),
    ("Command", manifest.command or MISSING),
  ]
  if data.random_labels > 0:
    facts.append(("Random labels", random_labels(data)))
  return facts


def random_labels(data: RunData) -> str:
  """Say what share of the labels is random, and why."""
  return (
    f"{100 * data.random_labels:g} % of all samples got a random label, train, forget, validation "
    "and test samples alike, so that the sets stay exchangeable. Only a model that memorises can "
    "fit such labels, which makes a membership signal visible on an easy data set."
  )


def provenance(data: RunData) -> list[tuple[str, str]]:
  """List everything that identifies the run."""
  manifest = data.manifest
  return [
    ("Commit", manifest.commit or MISSING),
    ("Data SHA-256", manifest.dataset.sha256),
    ("Split SHA-256", manifest.split.sha256),
    ("Members per chunk", str(manifest.chunk)),
    ("Convolutions", lowerings(manifest.lowering)),
    ("Training", plain(data.config.training)),
  ]


def lowerings(table: Mapping[str, str]) -> str:
  """Say how many kinds of convolutions are computed in which way."""
  counts = collections.Counter(table.values())
  return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or MISSING


def timings(data: ReportData) -> tuple[list[str], list[list[str]]]:
  """Return head and rows of the timings table."""
  clocks = lambda stage: (stage.wall_s, stage.compile_s, stage.predict_s)
  body = [
    [data.label(name), *(number(seconds, 1) for seconds in clocks(stage)), f"{stage.steps:,}"]
    for name, stage in data.timings.items()
  ]
  return ["Stage", *STAGE_COLUMNS], body


def clock_note(data: ReportData) -> str:
  """Say what these clocks may not be used for."""
  return (
    "A stage's clock covers the whole population, trained in one compiled program, without "
    "compilation and without evaluation. It depends on how many members share the device, and on "
    "what else the machine does (compiling for coming stages, other processes), so it is no "
    "run-time efficiency of a method: read RTE, which counts work, for that."
  )


def method_cards(data: RunData, order: Iterable[str]) -> list[MethodCard]:
  """Describe the methods as the manifest does."""
  cards = []
  for name in order:
    known = data.manifest.methods[name]
    cards.append(
      MethodCard(
        method=name,
        label=data.label(name),
        title=known.title,
        summary=known.summary,
        paper=known.paper,
        needs=data.needs(name),
        oddities=known.oddities,
        hyperparameters=tuple((key, plain(value)) for key, value in known.hyperparameters.items()),
      )
    )
  return cards


def model(data: RunData) -> str:
  """Name the network with its options."""
  known = data.config.model
  width = f"width {known.width}, " if known.name == "cnn" else ""  # no other network reads it
  return f"{known.name} ({width}lowering {known.lowering})"


def dataset(data: RunData) -> str:
  """Name the data set with the number of its classes."""
  known = data.manifest.dataset
  return f"{known.name}, {known.num_classes} classes"


def device(manifest: Manifest) -> str:
  """Name kind and number of the devices, then the processor where both say different things."""
  name, count = manifest.device.kind, manifest.device.count
  processor = manifest.machine.processor
  where = f" ({processor})" if processor and processor != name else ""
  return f"{count} × {name}{where}" if count != 1 else f"{name}{where}"


def _seeds(seeds: list[int]) -> str:
  if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
    return f"{seeds[0]} to {seeds[-1]} ({len(seeds)})"
  return ", ".join(map(str, seeds))


def plain(value: Any) -> str:
  """Write a value of the manifest on one line."""
  if isinstance(value, Mapping):
    return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
  if isinstance(value, list | tuple):
    return ", ".join(map(plain, value))
  return f"{value:g}" if isinstance(value, float) else str(value)
