"""This machine: tasks one after another on each device, in processes of their own."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping

from jaxmu.engine import runtime
from jaxmu.launch.order import FINAL, Order, title
from jaxmu.store.submissions import Job

TRIES = 3  # of a task that crashed, or has to come again
PAUSE = 0.2  # seconds between two looks at the processes


def submit(order: Order) -> int:
  """Work all tasks; return 0, or the code of the first task that could not be worked.

  Raises:
    Interrupted: this process was asked to stop; the tasks have saved their state.
  """
  codes = [code for job in order.jobs for code in _work(order, job)]
  counts = Counter(codes)
  words = ", ".join(f"{count} with code {code}" for code, count in sorted(counts.items()))
  order.say(f"{len(codes)} tasks ended: {words}; they printed to {order.logs}")
  return next((code for code in codes if code), 0)


def _work(order: Order, job: Job) -> list[int]:
  """Work the tasks of a job, as many at once as there are devices; return their exit codes."""
  places = _places(order)
  waiting, codes = list(range(len(job.tasks))), {}
  tries: Counter[int] = Counter()
  running: dict[int, tuple[int, subprocess.Popen]] = {}  # place -> task and process
  order.say(f"{job.name}: {len(waiting)} tasks")
  try:
    with order.stop.deferring():
      while (waiting or running) and not order.stop.wanted:
        for place, environment in enumerate(places):
          if waiting and place not in running:
            task = waiting.pop(0)
            tries[task] += 1
            running[place] = task, _start(order, job, task, environment)
        for place, (task, process) in list(running.items()):
          if (code := process.poll()) is not None:
            del running[place]
            if code in FINAL or tries[task] >= TRIES:
              codes[task] = code
            else:
              waiting.append(task)
        time.sleep(PAUSE)
  finally:
    for _, process in running.values():
      process.terminate()
    for _, process in running.values():
      process.wait()
  order.stop.check()
  return [codes[task] for task in sorted(codes)]


def _places(order: Order) -> list[dict[str, str]]:
  """Return the environment of each task that may run at once: one a GPU, or one."""
  gpus = runtime.visible_gpus()
  each = max(order.cluster.gpus, 1)
  groups = [gpus[k : k + each] for k in range(0, len(gpus), each)]
  found = [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups if len(group) == each]
  return (found or [{}])[: order.cluster.at_once or None]


def _start(order: Order, job: Job, task: int, place: Mapping[str, str]) -> subprocess.Popen:
  words = [*order.words(job), f"--index={task}"]
  environment = os.environ | order.environment() | dict(place)
  with open(order.logs / f"{title(job)}_{task}.log", "ab") as log:
    return subprocess.Popen(
      words, env=environment, cwd=order.submission.folder, stdout=log, stderr=log
    )
