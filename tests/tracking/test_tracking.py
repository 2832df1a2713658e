"""Trackers are told every model once, whatever happens to them and to the study."""

import pytest
from support import sweeps
from support.fake_trackers import Mlflow, Wandb
from support.settings_catalog import build

from jaxmu import tracking
from jaxmu.errors import SettingsError
from jaxmu.settings.choices import TRACKERS
from jaxmu.store import Run, attempts
from jaxmu.store.record import Record
from jaxmu.tracking.sending import LOCK, TOLD

STAGES, EPOCHS = ("original", "retrained", "ft"), {"original": 2, "retrained": 2, "ft": 1}


def arguments(folder, *more):
  short = "--config.unlearning.ft.num_epochs=1"
  return sweeps.arguments(folder, short, *more, methods="ft", epochs=2)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
  """Run a study, and again with more seeds; return its folder, and who was told what when."""
  folder = tmp_path_factory.mktemp("tracked")
  with pytest.MonkeyPatch.context() as patch:
    fake, seen = Wandb(patch), []
    for seeds in ("0", "0,1"):
      before = {name: len(each) for name, each in fake.begun.items()}
      argv = arguments(folder, "--config.track=wandb", f"--config.seeds={seeds}")
      assert sweeps.call(*argv) == 0
      now = {name: len(each) - before.get(name, 0) for name, each in fake.begun.items()}
      seen.append({name: count for name, count in now.items() if count})
  return sweeps.only_run(folder), fake, seen


@pytest.fixture
def run(told):
  return Run.open(told[0])


@pytest.fixture
def telling(run, told):
  """Return who tells a tracker of the finished run, and what is said."""
  said = []

  def made(name):
    (told[0] / TOLD).unlink(missing_ok=True)
    return tracking.Tracking(name, run, Record(run.path), said.append), said

  return made


def test_every_model_is_a_run_in_the_group_of_its_study(told, run):
  path, fake, _ = told
  assert len(fake.begun) == 6 and not fake.unfinished
  first = [options[0] for options in fake.begun.values()]
  assert {one["group"] for one in first} == {path.name} and {one["dir"] for one in first} == {
    str(path)
  }
  assert {one["name"] for one in first} == {f"{s}, seed {k}" for s in STAGES for k in (0, 1)}
  config = next(one["config"] for one in first if one["name"] == "ft, seed 1")
  assert config["method"] == "ft" and config["seed"] == 1 and config["num_epochs"] == 1
  assert config == {**config, **run.manifest.methods["ft"].hyperparameters}


def test_curves_and_numbers_are_those_of_the_run(told, run):
  _, fake, _ = told
  curves, rows = run.table("curves"), run.rows().set_index(["method", "seed"])
  for name, begun in fake.begun.items():
    stage, seed = begun[0]["job_type"], begun[0]["config"]["seed"]
    own = curves[(curves["stage"] == stage) & (curves["seed"] == seed)]
    assert [step for step, _ in fake.history[name]] == list(range(1, EPOCHS[stage] + 1))
    for column in ("loss", "accuracy", "learning_rate"):
      assert [numbers[column] for _, numbers in fake.history[name]] == list(own[column])
    summary = fake.summaries[name]
    assert summary["seconds"] > 0
    for column in ("RA", "FA", "TA", "RetDev", "T_MIA"):
      assert summary[column] == rows.loc[(stage, seed), column]


def test_what_was_told_is_not_told_again(told, run, monkeypatch):
  path, fake, (first, second) = told
  new = {name for name, begun in fake.begun.items() if begun[0]["config"]["seed"] == 1}
  assert len(first) == 3 and set(first.values()) == {2}  # when trained, and when compared
  assert new <= set(second) and all(second[name] == 2 for name in new)
  assert all(len(history) <= 2 for history in fake.history.values())
  other = Wandb(monkeypatch)
  tracking.Tracking("wandb", run, Record(path), print).measured()
  assert not other.begun


def test_a_tracker_that_fails_never_ends_a_study(telling, told, monkeypatch):
  fake = Wandb(monkeypatch)
  teller, said = telling("wandb")
  fake.lost = ConnectionError("no route\nto host")
  teller.finished("ft")
  teller.measured()
  assert len(said) == 1 and not fake.begun and not (told[0] / TOLD).exists()
  assert "the tracker wandb failed (ConnectionError: no route to host); the study goes" in said[0]
  fake.lost = None
  again, _ = telling("wandb")
  again.measured()
  assert len(fake.begun) == 6


def test_a_package_that_is_missing_is_one_line_before_any_work(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  assert sweeps.call(*arguments(tmp_path, "--config.track=mlflow")) == 2
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and "run pip install 'jaxmu[mlflow]', or set --config.track=" in said
  assert not list(tmp_path.iterdir())


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
  (tmp_path / "mlflow").mkdir()
  monkeypatch.setattr("sys.path", [str(tmp_path)])
  with pytest.raises(SettingsError, match="the package mlflow is not installed"):
    tracking.check("mlflow")


def test_a_tracker_changes_no_identity():
  plain, tracked = build(), build({"track": "wandb"})
  assert plain.track == "" and tracked.track == "wandb" and plain.hash8 == tracked.hash8
  assert plain.identity() == tracked.identity()
  assert set(TRACKERS) == set(tracking.TRACKERS)


def test_mlflow_finds_the_run_of_a_model_again(telling, told, monkeypatch):
  fake = Mlflow(monkeypatch)
  teller, said = telling("mlflow")
  for stage in STAGES:
    teller.finished(stage)
  assert len(fake.runs) == 6
  teller.measured()
  assert len(fake.runs) == 6 and said == []
  for run in fake.runs:
    epochs = EPOCHS[run.tags["stage"]]
    assert [step for step, _ in run.metrics] == [*range(1, epochs + 1), 0, 0]
    assert "RetDev" in run.metrics[-1][1] and "RetDev" not in run.metrics[-2][1]
    assert run.of == told[0].name and run.params["seed"] in (0, 1)


def test_one_process_tells_at_a_time(telling, run, monkeypatch):
  fake = Wandb(monkeypatch)
  teller, _ = telling("wandb")
  with attempts.lock(run.path / LOCK) as mine:
    assert mine
    teller.finished("ft")
    assert not fake.begun
  teller.finished("ft")
  assert len(fake.begun) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own modules
def test_event_files_are_read_back(telling, run):
  pytest.importorskip("tensorboard")
  from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
  from tensorboard.util.tensor_util import make_ndarray

  teller, said = telling("tensorboard")
  teller.measured()
  files = sorted((run.path / "tensorboard").rglob("events.out.tfevents.*"))
  assert said == [] and len(files) == 12  # when trained, and when compared
  teller.measured()
  assert len(list((run.path / "tensorboard").rglob("events.out.tfevents.*"))) == 12
  read = {}
  for file in files:
    for event in EventFileLoader(str(file)).Load():
      for value in event.summary.value:
        key = file.parent.parent.name, file.parent.name, value.tag
        read.setdefault(key, {})[event.step] = float(make_ndarray(value.tensor))
  curves, rows = run.table("curves"), run.rows().set_index(["method", "seed"])
  for stage in STAGES:
    for seed in (0, 1):
      own = curves[(curves["stage"] == stage) & (curves["seed"] == seed)]
      wanted = dict(enumerate(own["loss"], 1))
      assert read[stage, f"seed{seed}", "loss"] == pytest.approx(wanted, rel=1e-6)
      found = read[stage, f"seed{seed}", "RetDev"]
      assert found == pytest.approx({0: rows.loc[(stage, seed), "RetDev"]}, rel=1e-6)
