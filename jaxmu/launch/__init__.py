"""Handing studies to engines that run batch jobs: scripts as values first, then calls.

Every engine starts the same command once a task, and tells it the task's number in a variable of
its own. No engine is asked about results: what is done, the run directories say.
"""

from jaxmu.launch import kubernetes, local, printing, slurm

ENGINES = {
  "slurm": slurm.submit,
  "kubernetes": kubernetes.submit,
  "local": local.submit,
  "print": printing.submit,
}
"""name -> submit(order): hand what is missing to the engine; returns an exit code."""

__all__ = ["ENGINES"]
