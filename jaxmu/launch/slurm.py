"""Slurm: an array for each job, tasks under `srun`, requeued until they are done.

`srun` matters: Slurm sends signals to steps, and nothing to a batch script. SIGTERM comes two
minutes before the limit of time and before a preemption; the task saves its state and ends with 75.
"""

import shlex
import shutil
import subprocess
from collections.abc import Sequence

from jaxmu.errors import SettingsError
from jaxmu.launch.order import FINAL, Order, minutes, title
from jaxmu.store.submissions import Job, note_sent, sent_before

GRACE = 120  # seconds between SIGTERM and the limit of time
RESTARTS = 8


def script(order: Order, job: Job, chosen: Sequence[int] | None = None) -> str:
  """Return the batch script of a job, of chosen tasks or of all."""
  cluster = order.cluster
  limit = f"%{cluster.at_once}" if cluster.at_once else ""
  options = {
    "--job-name": title(job),
    "--array": _ranges(range(len(job.tasks)) if chosen is None else chosen) + limit,
    "--ntasks": "1",
    "--cpus-per-task": str(cluster.cpus),
    "--gpus-per-node": str(cluster.gpus or ""),
    "--mem": cluster.memory,
    "--time": _clock(minutes(job, cluster)),
    "--partition": cluster.partition,
    "--account": cluster.account,
    "--signal": f"TERM@{GRACE}",
    "--open-mode": "append",
    "--output": f"{order.logs}/%A_%a.log",
    "--chdir": order.submission.folder,
  }
  given = [f"{name}={shlex.quote(value)}" for name, value in options.items() if value]
  return "\n".join(
    (
      "#!/bin/bash",
      *(f"#SBATCH {words}" for words in (*given, "--requeue", *cluster.extra)),
      *order.exports(),
      "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # which steps no longer inherit",
      f"srun --unbuffered {shlex.join(order.words(job))}",
      "code=$?",
      f"case $code in {'|'.join(map(str, FINAL))}) exit $code;; esac",
      f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ]; then',
      "  for pause in 2 10 30; do  # a controller may be busy; once it agrees, it ends this script",
      '    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" && sleep 60',
      "    sleep $pause",
      "  done",
      "fi",
      "exit $code",
      "",
    )
  )


def submit(order: Order) -> int:
  """Submit the jobs; tasks that wait or run since an earlier submission are left out.

  Raises:
    SettingsError: there is no Slurm here, or it refuses a job; those before it stay.
  """
  if shutil.which("sbatch") is None:
    raise SettingsError(
      "--submit=slurm: there is no `sbatch` on the PATH; use it where Slurm is, or --submit=print"
    )
  alive = _alive(order)
  ends: dict[str, list[str]] = {}  # what others wait for
  count = 0
  for job in order.jobs:
    left = [k for k, task in enumerate(job.tasks) if task.key not in alive]
    ends[job.name] = sorted({alive[task.key] for task in job.tasks if task.key in alive})
    if len(left) < len(job.tasks):
      order.say(f"{job.name}: {len(job.tasks) - len(left)} tasks wait or run already")
    if not left:
      continue
    number = _sbatch(order, job, left, [end for name in job.after for end in ends.get(name, ())])
    ends[job.name].append(number)
    note_sent(order.path, "slurm", job.name, number)
    count += len(left)
    order.say(f"{job.name}: {len(left)} tasks, job {number}")
  order.say(f"{count} tasks submitted; they print to {order.logs}")
  return 0


def _sbatch(order: Order, job: Job, left: Sequence[int], before: Sequence[str]) -> str:
  """Submit the tasks of a job that are left; return its number."""
  words = ["sbatch", "--parsable"]
  words += [f"--dependency=afterany:{':'.join(before)}"] if before else []
  text = script(order, job, left)
  done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
  if done.returncode:
    said = " ".join(done.stderr.replace("sbatch: error:", "").split())
    raise SettingsError(
      f"--submit=slurm: sbatch refuses {job.name} ({said}); see config.cluster. The same command "
      "submits what is missing"
    )
  return done.stdout.strip().partition(";")[0]


def _alive(order: Order) -> dict[str, str]:
  """Return tasks of earlier submissions that wait or run, by their keys, with their jobs."""
  earlier = [pair for pair in sent_before(order.home) if pair[1].engine == "slurm"]
  numbers = {number for _, sent in earlier for own in sent.jobs.values() for number in own}
  queue = _queue(numbers) if numbers else {}
  return {
    job.tasks[position].key: number
    for submission, sent in earlier
    for job in submission.jobs
    for number in sent.jobs.get(job.name, ())
    for position in queue.get(number, ())
  }


def _queue(numbers: set[str]) -> dict[str, list[int]]:
  """Ask Slurm which tasks of these jobs wait or run; nothing where it does not answer."""
  words = [
    "squeue",
    "--noheader",
    "--array",
    "--format=%F %K",
    f"--jobs={','.join(sorted(numbers))}",
  ]
  try:
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
  except (OSError, subprocess.TimeoutExpired):
    return {}
  found: dict[str, list[int]] = {}
  for line in said.stdout.splitlines():
    number, _, position = line.partition(" ")
    if position.strip().isdecimal():
      found.setdefault(number, []).append(int(position))
  return found


def _ranges(numbers: Sequence[int]) -> str:
  """Write rising numbers as Slurm does: 0-3,7."""
  runs: list[list[int]] = []
  for number in numbers:
    if runs and number == runs[-1][-1] + 1:
      runs[-1].append(number)
    else:
      runs.append([number])
  return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _clock(count: int) -> str:
  """Write minutes as Slurm's DAYS-HOURS:MINUTES:SECONDS."""
  days, rest = divmod(count, 1440)
  return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"
