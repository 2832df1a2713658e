"""Processes that do the same thing at the same moment."""

import errno
import multiprocessing
import os


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
  return found


def _race(barrier, results, times, step, arguments):
  found = []
  for k in range(times):
    barrier.wait()
    found.append(step(k, *arguments))
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
  from jaxmu.store import measurements

  mine = os.getpid()
  keys = (f"shared {k}", f"{mine} {k}")
  return [measurements.remember(folder, key, mine, lambda value: True) for key in keys]


def attempt(final, text):
  """Fill an attempt at `final` with two files."""
  from jaxmu.store import attempts, files

  made = attempts.attempt_folder(final)
  (made / "state").mkdir()
  (made / "state" / "a").write_text(text)
  files.write_json(made / "marker.json", text)
  return made
