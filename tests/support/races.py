"""Processes that do the same thing at the same moment."""

import errno
import multiprocessing
import os
import subprocess
from threading import BrokenBarrierError


def run(processes, times, step, *arguments):
  """Let each process take `step(k, *arguments)` for each k at a barrier; process -> its results.

  `step` is a function of this module: the processes are new ones, and import it.
  """
  context = multiprocessing.get_context("spawn")  # a fork beside JAX's threads may hang
  barrier, results = context.Barrier(processes), context.Queue()
  given = (barrier, results, times, step, arguments)
  racers = [context.Process(target=_race, args=given) for _ in range(processes)]
  for racer in racers:
    racer.start()
  found = dict(results.get(timeout=1200) for _ in racers)
  for racer in racers:
    racer.join()
  failed = [each for each in found.values() if isinstance(each, Exception)]
  if failed:
    raise next((each for each in failed if not isinstance(each, BrokenBarrierError)), failed[0])
  return found


def _race(barrier, results, times, step, arguments):
  found = []
  try:
    for k in range(times):
      barrier.wait()
      found.append(step(k, *arguments))
  except Exception as error:
    barrier.abort()
    found = error
  results.put((os.getpid(), found))


def write_new(k, folder, links):
  """Write a new file with this process' number, many times."""
  from jaxmu.store import files

  if not links:
    os.link = _unsupported
  return files.write_new(folder / str(k), lambda file: file.write(str(os.getpid()).encode() * 1000))


def _unsupported(source, target):
  raise OSError(errno.EPERM, "no links here")


def commit(k, folder):
  """Commit a folder of two files."""
  from jaxmu.store import attempts

  return attempts.commit_folder(attempt(folder / str(k), str(os.getpid())), folder / str(k))


def remember(k, folder):
  """Remember this process' number under a key of all processes and under one of its own."""
  from jaxmu.store.measurements import Measurements

  mine = os.getpid()
  keys = (f"shared {k}", f"{mine} {k}")
  return [Measurements(folder).remember(key, mine, lambda value: True) for key in keys]


def attempt(final, text):
  """Fill an attempt at `final` with two files."""
  from jaxmu.store import attempts, files

  made = attempts.attempt_folder(final)
  (made / "state").mkdir()
  (made / "state" / "a").write_text(text)
  files.write_json(made / "marker.json", text)
  return made


def create(k, folder):
  """Make a run, or re-open it; return the date of its manifest."""
  from jaxmu.store import Run
  from support import manifests

  mine = manifests.manifest(date=str(os.getpid()))
  made = Run.create(folder, f"x{k}", "0", {"name": "x"}, mine, identity={"lr": 0.1})
  assert Run.open(made.path).manifest == made.manifest
  return made.manifest.date


def hold(k, folder):
  """Take a lock, be alone for a moment, and remove the lock's folder; True if it was free."""
  from jaxmu.store import attempts, checkpoint

  won = 0
  for _ in range(100):
    with attempts.lock(folder / "unit" / ".lock") as free:
      if free:
        (folder / "alone").mkdir()
        (folder / "alone").rmdir()
        checkpoint.remove(folder / "unit")
        won += 1
  return won


def dead_attempt(final):
  """Make an attempt at `final` whose process is gone."""
  from jaxmu.store import private_names

  with subprocess.Popen(["true"]) as process:
    pid = process.pid
  attempt = final.with_name(f".{final.name}.{private_names.host()}.{pid}.0123456789ab")
  (attempt / "state").mkdir(parents=True)
  return attempt
