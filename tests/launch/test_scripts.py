"""What engines are given, as golden texts, and that it does what it says."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import stub_task, sweeps

from jaxmu.command import work
from jaxmu.errors import SettingsError
from jaxmu.launch import kubernetes, order, printing, slurm
from jaxmu.launch.order import Order, versions
from jaxmu.settings.cluster_section import ClusterSettings
from jaxmu.stopping import Stop
from jaxmu.store import submissions
from jaxmu.store.submissions import MEMBERS, Item, Job, Submission, Task

GOLDEN = Path(__file__).parent / "data"
HOME = Path("/runs/cnn_digits-1a2b3c4d")
PATH = HOME / "submissions" / "5e6f7a8b.json"
CLUSTER = ClusterSettings(
  partition="gpu",
  account="lab",
  memory="32G",
  at_once=16,
  setup=("module load cuda", "source venv/bin/activate"),
  extra=("--qos=low",),
  queue="users",
  selector=("cloud.google.com/gke-accelerator=nvidia-l4",),
)


def task(seed, seconds=600.0):
  return Task((Item(MEMBERS, "", "ft", ({"seed": seed},)),), 1, 0.5, seconds)


METHODS = Job("cnn_digits/methods", tuple(map(task, range(3))), ("cnn_digits/anchors",))
ANCHORS = Job("cnn_digits/anchors", (task(0, 4000.0),))


def an_order(cluster=CLUSTER, stage="", jobs=(ANCHORS, METHODS), path=PATH):
  made = Submission({}, jobs, versions(), "/home/user/study")
  program = ("python", "-m", "jaxmu.command.work")
  return Order(made, path, HOME, cluster, Stop(), print, stage, program)


def golden(name, text):
  path = GOLDEN / name
  if os.environ.get("JAXMU_WRITE_GOLDEN"):
    path.write_text(text)
  assert text == path.read_text()


def test_the_script_for_slurm():
  golden("slurm.sh", slurm.script(an_order(), METHODS))


def test_the_script_for_others():
  golden("print.sh", printing.script(an_order(), METHODS))


def test_the_manifest_for_kubernetes():
  golden("kubernetes.yaml", kubernetes.text(an_order(), (METHODS,)))


def test_scripts_are_shell(tmp_path):
  made = an_order(ClusterSettings(setup=("echo 'a b'",), partition="it's"))
  for text in (slurm.script(made, METHODS), printing.script(made, METHODS)):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_without_gpus_none_is_asked_for():
  made = an_order(ClusterSettings(gpus=0))
  assert "gpus" not in slurm.script(made, METHODS) and "JAX_PLATFORMS" not in made.exports()
  limits = kubernetes.manifest(made, METHODS)["spec"]["template"]["spec"]["containers"][0]
  assert "limits" not in limits["resources"]


def test_tasks_find_code_of_ones_own_where_it_was_found(monkeypatch):
  monkeypatch.setenv("PYTHONPATH", f"/shared/code{os.pathsep}relative")
  made, own = an_order(), {"own": {"sha256": ["model.name=00"]}}
  assert "PYTHONPATH" not in made.environment()
  made = dataclasses.replace(made, submission=dataclasses.replace(made.submission, config=own))
  assert (
    made.environment()["PYTHONPATH"] == f"/shared/code{os.pathsep}{os.path.abspath('relative')}"
  )


def test_limits_of_time_are_twice_what_is_expected():
  assert order.minutes(ANCHORS, CLUSTER) == int(2 * 4000 / 60) + 10
  assert order.minutes(ANCHORS, ClusterSettings(minutes=7)) == 7
  assert "--time=0-02:23:00" in slurm.script(an_order(), ANCHORS)


@pytest.mark.parametrize(
  "cluster",
  [CLUSTER, ClusterSettings(gpus=0), ClusterSettings(gpus=8, resource="google.com/tpu")],
)
def test_kubernetes_knows_the_form(cluster):
  validate = pytest.importorskip("kubernetes_validate")
  for job in (ANCHORS, METHODS):
    validate.validate(kubernetes.manifest(an_order(cluster), job), "1.31", strict=True)


def test_names_are_such_that_every_engine_takes_them():
  job = Job(f"{'Cifar_10.' * 12}/benchmark/methods", METHODS.tasks)
  name = kubernetes.manifest(an_order(), job)["metadata"]["name"]
  assert len(name) <= 57 and name.strip("-") == name and name.islower()
  assert name.endswith("-5e6f7a8b")


@pytest.mark.parametrize(("name", "first"), order.VARIABLES.items())
def test_the_number_of_a_task_is_the_engines(name, first):
  assert order.index({name: str(first)}) == 0
  assert order.index({name: str(first + 5), "HOME": "/"}) == 5


@pytest.mark.parametrize(
  "environment", [{}, {"SGE_TASK_ID": "undefined"}, {"LSB_JOBINDEX": "0"}, {"PBS_ARRAYID": ""}]
)
def test_without_a_number_is_one_line(environment):
  with pytest.raises(SettingsError, match="expected --index=N"):
    order.index(environment)


def test_numbers_are_written_as_slurm_does():
  assert slurm._ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


@pytest.fixture
def queue(tmp_path, monkeypatch):
  """A Slurm of two programs: `sbatch` numbers jobs and keeps words, `squeue` says what lives."""
  folder = tmp_path / "programs"
  folder.mkdir()
  programs = {
    "sbatch": 'echo "$(grep -o "array=.*") $@" >> $0.log; wc -l < $0.log',
    "squeue": "cat $0.txt",
  }
  for name, text in programs.items():
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
  monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
  lives = folder / "squeue.txt"
  lives.write_text("")
  calls = lambda: (folder / "sbatch.log").read_text().splitlines()
  return lives, calls


def test_tasks_that_live_are_not_submitted_twice(queue, tmp_path):
  lives, calls = queue

  def submit(*seeds):
    tasks = tuple(map(task, seeds))
    made = Submission({}, (Job("d/methods", tasks, ("d/anchors",)),), versions(), str(tmp_path))
    path = submissions.write(tmp_path, made)
    said = []
    slurm.submit(Order(made, path, tmp_path, ClusterSettings(), Stop(), said.append))
    return said[-1].partition(" tasks")[0]

  assert submit(0, 1, 2) == "3"
  lives.write_text("1 1\n")
  assert submit(0, 1, 2) == "2"  # the same file again, for all but one
  lives.write_text("1 1\n2 0\n2 2\n")
  assert submit(0, 1, 2) == "0"
  lives.write_text("1 1\n1 2\n")  # of job 1, tasks 1 and 2: seeds 1 and 2
  assert submit(2, 3) == "1"
  assert calls()[-1].startswith("array=1 ")
  lives.write_text("1 1\n")  # seed 1 alone; what was second in the other submission is not meant
  assert submit(1, 3) == "1"
  lives.write_text("3 1\n")  # of job 3, the second of its submission: seed 3
  assert submit(1, 3) == "1"
  assert calls()[-1].startswith("array=0 ")


def test_a_job_waits_for_what_lives_of_those_before(queue, tmp_path):
  lives, calls = queue
  jobs = (Job("d/anchors", (task(0), task(1))), Job("d/methods", (task(2),), ("d/anchors",)))
  for tasks in (jobs, jobs):
    made = Submission({}, tasks, versions(), str(tmp_path), str(len(calls_of(tmp_path))))
    path = submissions.write(tmp_path, made)
    slurm.submit(Order(made, path, tmp_path, ClusterSettings(), Stop(), print))
    lives.write_text("1 1\n")
  assert [("afterany:1" in words, "afterany" in words) for words in calls()[1:]] == [
    (True, True),  # methods after anchors
    (False, False),  # the anchor that does not live, again
    (True, True),  # methods, after the one that lives and the new one
  ]
  assert calls()[-1].endswith("--dependency=afterany:1:3")


def calls_of(folder):
  """Make each submission another file."""
  return list((folder / "submissions").glob("*.json"))


def test_only_what_can_begin_is_printed_for_kubernetes(capsys):
  kubernetes.submit(an_order())
  printed = capsys.readouterr()
  (one,) = yaml.safe_load_all(printed.out.partition("1 jobs come after")[0])
  assert one["spec"]["completions"] == 1
  kubernetes.submit(an_order(stage="methods"))
  printed = capsys.readouterr().out
  assert "completions: 3" in printed
  with pytest.raises(SettingsError, match=r"--stage=trials: .* expected one of anchors, methods"):
    kubernetes.submit(an_order(stage="trials"))


def test_a_pod_works_the_task_of_its_index(tmp_path, monkeypatch):
  """The command of the YAML, run by hand as Kubernetes would."""
  words = ("--config.population.members_at_once=1", "--config.cluster.gpus=0")
  settings = sweeps.settings(*sweeps.arguments(tmp_path, *words, methods="ft"))
  stub_task.prepare(settings)
  home = submissions_home(settings)
  jobs = (Job("d/anchors", tuple(replaced("original", k) for k in range(2))),)
  made = Submission(settings.to_dict(), jobs, versions(), str(tmp_path))
  path = submissions.write(home, made)
  asked = Order(
    made,
    path,
    home,
    settings.cluster,
    Stop(),
    print,
    "",
    (sys.executable, "-m", "support.stub_task"),
  )
  (manifest,) = yaml.safe_load_all(kubernetes.text(asked, jobs))
  container = manifest["spec"]["template"]["spec"]["containers"][0]
  environment = os.environ | {
    "JOB_COMPLETION_INDEX": "1",
    "STUB_EPOCHS": "1",
    "PYTHONPATH": f"{sweeps.ROOT / 'tests'}:{sweeps.ROOT}",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
  }
  subprocess.run(
    container["command"], cwd=container["workingDir"], env=environment, check=True, timeout=120
  )
  (marker,) = home.glob("stages/*/[!.]*/marker.json")
  assert json.loads(marker.read_text())["members"][0]["at"] == {"seed": 1}


def replaced(stage, seed):
  return Task((Item(MEMBERS, "", stage, ({"seed": seed},)),), 1)


def submissions_home(settings):
  from jaxmu.store.run import directory

  return directory(settings.output_dir, settings.name, settings.hash8)


def call(*argv):
  from jaxmu.command import cli

  return cli.run(work.main, work.flags(), [str(word) for word in argv])


def test_what_a_task_cannot_work_is_one_line(tmp_path, capsys, monkeypatch):
  def refused(*argv):
    code = call(*argv)
    line = capsys.readouterr().err.strip()
    assert code == 2 and "\n" not in line
    return line

  path = submissions.write(tmp_path, Submission({}, (METHODS,), versions(), str(tmp_path)))
  assert "has tasks 0 to 2; there is no 3" in refused(path, f"--job={METHODS.name}", "--index=3")
  assert "there is no job 'x'; known: cnn_digits/methods" in refused(path, "--job=x")
  assert "expected --index=N" in refused(path, f"--job={METHODS.name}")
  assert "does not exist; submit again" in refused(tmp_path / "no.json", "--job=x", "--index=0")
  other = Submission({}, (METHODS,), versions() | {"jax": "0.1"}, str(tmp_path))
  path = submissions.write(tmp_path, other)
  assert "what was submitted is for jax 0.1; install" in refused(path, "--job=x", "--index=0")
  text = path.read_text()
  path.write_text(text.replace("0.1", "0.2"))
  assert "is damaged" in refused(path, "--job=x", "--index=0")


def test_an_unknown_engine_is_one_line(tmp_path, capsys):
  assert sweeps.call(*sweeps.arguments(tmp_path, "--submit=slrum")) == 2
  assert "there is no such engine; did you mean 'slurm'?" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["replaces", "refuses"])
def test_a_file_system_that_is_none_is_refused(tmp_path, monkeypatch, what):
  from jaxmu.store import attempts

  def renamed(source, final):
    if what == "refuses":
      raise OSError(95, "Operation not supported")
    if final.exists():
      for path in final.iterdir():
        path.unlink()
      final.rmdir()
    source.rename(final)
    return True

  submissions.probe(tmp_path)
  monkeypatch.setattr(attempts, "renamed", renamed)
  with pytest.raises(Exception, match="on one that POSIX describes") as caught:
    submissions.probe(tmp_path)
  assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
