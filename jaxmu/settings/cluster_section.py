"""The section of a config that says how a cluster's jobs are asked for; no number depends on it."""

from typing import Annotated, Any

from pydantic import ValidationInfo
from pydantic.dataclasses import dataclass

from jaxmu.settings.entries import Entry
from jaxmu.settings.ranges import ARRAY, CORES, GPUS, MINUTES, Unfit
from jaxmu.settings.sections import STRICT


def line(given: Any, info: ValidationInfo) -> str:
  """Read a text of one line."""
  del info
  if not isinstance(given, str) or len(given.splitlines()) > 1:
    raise Unfit("a text of one line")
  return given.strip()


def lines(given: Any, info: ValidationInfo) -> tuple[str, ...]:
  """Read texts of one line each; one alone needs no brackets."""
  if isinstance(given, str):
    given = (given,) if given.strip() else ()
  if not isinstance(given, tuple | list):
    raise Unfit("texts of one line each")
  return tuple(line(one, info) for one in given)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClusterSettings:
  """What each job of `--submit` asks for ([clusters](clusters.md))."""

  partition: Annotated[
    str, Entry("Slurm's partition; empty: the cluster's own choice", read=line, incidental=True)
  ] = ""
  account: Annotated[
    str, Entry("account that is charged; empty: your own", read=line, incidental=True)
  ] = ""
  gpus: Annotated[
    int, Entry("GPUs (on Kubernetes, chips) of a task; 0: CPUs alone", within=GPUS, incidental=True)
  ] = 1
  cpus: Annotated[int, Entry("CPU cores of a task", within=CORES, incidental=True)] = 8
  memory: Annotated[
    str,
    Entry(
      "memory of a task, as `32G`; empty: the cluster's own choice", read=line, incidental=True
    ),
  ] = ""
  minutes: Annotated[
    int,
    Entry(
      "limit of time of a task; 0: twice what the plan expects and ten minutes more",
      within=MINUTES,
      incidental=True,
    ),
  ] = 0
  at_once: Annotated[
    int,
    Entry(
      "tasks of an array that may run at once; 0: as many as the cluster lets",
      within=ARRAY,
      incidental=True,
    ),
  ] = 0
  pack_minutes: Annotated[
    int,
    Entry(
      "short units are packed into one task until it is expected to take this long, so that "
      "start-up is a small part of it; 0: a task for each unit",
      within=MINUTES,
      incidental=True,
    ),
  ] = 10
  setup: Annotated[
    tuple[str, ...],
    Entry(
      "lines of shell before the work, such as `module load cuda`", read=lines, incidental=True
    ),
  ] = ()
  extra: Annotated[
    tuple[str, ...],
    Entry("further words for `sbatch`, such as `--qos=low`", read=lines, incidental=True),
  ] = ()
  image: Annotated[str, Entry("Kubernetes: the container image", read=line, incidental=True)] = (
    "jaxmu:cuda12"
  )
  claim: Annotated[
    str,
    Entry(
      "Kubernetes: the PersistentVolumeClaim that holds runs (and data), mounted where "
      "`output_dir` is",
      read=line,
      incidental=True,
    ),
  ] = "jaxmu-runs"
  queue: Annotated[
    str, Entry("Kubernetes: Kueue's local queue; empty: none", read=line, incidental=True)
  ] = ""
  resource: Annotated[
    str,
    Entry(
      "Kubernetes: what a chip is called, `nvidia.com/gpu` or `google.com/tpu`",
      read=line,
      incidental=True,
    ),
  ] = "nvidia.com/gpu"
  selector: Annotated[
    tuple[str, ...],
    Entry("Kubernetes: labels that nodes must have, as `key=value`", read=lines, incidental=True),
  ] = ()
