"""One round of a kill campaign: processes on one folder, signals at random moments, the end."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import damage

sys.path.append(str(damage.ROOT / "tests"))
from support import studies, sweeps

from jaxmu.store import Run


def search(folder: Path, *overrides: str) -> list[str]:
  """Return the command line of a tiny search, whose stages are of several units."""
  given = {"trials": 6, "batch": 3, "robust": 1, "robust_seeds": ",", "check_seeds": "2,3"}
  words = (f"--config.search.{name}={value}" for name, value in given.items())
  return sweeps.arguments(folder, "--config.study=search", *words, *overrides, methods="ft")


def rounds(folder, *overrides):
  """Return a benchmark with half of two classes to be forgotten in two rounds, in two ways."""
  asked = {"forget": "classes", "classes": "1,2", "share": 0.5, "draws": 2, "rounds": 2}
  words = [f"--config.scenario.{name}={value}" for name, value in asked.items()]
  return sweeps.arguments(folder, *words, *overrides)


STUDIES = {
  "benchmark": sweeps.arguments,
  "ulira": studies.arguments,
  "search": search,
  "rounds": rounds,
}
LONGER = tuple(
  f"--config.{name}.num_epochs=30" for name in ("training", "unlearning.ft", "unlearning.msg")
)  # so that many a moment lies between two saved epochs
BEGUN = "run directory: "  # the first line of a process that is about to work
COME_AGAIN = 75
PATIENCE = 900.0  # seconds for a process to begin, or to end by itself
EARLY = 0.15  # of the signals come while a process is still being set up
EARLIEST = 2.0  # seconds in which a process of its own starts to answer signals


@dataclass
class Round:
  """What happened from an empty folder to the end of a study.

  Attributes:
    signals: how many were sent, by where their process was.
    codes: exit codes after SIGTERM.
    saved: after how many of them a saved epoch was there.
    resumed: how often a process went on from one (seen of single processes).
  """

  study: str
  processes: int
  signal: str
  signals: Counter = field(default_factory=Counter)
  codes: Counter = field(default_factory=Counter)
  saved: int = 0
  resumed: int = 0
  faults: list[str] = field(default_factory=list)


class Worker:
  """A process that works on a study, and what it said."""

  def __init__(self, argv: Sequence[str], log: Path):
    self.log, self.started = log, time.monotonic()
    with log.open("w") as err:
      self.process = subprocess.Popen(sweeps.command(*argv), stdout=subprocess.DEVNULL, stderr=err)

  @property
  def said(self) -> str:
    return self.log.read_text(encoding="utf-8")

  def begin(self) -> None:
    """Wait until it is set up, or has ended."""
    while BEGUN not in self.said and self.process.poll() is None:
      assert time.monotonic() - self.started < PATIENCE, "a process does not begin"
      time.sleep(0.01)

  def sleep(self, seconds: float) -> bool:
    """Wait; False if it ends meanwhile."""
    try:
      self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      return True
    return False


class Reference:
  """An undisturbed run: its numbers, and the seconds that its parts took."""

  def __init__(self, study: str, folder: Path):
    with_msg = study in ("benchmark", "rounds")
    used = [entry for entry in LONGER if with_msg or "msg" not in entry]
    if study == "search":
      used = used[:1]  # trials draw their epochs, up to a fifth of these
    self.study, self.argv = study, lambda output: STUDIES[study](output, *used)
    output = folder / study / "undisturbed"
    if not list(output.glob("*/report.md")):
      output.mkdir(parents=True, exist_ok=True)
      _finish(Worker(self.argv(output), output.parent / "first.err"))  # compiles
      shutil.rmtree(output)
      (worker := Worker(self.argv(output), output.parent / "second.err")).begin()
      begun = time.monotonic()
      _finish(worker)
      seconds = {"setup": begun - worker.started, "work": time.monotonic() - begun}
      (output.parent / "seconds.json").write_text(json.dumps(seconds))
    self.seconds = json.loads((output.parent / "seconds.json").read_text())
    self.run = sweeps.only_run(output)
    self.stages = [path.name for path in self.run.glob("stages/*")]
    self.numbers, self.report = damage.fingerprint(self.run), damage.report(self.run)


def _finish(worker: Worker) -> None:
  assert worker.process.wait(PATIENCE) == 0, worker.said[-500:]


class Play:
  """One round: a folder, its workers, and a source of random moments."""

  def __init__(self, reference: Reference, made: Round, folder: Path, rng: random.Random):
    self.reference, self.round, self.folder, self.rng = reference, made, folder, rng
    self.out, self.starts = folder / "out", 0
    self.saved: dict[str, tuple[int, int]] = {}  # stage -> phase and epoch, when last looked

  def go(self, most: int) -> None:
    """Send up to `most` signals, then let the study end, and look at what it ended with."""
    workers = [self._start() for _ in range(self.round.processes)]
    while sum(self.round.signals.values()) < most:
      victim = self.rng.choice(workers)
      if not self._reach(victim):
        break  # it ended by itself
      self._hit(victim)
      if self.round.processes > 1 and self.rng.random() < 0.5:
        workers.remove(victim)
        break  # the others finish the study
      workers[workers.index(victim)] = self._start()
    for worker in workers:
      if code := worker.process.wait(PATIENCE):
        self._fault(f"ended with code {code}: {worker.said[-300:]}")
    self._resumed(workers[-1])
    self._compare()

  def _start(self) -> Worker:
    self.starts += 1
    return Worker(self.reference.argv(self.out), self.folder / f"{self.starts}.err")

  def _reach(self, victim: Worker) -> bool:
    """Wait for a random moment of a process's life; False if it ends before."""
    seconds = self.reference.seconds
    if self.rng.random() < EARLY:
      return victim.sleep(self.rng.uniform(EARLIEST, seconds["setup"]))
    victim.begin()
    return victim.sleep(self.rng.uniform(0.0, seconds["work"]))

  def _hit(self, victim: Worker) -> None:
    """Send the signal, and look at what is left on disk."""
    where = self._where(victim)
    number = getattr(signal, self.round.signal)
    victim.process.send_signal(number)
    code = victim.process.wait(PATIENCE)
    self.round.signals[where] += 1
    if number == signal.SIGTERM:
      self.round.codes[str(code)] += 1
      told = "run the same command again to go on" in victim.said
      if code != COME_AGAIN or not told:
        self._fault(f"SIGTERM while {where}: code {code}, said {victim.said[-200:]!r}")
    self._resumed(victim)
    self.saved = self._legs()
    self.round.saved += bool(self.saved)

  def _where(self, victim: Worker) -> str:
    """Say what a process is doing, as far as can be seen from outside."""
    if BEGUN not in victim.said:
      return "setting up"
    if self._unit() is None:
      return "writing results"
    return "in a unit with a saved epoch" if self._legs() else "in a unit"

  def _unit(self) -> str | None:
    """Return a stage that is not finished."""
    done = {path.parts[-3] for path in self.out.glob("*/stages/*/*/marker.json")}
    return next((name for name in self.reference.stages if name not in done), None)

  def _legs(self) -> dict[str, tuple[int, int]]:
    """Return phase and epoch of the last saved leg of each stage, of units that are not finished.

    A kill between a unit's commit and the removal of its legs leaves these behind.
    """
    done = {path.parts[-3:-1] for path in self.out.glob("*/stages/*/*/marker.json")}
    found: dict[str, tuple[int, int]] = {}
    for path in self.out.glob("*/legs/*/*/[0-9]*-*/metadata.json"):
      if path.parts[-4:-2] in done:
        continue
      phase, epoch = map(int, path.parts[-2].split("-"))
      found[path.parts[-4]] = max(found.get(path.parts[-4], (0, 0)), (phase, epoch))
    return found

  def _resumed(self, worker: Worker) -> None:
    """Check that a single process went on from what was saved when it started."""
    if self.round.processes > 1:
      return
    for stage, (_, epoch) in self.saved.items():
      lines = [line for line in worker.said.splitlines() if line.startswith(f"{stage}: ")]
      if f"{stage}: resuming after epoch {epoch + 1}" in lines:
        self.round.resumed += 1
      elif lines:
        self._fault(f"{stage} did not go on from epoch {epoch + 1}: {lines[0]}")

  def _compare(self) -> None:
    """Look at a finished run: numbers, report, what is left over, what was trained twice."""
    run = sweeps.only_run(self.out)
    if damage.fingerprint(run) != self.reference.numbers:
      self._fault("other numbers")
    if damage.report(run) != self.reference.report:
      self._fault("another report")
    left = [
      str(p.relative_to(run)) for p in run.rglob("*") if p.name[0] == "." and p.name != ".lock"
    ]
    left += [str(path.relative_to(run)) for path in run.glob("legs/*/*")]
    if left:
      self._fault(f"left over: {left[:3]}")
    noted = [e for e in Run.open(run).events() if "unit" in e]
    events = [(e["event"], f"{e['stage']}/{e['unit']}") for e in noted]
    again = [
      u for k, (event, u) in enumerate(events) if event == "start" and ("done", u) in events[:k]
    ]
    if again:
      self._fault(f"trained again after it was done: {again[:3]}")

  def _fault(self, text: str) -> None:
    self.round.faults.append(text)
