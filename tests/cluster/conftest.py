"""One Slurm cluster of four nodes for all tests, where this machine has Slurm."""

import os

import pytest
from support import slurm

LACKING = slurm.lacking()


def pytest_collection_modifyitems(items):
  for item in items:
    if LACKING and "cluster" in item.fixturenames:
      item.add_marker(pytest.mark.skip(reason=f"no Slurm to test with: {LACKING}"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
  made = slurm.Cluster(tmp_path_factory.mktemp("slurm"))
  before = dict(os.environ)
  try:
    made.start()
    os.environ.update({"SLURM_CONF": str(made.conf), "PATH": made.environment["PATH"]})
    yield made
  finally:
    os.environ.clear()
    os.environ.update(before)
    made.stop()
