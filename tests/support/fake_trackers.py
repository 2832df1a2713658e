"""Packages of trackers as far as they are used, which remember what they are told."""

import contextlib
import importlib.machinery
import sys
import types
from collections import defaultdict


def installed(monkeypatch, name, **functions):
  """Have `import name` give a module of these functions."""
  module = types.ModuleType(name)
  module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="a test")
  vars(module).update(functions)
  monkeypatch.setitem(sys.modules, name, module)


class Wandb:
  """Runs by their ids: how they were begun, their history, and their summary."""

  def __init__(self, monkeypatch):
    self.begun, self.history = defaultdict(list), defaultdict(list)
    self.summaries, self.unfinished, self.lost = defaultdict(dict), 0, None
    installed(monkeypatch, "wandb", init=self.init)

  def init(self, *, id, resume, **options):
    assert resume == "allow"
    if self.lost:
      raise self.lost
    self.begun[id].append(options)
    self.unfinished += 1
    return types.SimpleNamespace(
      log=lambda numbers, step: self.history[id].append((step, numbers)),
      summary=self.summaries[id],
      finish=self.finish,
    )

  def finish(self):
    self.unfinished -= 1


class Mlflow:
  """Runs with tags, parameters and metrics, found by a filter on a tag."""

  def __init__(self, monkeypatch):
    self.runs, self.experiment = [], ""
    names = ("set_experiment", "search_runs", "start_run", "set_tags", "log_params", "log_metrics")
    installed(monkeypatch, "mlflow", **{name: getattr(self, name) for name in names})

  def set_experiment(self, name):
    self.experiment = name

  def search_runs(self, filter_string, output_format):
    assert output_format == "list"
    tag, _, value = filter_string.partition(" = ")
    key = tag.removeprefix("tags.").strip("`")
    found = [run for run in self.runs if run.tags.get(key) == value.strip("'")]
    return [types.SimpleNamespace(info=run) for run in found]

  @contextlib.contextmanager
  def start_run(self, run_id, run_name):
    if run_id is None:
      known = {"tags": {}, "params": {}, "metrics": [], "name": run_name, "of": self.experiment}
      self.runs.append(types.SimpleNamespace(run_id=len(self.runs) + 1, **known))
    self.active = self.runs[-1 if run_id is None else run_id - 1]
    yield

  def set_tags(self, tags):
    self.active.tags.update(tags)

  def log_params(self, params):
    assert not params.keys() & self.active.params.keys()
    self.active.params.update(params)

  def log_metrics(self, numbers, step):
    self.active.metrics.append((step, numbers))
