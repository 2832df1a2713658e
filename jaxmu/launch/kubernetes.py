"""Kubernetes: an Indexed Job for each job, printed as YAML for `kubectl apply -f -`.

Kubernetes knows no order between Jobs: those that can begin are printed, and once they have ended
the same command prints the next. A preempted pod costs no retry; exit codes 2 and 69 end an index.
"""

import shlex
from typing import Any

from jaxmu.launch.order import AGAIN, FAILED, Order, minutes, title
from jaxmu.launch.slurm import GRACE
from jaxmu.store.submissions import Job

RETRIES = 3  # of an index that crashed
NAME = 63 - 6  # characters: a pod's name has an index and a suffix


def manifest(order: Order, job: Job) -> dict[str, Any]:
  """Return a job as what the API calls `batch/v1` Job."""
  cluster, count = order.cluster, len(job.tasks)
  root = str(order.home.parent.resolve())
  limits: dict[str, Any] = {cluster.resource: cluster.gpus} if cluster.gpus else {}
  requests: dict[str, Any] = {"cpu": cluster.cpus}
  if cluster.memory:
    requests["memory"] = _memory(cluster.memory)
  labels = {"kueue.x-k8s.io/queue-name": cluster.queue} if cluster.queue else {}
  container = {
    "name": "task",
    "image": cluster.image,
    "command": ["bash", "-c", "\n".join((*order.exports(), _command(order, job)))],
    "workingDir": order.submission.folder,
    "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
    "resources": {"requests": {**requests, **limits}, **({"limits": limits} if limits else {})},
    "volumeMounts": [{"name": "runs", "mountPath": root}],
  }
  pod: dict[str, Any] = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": GRACE,
    "containers": [container],
    "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": cluster.claim}}],
  }
  if cluster.selector:
    pairs = [one.partition("=") for one in cluster.selector]
    pod["nodeSelector"] = {name: value for name, _, value in pairs}
  return {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": _name(order, job), "labels": {"app": "jaxmu", **labels}},
    "spec": {
      "completionMode": "Indexed",
      "completions": count,
      "parallelism": min(cluster.at_once or count, count),
      "backoffLimitPerIndex": RETRIES,
      "maxFailedIndexes": count,
      "podReplacementPolicy": "Failed",
      "podFailurePolicy": {
        "rules": [
          {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
          {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": list(FAILED)}},
          {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [AGAIN]}},
        ]
      },
      "template": {
        "metadata": {"labels": {"app": "jaxmu", "jaxmu/job": _name(order, job)}},
        "spec": pod | {"activeDeadlineSeconds": 60 * minutes(job, cluster)},
      },
    },
  }


def text(order: Order, jobs: tuple[Job, ...]) -> str:
  """Return jobs as YAML documents."""
  import yaml

  class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""

  lines = lambda dumper, value: dumper.represent_scalar(
    "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
  )
  Dumper.add_representer(str, lines)
  every = [manifest(order, job) for job in jobs]
  return yaml.dump_all(every, Dumper=Dumper, sort_keys=False, width=1000)


def submit(order: Order) -> int:
  """Print the jobs that can begin now, or those of the stage that is asked for."""
  jobs = order.jobs if order.stage else tuple(job for job in order.jobs if not job.after)
  print(text(order, jobs), end="")
  if later := len(order.submission.jobs) - len(jobs):
    order.say(f"{later} jobs come after these; the same command prints them once these have ended")
  return 0


def _command(order: Order, job: Job) -> str:
  return "exec " + shlex.join(("python", *order.words(job)[1:]))  # the image's own


def _name(order: Order, job: Job) -> str:
  """Return a name that no other submission has: two with one name would be one Job."""
  return f"{title(job)[: NAME - 9].strip('-')}-{order.path.stem}"


def _memory(slurm: str) -> str:
  """Write Slurm's 32G as Kubernetes' 32Gi."""
  return f"{slurm}i" if slurm[-1:] in "KMGT" else slurm
