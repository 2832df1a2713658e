"""Printing: a script for each job, for engines that jaxmu does not know (PBS, LSF, HyperQueue)."""

import shlex

from jaxmu.launch.order import VARIABLES, Order, minutes
from jaxmu.store.submissions import Job

HEAD = f"""\
# Each block is the script of one job: a task for each number from 0. Start it as an array of your
# engine, which tells the number in one of {", ".join(VARIABLES)};
# by hand, add --index=N. Exit codes: 0 done, 2 a mistake, 69 what it needs is missing (do not
# repeat these), 75 come again. Submit again prints what is missing then.
"""


def script(order: Order, job: Job) -> str:
  """Return the script of a job, with what an engine must be told in its first lines."""
  after = f"# after {', '.join(job.after)}\n" if job.after else ""
  return (
    "#!/bin/bash\n"
    f"# job {job.name}: tasks 0 to {len(job.tasks) - 1}, {order.cluster.cpus} cores, "
    f"{order.cluster.gpus} GPUs, {minutes(job, order.cluster)} minutes each\n"
    f"{after}cd {shlex.quote(order.submission.folder)}\n"
    + "".join(f"{line}\n" for line in order.exports())
    + f"exec {shlex.join(order.words(job))}\n"
  )


def submit(order: Order) -> int:
  """Print the scripts of all jobs."""
  print("\n".join((HEAD, *(script(order, job) for job in order.jobs))))
  return 0
