"""What was handed to a cluster: jobs of tasks, written once, and never changed.

    RUN/submissions/<hash>.json        what was asked for, with all tasks
                    <hash>.jobs.json   which job of the engine each one became
    RUN/submissions/logs/              what tasks print

A task of a queued job reads its file, never the config that it was made from: that may change
while the job waits.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxmu.errors import StoreError
from jaxmu.store import attempts, files, typed_json
from jaxmu.store.private_names import private, writing

SENT = ".jobs.json"  # end of the name of the file that says so, beside a submission's
PREPARE, MEMBERS, BRANCH, TABLES, REPORT = "prepare", "members", "branch", "tables", "report"


@dataclass(frozen=True)
class Item:
  """A piece of work.

  Attributes:
    do: `prepare` makes the run directory; `members` are members of a stage; `branch` is all stages
      of one method, of some places; `tables` writes the tables and the report of a run; `report`
      that over all runs.
    part: which part of a matrix, "" for a study.
    stage, members: of `members`: the coordinates of each.
    method, places: of `branch`; no places are all of them.
  """

  do: str
  part: str = ""
  stage: str = ""
  members: tuple[Mapping[str, int], ...] = ()
  method: str = ""
  places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
  """Items that are worked one after another, with how many models they are and what they take."""

  items: tuple[Item, ...]
  models: int = 0
  pflop: float = 0.0
  seconds: float = 0.0

  @property
  def key(self) -> str:
    """Say which task it is, in all submissions alike."""
    return hashlib.sha256(files.sealed({"items": self.items})).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
  """Tasks that may run at once, after other jobs have ended."""

  name: str
  tasks: tuple[Task, ...]
  after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
  """What was asked for.

  Attributes:
    config: of the study, or of all studies of a matrix, as a config file gives it.
    versions: of jaxmu and jax; other ones refuse to work on it.
    folder: the folder that relative paths in the config start from.
  """

  config: Mapping[str, Any]
  jobs: tuple[Job, ...]
  versions: Mapping[str, str]
  folder: str
  command: str = ""

  def job(self, name: str) -> Job:
    """Return a job by its name; StoreError where there is none."""
    for job in self.jobs:
      if job.name == name:
        return job
    raise StoreError(f"there is no job '{name}'; known: {', '.join(j.name for j in self.jobs)}")


@dataclass(frozen=True)
class Sent:
  """Which jobs of an engine a submission became: name -> numbers there, one a time it was sent."""

  engine: str
  jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def write(home: Path, submission: Submission) -> Path:
  """Write a submission below a folder, a run's or a matrix's; return its file.

  Raises:
    StoreError: it cannot be written.
  """
  content = files.sealed(submission)
  folder = home / "submissions"
  path = folder / f"{hashlib.sha256(content).hexdigest()[:8]}.json"
  with writing(path):
    logs(path).mkdir(parents=True, exist_ok=True)
  files.write_new(path, lambda file: file.write(content))
  return path


def read(path: Path) -> Submission:
  """Read a submission; StoreError where it is not what was written."""
  try:
    return typed_json.load_sealed(Submission, path)
  except StoreError as error:
    raise StoreError(f"{str(error).rpartition(';')[0]}; submit again") from None


def note_sent(path: Path, engine: str, name: str, number: str) -> None:
  """Write down which job of an engine a job of a submission became."""
  file = path.with_suffix(SENT)
  known = typed_json.load_sealed(Sent, file).jobs if file.is_file() else {}
  jobs = {**known, name: (*known.get(name, ()), number)}
  files.write_sealed(file, Sent(engine, jobs))


def sent_before(home: Path) -> list[tuple[Submission, Sent]]:
  """Return all submissions below a folder that an engine took; what is damaged is passed over."""
  found = []
  for path in sorted((home / "submissions").glob(f"*{SENT}")):
    with suppress(StoreError):
      whole = path.with_name(path.name.removesuffix(SENT) + ".json")
      found.append((read(whole), typed_json.load_sealed(Sent, path)))
  return found


def logs(path: Path) -> Path:
  """Return where the tasks of a submission print to."""
  return path.parent / "logs"


def probe(home: Path) -> None:
  """Try what commits of results stand on: that a rename never replaces a folder that holds files.

  Raises:
    StoreError: the file system does not keep that; object stores that look like folders do not.
  """
  first, second = private(home / "probe"), private(home / "probe")
  with writing(home):
    home.mkdir(parents=True, exist_ok=True)
    for folder in (first, second):
      folder.mkdir()
      (folder / "whose").write_text(folder.name, encoding="utf-8")
  final = private(home / "probe")
  try:
    reason = _faults(first, second, final)
  finally:
    for folder in (first, second, final):
      _remove(folder)
  if reason:
    raise StoreError(
      f"{home} lies on a file system {reason}, so results of two processes could mix; put "
      "config.output_dir on one that POSIX describes (local, NFS, Lustre, GPFS)"
    )


def _faults(first: Path, second: Path, final: Path) -> str:
  try:
    if not attempts.renamed(first, final):
      return "that cannot rename a folder"
  except OSError as error:
    return f"that cannot rename a folder ({error.strerror})"
  try:
    replaced = attempts.renamed(second, final)
  except OSError as error:
    return f"where a rename onto a folder fails with '{error.strerror}'"
  whose = (final / "whose").read_text(encoding="utf-8")
  return (
    "where a rename replaces a folder that holds files" if replaced or whose != first.name else ""
  )


def _remove(folder: Path) -> None:
  with suppress(OSError):
    for path in folder.iterdir():
      path.unlink()
    os.rmdir(folder)
