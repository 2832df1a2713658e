"""What is handed to an engine, and what tasks of all engines have in common."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jaxmu.errors import SettingsError
from jaxmu.settings.cluster_section import ClusterSettings
from jaxmu.stopping import Stop
from jaxmu.store.submissions import Job, Submission, logs

PACKAGES = ("jaxmu", "jax")
FAILED = (2, 69)  # exit codes after which trying again is of no use
FINAL = (0, *FAILED)
AGAIN = 75
SHARED_CACHE = "JAXMU_SHARED_CACHE"  # where compiled programs are shared (`engine`)
# Engines and the variable in which each tells a task its number, with the number of the first one.
VARIABLES = {
  "SLURM_ARRAY_TASK_ID": 0,
  "JOB_COMPLETION_INDEX": 0,  # Kubernetes
  "PBS_ARRAY_INDEX": 0,
  "PBS_ARRAYID": 0,  # Torque
  "LSB_JOBINDEX": 1,  # LSF, which says 0 outside an array
  "SGE_TASK_ID": 1,  # Grid Engine, which says "undefined" outside an array
  "HQ_TASK_ID": 0,  # HyperQueue
  "OAR_ARRAY_INDEX": 1,
  "AWS_BATCH_JOB_ARRAY_INDEX": 0,
  "BATCH_TASK_INDEX": 0,  # Google Batch
  "CLOUD_RUN_TASK_INDEX": 0,
}


@dataclass(frozen=True)
class Order:
  """A submission on its way to an engine.

  Attributes:
    path: the submission's file.
    home: the folder of the run or the matrix.
    say: prints lines about it.
    stage: only jobs whose name ends with it; "" for all.
    program: what works a task.
  """

  submission: Submission
  path: Path
  home: Path
  cluster: ClusterSettings
  stop: Stop
  say: Callable[[str], None]
  stage: str = ""
  program: tuple[str, ...] = (sys.executable, "-m", "jaxmu.command.work")

  @property
  def jobs(self) -> tuple[Job, ...]:
    """The jobs that are asked for.

    Raises:
      SettingsError: no job is called so.
    """
    found = tuple(job for job in self.submission.jobs if _is_called(job.name, self.stage))
    if not found and self.submission.jobs:
      known = ", ".join(dict.fromkeys(job.name.rpartition("/")[2] for job in self.submission.jobs))
      raise SettingsError(
        f"--stage={self.stage}: nothing of it is missing; expected one of {known}"
      )
    return found

  def words(self, job: Job) -> list[str]:
    """Return the command of every task of a job."""
    return [*self.program, str(self.path), f"--job={job.name}"]

  def environment(self) -> dict[str, str]:
    """Return variables that tasks need beside their engine's."""
    found = {SHARED_CACHE: str(self.home.parent.resolve() / ".programs")}
    given = os.environ.get("PYTHONPATH", "")
    if given and self.submission.config.get("own", {}).get("sha256"):
      # A user's own modules: those of the submission's folder are found without it.
      found["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, given.split(os.pathsep)))
    return found

  def exports(self) -> list[str]:
    """Return the same as lines of shell, after the lines that a cluster needs first.

    A task that is promised GPUs must not fall back to a CPU without a word.
    """
    own = [f"export {name}={shlex.quote(value)}" for name, value in self.environment().items()]
    if self.cluster.gpus:
      kind = "tpu" if "tpu" in self.cluster.resource else "cuda"
      own.append(f'export JAX_PLATFORMS="${{JAX_PLATFORMS:-{kind}}}"')
    return [*self.cluster.setup, *own]

  @property
  def logs(self) -> Path:
    """Where tasks print to."""
    return logs(self.path)


def _is_called(name: str, stage: str) -> bool:
  """Tell whether a job is one of a stage: `anchors`, `search/trials`, `mnist_cnn/search/trials`."""
  return not stage or re.sub(r"-\d+$", "", f"/{name}").endswith(f"/{stage}")


def versions() -> dict[str, str]:
  """Return the versions that all tasks must have."""
  return {name: metadata.version(name) for name in PACKAGES}


def check_versions(submission: Submission) -> None:
  """Refuse to work with other versions than the submission's; SettingsError."""
  for name, here in versions().items():
    wanted = submission.versions.get(name)
    if wanted != here:
      raise SettingsError(
        f"this machine has {name} {here}, and what was submitted is for {name} {wanted}; install "
        "the same version, or submit again with this one"
      )


def index(environment: Mapping[str, str] = os.environ) -> int:
  """Return the number of this task, from 0, from whichever variable the engine sets.

  Raises:
    SettingsError: none is set.
  """
  for name, first in VARIABLES.items():
    text = environment.get(name, "")
    if text.isdecimal() and int(text) >= first:
      return int(text) - first
  raise SettingsError(
    f"no task number is set; expected --index=N, or one of the variables {', '.join(VARIABLES)}"
  )


def minutes(job: Job, cluster: ClusterSettings) -> int:
  """Return a limit of time for the tasks of a job: twice what is expected, and ten minutes."""
  longest = max(task.seconds for task in job.tasks)
  return cluster.minutes or int(2 * longest / 60) + 10


def title(job: Job) -> str:
  """Return a name for a job that every engine takes: letters, digits and hyphens."""
  return re.sub(r"[^a-z0-9]+", "-", f"jaxmu-{job.name}".lower()).strip("-")
