"""The trackers that there are: how each takes one model's curves and numbers.

What stands here is all that is known of their packages, which are imported when they are used.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxmu.errors import SettingsError

PROJECT = "jaxmu"  # in Weights & Biases, unless WANDB_PROJECT says another
TAG = "jaxmu.member"  # by which a member is found again in MLflow
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class About:
  """One model of a study, as a tracker knows it: a run of its own.

  Attributes:
    study: name of the run directory, which all models of the study share.
    folder: that directory.
    stage, name: of the model, such as "msg" and "seed 3".
    id: equal for the same model of the same study.
    config: method, coordinates and hyper-parameters.
  """

  study: str
  folder: Path
  stage: str
  name: str
  id: str
  config: Mapping[str, Any]


class Sink(NamedTuple):
  """Where the numbers of one model go: those of an epoch, and those of the finished model."""

  epoch: Callable[[Numbers, int], None]
  result: Callable[[Numbers], None]


Tracker = Callable[[About], AbstractContextManager[Sink]]


@contextmanager
def tensorboard(about: About) -> Iterator[Sink]:
  """Write an event file below `tensorboard/` of the run directory, a folder for each model."""
  from tensorboard.summary import Writer

  name = about.name.replace(", ", "_").replace(" ", "")  # as a folder: seed3, split4_forget1
  writer = Writer(str(about.folder / "tensorboard" / about.stage / name))

  def write(numbers: Numbers, step: int = 0) -> None:
    for name, value in numbers.items():
      writer.add_scalar(name, value, step)

  try:
    yield Sink(write, write)
  finally:
    writer.close()


@contextmanager
def wandb(about: About) -> Iterator[Sink]:
  """Make a run, or go on with it, in the group of the study; results are its summary."""
  import wandb

  run = wandb.init(
    project=os.environ.get("WANDB_PROJECT", PROJECT),
    group=about.study,
    job_type=about.stage,
    name=f"{about.stage}, {about.name}",
    id=about.id,
    resume="allow",
    config=dict(about.config),
    dir=str(about.folder),
  )
  try:
    yield Sink(
      lambda numbers, step: run.log(dict(numbers), step=step),
      lambda numbers: run.summary.update(dict(numbers)),
    )
  finally:
    run.finish()


@contextmanager
def mlflow(about: About) -> Iterator[Sink]:
  """Make a run, or go on with it, in the experiment of the study."""
  import mlflow

  mlflow.set_experiment(about.study)
  found = mlflow.search_runs(filter_string=f"tags.`{TAG}` = '{about.id}'", output_format="list")
  known = found[0].info.run_id if found else None
  name = None if known else f"{about.stage}, {about.name}"
  with mlflow.start_run(run_id=known, run_name=name):
    if not known:
      mlflow.set_tags({TAG: about.id, "stage": about.stage})
      mlflow.log_params(dict(about.config))
    write = lambda numbers, step=0: mlflow.log_metrics(dict(numbers), step=step)
    yield Sink(write, write)


TRACKERS: dict[str, Tracker] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}


def check(name: str) -> None:
  """Raise `SettingsError` where the package of a tracker is not installed; "" is none."""
  found = importlib.util.find_spec(name) if name else None
  if name and (found is None or found.origin is None):  # a folder of that name is no package
    raise SettingsError(
      f"config.track is '{name}', and the package {name} is not installed; run "
      f"pip install 'jaxmu[{name}]', or set --config.track="
    )
