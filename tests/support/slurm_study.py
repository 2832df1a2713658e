"""A benchmark of stubs, submitted to a Slurm of a test's own."""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from jaxmu import launch
from jaxmu.errors import StoreError
from jaxmu.launch.order import Order, versions
from jaxmu.stopping import Stop
from jaxmu.store import files, submissions
from jaxmu.store.record import Record
from jaxmu.store.run import directory
from jaxmu.studies import tasks
from jaxmu.studies.driver import Driver
from jaxmu.studies.study import unknown
from support import stub_task, sweeps

PROGRAM = (sys.executable, "-m", "support.stub_task")


class Study:
  """A benchmark of stubs with a unit for each seed, and how it is submitted."""

  def __init__(self, folder, seeds=4, **cluster):
    asked = {"gpus": 0, "cpus": 1, "pack_minutes": 0, "minutes": 5} | cluster
    words = [f"--config.cluster.{name}={value}" for name, value in asked.items()]
    words += ["--config.population.members_at_once=1", f"--config.seeds=0..{seeds - 1}"]
    self.settings = sweeps.settings(*sweeps.arguments(folder, *words, methods="ft"))
    self.home = directory(folder, self.settings.name, self.settings.hash8)
    self.seeds, self.said = seeds, []

  def submit(self, stage=""):
    jobs = tasks.of_study(self.settings)
    made = submissions.Submission(
      self.settings.to_dict(), tuple(jobs), versions(), str(sweeps.ROOT)
    )
    path = submissions.write(self.home, made)
    order = Order(
      made, path, self.home, self.settings.cluster, Stop(), self.said.append, stage, PROGRAM
    )
    assert launch.ENGINES["slurm"](order) == 0

  @property
  def logs(self):
    return "\n".join(p.read_text() for p in sorted(self.home.glob("submissions/logs/*.log")))

  def missing(self):
    """Return how many units are not there."""
    return 3 * self.seeds - sum(map(self.done, ("original", "retrained", "ft")))

  def at_work(self):
    """Return the processes that have saved an epoch of the unit that they work on."""
    found = []
    for leg in self.home.glob("legs/*/*/0-*/leg.json"):
      with suppress(StoreError, KeyError):
        found.append(files.read_json(leg)["process"])
    alive = running(self)
    return [process for process in found if process in alive]

  def done(self, stage):
    return len(list(self.home.glob(f"stages/{stage}/[!.]*/marker.json")))

  def check(self, stages=("original", "retrained", "ft")):
    """Every unit once, with its numbers, and nothing left over."""
    record = Record(self.home)
    known = stub_task.identities(self.settings)
    reader = Driver(record, known, lambda unit: None, say=self.said.append)
    reader.add_all(stub_task.stages(self.settings), unknown)
    for stage in stages:
      assert self.done(stage) == self.seeds, f"{stage}: see the end of\n{self.logs[-4000:]}"
      assert [row["seed"] for row in record.rows(stage)] == list(range(self.seeds))
      right = np.stack([stub_task.numbers(seed) for seed in range(self.seeds)])
      assert (record.logits(stage) == right).all()
    if "all there" in self.logs:  # whoever writes tables sweeps
      assert not list(self.home.glob("legs/*/[!.]*"))
    for folder in self.home.glob("stages/*"):
      assert not [p for p in folder.iterdir() if p.name.startswith(".") and p.is_dir()]


def running(study):
  """Return the processes of a study's tasks, by log line of who they are."""
  found = []
  for path in Path("/proc").glob("[0-9]*/cmdline"):
    words = []
    with suppress(OSError):  # gone meanwhile
      words = path.read_bytes().split(b"\0")
    own = any(str(study.home).encode() in word for word in words)
    if own and b"support.stub_task" in words and b"srun" not in words[0]:
      found.append(int(path.parent.name))
  return found
