"""Several studies that belong together: cells, each with a search, a benchmark, or shadow models.

A cell is a data set with a network. Its benchmark takes the hyper-parameters of its search, once
that is finished. Every study has a run directory of its own, so any number of processes share the
work, and merging is reading.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxmu.errors import SettingsError
from jaxmu.settings import Settings
from jaxmu.settings.choices import BENCHMARK, SEARCH
from jaxmu.store import Run, tuned
from jaxmu.store.run import directory
from jaxmu.studies.plan import TO_DO, Plan, plan
from jaxmu.studies.registry import catalog

ANCHORS = ("original", "retrained")


class Part(NamedTuple):
  """One study of a matrix.

  Attributes:
    cell, name: what it is called; a part is CELL/NAME.
    config: as of a config file.
    after: the part of its cell whose search gives its hyper-parameters, "" for none.
    rule: by which that one chooses.
  """

  cell: str
  name: str
  config: Mapping[str, Any]
  after: str = ""
  rule: str = "reference"

  @property
  def key(self) -> str:
    """How a command line names it."""
    return f"{self.cell}/{self.name}"


def parts(config: Mapping[str, Any], only: str = "") -> list[Part]:
  """Return the studies of a matrix, searches before what waits for them.

  Args:
    config: `cells`, a mapping cell -> part -> the config of a study, and `rule`.
    only: a cell, or CELL/PART; empty for all.

  Raises:
    SettingsError: there is no such cell or part.
  """
  if not config.get("cells"):
    raise SettingsError(
      "this config is of one study (it has no cells); run it by `jaxmu run`, or take `matrix`"
    )
  rule = str(config.get("rule", "reference"))
  found = []
  for cell, studies in config["cells"].items():
    for name, each in sorted(studies.items(), key=lambda pair: not pair[0].endswith(SEARCH)):
      plain = each.to_dict() if hasattr(each, "to_dict") else each
      found.append(Part(cell, name, plain, _before(name, studies), rule))
  chosen = [part for part in found if only in ("", part.cell, part.key)]
  if not chosen:
    known = ", ".join(part.key for part in found)
    raise SettingsError(f"there is no part '{only}'; known: {known}, or a whole cell")
  return chosen


def _before(name: str, studies: Mapping[str, Any]) -> str:
  """Return the search that gives a study its hyper-parameters: "search", or "NAME_search"."""
  wanted = SEARCH if name == BENCHMARK else f"{name}_{SEARCH}"
  return wanted if wanted in studies else ""


def settings(part: Part, every: Mapping[str, Part]) -> Settings:
  """Return the checked settings of a part, with what its search found, if that is finished."""
  config = dict(part.config)
  if part.after:
    before = settings(every[f"{part.cell}/{part.after}"], every)
    folder = directory(before.output_dir, before.name, before.hash8)
    if tuned.finished(folder):
      config["tuned"] = f"{folder}:{part.rule}"
  return Settings.from_config(config, catalog())


def by_key(found: list[Part]) -> dict[str, Part]:
  """Return parts by their keys."""
  return {part.key: part for part in found}


def run(
  chosen: list[Part],
  every: Mapping[str, Part],
  work: Callable[[Settings], Run],
  say: Callable[[str], None],
) -> dict[str, Run]:
  """Run parts one after another; return their runs by key.

  Raises:
    SettingsError: the search that a part waits for is not finished.
  """
  found = {}
  for number, part in enumerate(chosen, 1):
    known = settings(part, every)
    if part.after and not known.tuned:
      raise SettingsError(
        f"{part.key} takes its hyper-parameters from {part.cell}/{part.after}, which is not "
        "finished; run that part first, or all of them"
      )
    say(f"part {number} of {len(chosen)}: {part.key}")
    found[part.key] = work(known)
  return found


class Line(NamedTuple):
  """What a part will take: models by what they are, petaFLOP, seconds left, missing models."""

  part: Part
  anchors: int
  trials: int
  unlearned: int
  pflop: float
  seconds: float
  missing: int

  @property
  def models(self) -> int:
    """All of them."""
    return self.anchors + self.trials + self.unlearned


def plans(
  chosen: list[Part], every: Mapping[str, Part], images_per_second: float | None = None
) -> Iterator[tuple[Part, Plan]]:
  """Plan every part; a search's coming batches are taken to be as its first."""
  for part in chosen:
    yield part, plan(settings(part, every), images_per_second=images_per_second)


def line_of(part: Part, planned: Plan) -> Line:
  """Say what a part will take."""
  counts = {"anchors": 0, "others": 0}
  for unit in planned.units:
    counts["anchors" if unit.stage in ANCHORS else "others"] += len(unit.members)
  left = [unit for unit in planned.units if unit.state == TO_DO]
  others = counts["others"]
  return Line(
    part,
    counts["anchors"],
    others if planned.study == SEARCH else 0,
    0 if planned.study == SEARCH else others,
    sum(unit.pflop for unit in planned.units),
    sum(unit.seconds for unit in left),
    sum(len(unit.members) for unit in left),
  )


def total(found: list[Line]) -> dict[str, int]:
  """Count models once: the originals and retrained models of a cell serve its search and its study.

  Where only the search has some (that of shadow models trains its own), they are counted apart.
  """
  followed = {f"{line.part.cell}/{line.part.after}" for line in found if line.part.after}
  own = {"original and retrained": 0, "search trials": 0, "unlearned": 0, "of searches alone": 0}
  for line in found:
    own["search trials"] += line.trials
    own["unlearned"] += line.unlearned
    if line.part.key not in followed:
      own["original and retrained"] += line.anchors
    elif line.part.name != SEARCH:
      own["of searches alone"] += line.anchors
  return own


def cell_runs(found: Mapping[str, Run]) -> dict[str, Run]:
  """Return the runs of benchmarks by cell."""
  return {key.partition("/")[0]: run for key, run in found.items() if key.endswith(f"/{BENCHMARK}")}


def folder(config: Mapping[str, Any]) -> Path:
  """Return where the report over all cells goes."""
  return Path(str(config.get("output_dir", "checkpoints"))) / str(config.get("name", "matrix"))
