"""A real Slurm: tasks killed, preempted, out of time, on nodes that die, submitted again.

Tasks are stubs whose models cost nothing but time; all else is real.
"""

import os
import signal

import pytest
from support import slurm, stub_task
from support.slurm import wait_for
from support.slurm_study import Study, running

from jaxmu.errors import SettingsError
from jaxmu.studies import tasks


@pytest.fixture
def stub(monkeypatch):
  """Say how long units take, and which fail."""

  def say(epochs, seconds=0.05, fails=""):
    for name in ("STUB_EPOCHS", "STUB_SECONDS", "STUB_FAILS", "PYTHONPATH"):
      monkeypatch.setenv(name, os.environ.get(name, ""))  # as they were, afterwards
    stub_task.environment(epochs, seconds, fails)

  return say


def test_a_killed_worker_is_requeued_and_goes_on(cluster, stub, tmp_path):
  study = Study(tmp_path, seeds=2)
  stub(100)
  study.submit()
  assert [line for line in study.said if "tasks, job" in line]
  wait_for(lambda: "epoch 5" in study.logs, 200, "a first epoch")
  os.kill(study.at_work()[0], signal.SIGKILL)
  cluster.wait(400)
  assert study.logs.count("resuming after epoch") >= 1
  assert study.logs.count(": committed") == 6 and "all there" in study.logs
  study.check()


def test_a_preempted_task_saves_and_goes_on(cluster, stub, tmp_path):
  study = Study(tmp_path, seeds=2, partition="main")
  stub(200, 0.1)
  stub_task.prepare(study.settings)
  study.submit("anchors")
  wait_for(lambda: study.logs.count("epoch 5\n") == 4, 200, "four tasks at work")
  cluster.call(
    "sbatch",
    "--parsable",
    "--partition=urgent",
    "--ntasks=4",
    "--output=/dev/null",
    stdin="#!/bin/bash\nsleep 1\n",
  )
  wait_for(lambda: "SIGTERM; run the same command" in study.logs, 200, "SIGTERM")
  cluster.wait(400)
  assert study.logs.count("resuming after epoch") == study.logs.count("stopped by SIGTERM") > 0
  study.check(("original", "retrained"))


@pytest.mark.slow  # what Slurm does then is what it does before a preemption
def test_a_task_out_of_time_saves_and_goes_on(cluster, stub, tmp_path):
  study = Study(tmp_path, seeds=1, minutes=1, extra="--signal=TERM@45")
  stub(300, 0.1)
  stub_task.prepare(study.settings)
  study.submit("anchors")
  wait_for(lambda: "stopped by SIGTERM" in study.logs, 240, "SIGTERM")
  cluster.wait(400)
  assert study.logs.count("resuming after epoch") >= 1
  study.check(("original", "retrained"))


def test_a_lost_node_and_its_zombie_commit_once(cluster, stub, tmp_path):
  study = Study(tmp_path, seeds=2)
  stub(150, 0.1)
  stub_task.prepare(study.settings)
  study.submit("anchors")
  wait_for(lambda: study.logs.count("epoch 5\n") == 4, 200, "four tasks at work")
  cluster.kill_node("n1")
  wait_for(lambda: "down" in cluster.sinfo("%T"), 200, "the node's end")
  cluster.start_node("n1")
  cluster.wait(400)
  wait_for(lambda: not running(study), 200, "the end of all processes")
  study.check(("original", "retrained"))


def test_a_failed_need_cancels_nothing_else_and_is_submitted_again(cluster, stub, tmp_path):
  study = Study(tmp_path, seeds=3)
  stub(2, fails="original/1")
  study.submit()
  cluster.wait(400)
  assert "told to fail" in study.logs
  assert (study.done("original"), study.done("ft")) == (2, 2)
  assert (
    "starts from models of stage 'original', which are not finished" in study.logs
    and "submit again" in study.logs
  )
  codes = sorted(code.partition(":")[0] for code in cluster.codes().values())
  assert {"2", "69"} <= set(codes)
  stub(2)
  study.said.clear()
  study.submit()
  assert study.said[-1].startswith("3 tasks submitted")  # original/1, ft/1, report
  study.submit()  # while they wait or run
  assert study.said[-1].startswith("0 tasks submitted")
  cluster.wait(400)
  study.check()
  assert tasks.of_study(study.settings) != []  # stubs write no report


def test_what_slurm_refuses_is_one_line(cluster, stub, tmp_path, monkeypatch):
  with pytest.raises(SettingsError, match=r"sbatch refuses .*invalid partition"):
    Study(tmp_path, partition="nowhere").submit()
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(SettingsError, match="there is no `sbatch` on the PATH"):
    Study(tmp_path).submit()


def test_gpus_go_to_one_task_each(tmp_path):
  if lacking := slurm.lacking():
    pytest.skip(f"no Slurm to test with: {lacking}")
  made = slurm.Cluster(tmp_path / "gpus", count=2, gpus=2, cpus=2)
  try:
    made.start()
    script = "#!/bin/bash\nsrun sh -c 'echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; sleep 3'\n"
    words = ("--array=0-3", "--gpus-per-node=1", "--cpus-per-task=1")
    made.call("sbatch", *words, f"--output={tmp_path}/%a.txt", stdin=script)
    made.wait(200)
    said = sorted(path.read_text().strip() for path in tmp_path.glob("*.txt"))
    assert said == ["n1 0", "n1 1", "n2 0", "n2 1"]
  finally:
    made.stop()
