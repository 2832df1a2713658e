"""What a network costs is counted once for each version of the code, and without any device."""

import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import pytest

from jaxmu import models
from jaxmu.models import cost
from jaxmu.studies import networks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def counted(tmp_path, monkeypatch):
  """Return the networks that were counted, not looked up."""
  found = []

  def count(module, *image):
    found.append(type(module).__name__)
    return cost.network_cost(module, *image)

  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(networks, "network_cost", count)
  networks.cost.cache_clear()
  yield found
  networks.cost.cache_clear()


def again(module, *image):
  """Ask as another process would."""
  networks.cost.cache_clear()
  return networks.cost(module, *image)


def test_a_network_is_counted_once_and_for_all(counted):
  module = models.make("cnn", 10, width=4)
  right = cost.forward_flops(module, 8, 1), cost.parameter_count(module, 8, 1)
  assert [again(module, 8, 1) for _ in range(2)] == [right, right]
  assert counted == ["Cnn"]


@pytest.mark.parametrize("change", ["width", "classes", "image", "code", "damage"])
def test_what_changes_a_network_is_counted_anew(change, counted, monkeypatch, tmp_path):
  again(models.make("cnn", 10, width=4), 8, 1)
  width, classes, size = (5 if change == "width" else 4), (11 if change == "classes" else 10), 8
  if change == "code":
    monkeypatch.setattr(networks, "_code", lambda: "other")
  if change == "image":
    size = 12
  if change == "damage":
    (path,) = tmp_path.rglob("*.json")
    path.write_text("{")
  module = models.make("cnn", classes, width=width)
  assert again(module, size, 1) == cost.network_cost(module, size, 1)
  assert len(counted) == 2


class Alone(nn.Module):
  """A network of somebody's own."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(3)(x.reshape(x.shape[0], -1))


def test_a_network_from_elsewhere_is_not_remembered(counted, tmp_path):
  assert again(Alone(), 8, 1) == again(Alone(), 8, 1) == (2 * 64 * 3, 64 * 3 + 3)
  assert counted == ["Alone", "Alone"] and not list(tmp_path.rglob("*.json"))


NO_DEVICE = """
import runpy
from jax._src import xla_bridge
from jaxmu.command import cli
script = runpy.run_path("bin/search.py")
words = ["--config=configs/search_digits.py", "--plan", "--config.methods=prmq,salun,kde,ft"]
assert cli.run(script["main"], script["flags"](), words) == 0
assert not xla_bridge._backends, list(xla_bridge._backends)
"""


def test_a_plan_starts_no_device(tmp_path):
  """With an empty cache: counting a network, and what methods derive on the host, need none."""
  environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)}
  command = [sys.executable, "-c", NO_DEVICE]
  found = subprocess.run(
    command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
  )
  assert found.returncode == 0, found.stderr
  assert list(tmp_path.rglob("networks/*.json"))
