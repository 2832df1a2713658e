"""A real study on two nodes of a real Slurm: the same bytes as from one process, and from tasks
that this machine works one after another.
"""

import subprocess

import pytest
from support import sweeps

from jaxmu.store.record import Record

METHODS = "ft,ga,srl,ngplus"
CLUSTER = ("--config.cluster.gpus=0", "--config.cluster.cpus=1", "--config.cluster.at_once=2")
APART = "--config.cluster.pack_minutes=0"


def arguments(folder, *words):
  return sweeps.arguments(folder, *CLUSTER, *words, methods=METHODS)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  folder = tmp_path_factory.mktemp("alone")
  assert sweeps.call(*arguments(folder)) == 0
  return sweeps.only_run(folder)


def test_tasks_of_slurm_leave_what_one_process_leaves(cluster, alone, tmp_path):
  subprocess.run(
    sweeps.command(*arguments(tmp_path, APART), "--submit=slurm"), check=True, capture_output=True
  )
  cluster.wait(600)
  found = sweeps.only_run(tmp_path)
  same(found, alone)
  codes = set(cluster.codes().values())
  logs = "\n".join(path.read_text() for path in found.glob("submissions/logs/*.log"))
  assert "report: " in logs and "0:0" in codes


@pytest.mark.slow  # tests/launch does so with tasks of fewer methods
def test_tasks_of_this_machine_leave_what_one_process_leaves(alone, tmp_path, capsys):
  assert sweeps.call(*arguments(tmp_path), "--submit=local") == 0
  assert "3 tasks ended: 3 with code 0" in capsys.readouterr().err
  same(sweeps.only_run(tmp_path), alone)
  assert sweeps.call(*arguments(tmp_path), "--submit=local") == 0
  assert "nothing is missing" in capsys.readouterr().err


def same(found, alone):
  """Rows, curves, logits and weights are byte for byte the same."""
  assert found.name == alone.name
  for name in ("rows.parquet", "curves.parquet", "differences.parquet"):
    assert (found / name).read_bytes() == (alone / name).read_bytes(), name
  one, other = Record(found), Record(alone)
  for stage in other.expected:
    assert one.logits(stage).tobytes() == other.logits(stage).tobytes()
