"""How convolutions are computed: by rule, pinned, or measured on the device and remembered."""

import dataclasses

import jax
import pytest
from support import sweeps

from jaxmu import data, models
from jaxmu.command import cli
from jaxmu.data import chosen
from jaxmu.engine.population import member_keys
from jaxmu.execution import lowerings, runner
from jaxmu.execution.setup import Setup
from jaxmu.kernels.conv import Case, lowering
from jaxmu.settings import Settings
from jaxmu.store.measurements import Measurements
from jaxmu.studies import catalog
from jaxmu.training import anchors

SMALL = Case((4, 4, 4, 2), (3, 3, 2, 3), (1, 1), ((1, 1), (1, 1)))
DEPTHWISE = Case((4, 4, 4, 3), (3, 3, 1, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  argv = sweeps.arguments(tmp_path_factory.mktemp("unused"))
  flags = sweeps.runpy.run_path(sweeps.SWEEP, run_name="sweep")["flags"]()
  return Settings.from_config(cli.parse(flags, argv).config, catalog())


def ask(settings, name):
  return dataclasses.replace(settings, model=dataclasses.replace(settings.model, lowering=name))


def test_cases_have_names_without_the_batch():
  assert str(SMALL) == "4x4x2 3x3x2x3 /1x1 +1,1,1,1"
  assert str(SMALL._replace(image=(9, *SMALL.image[1:]))) == str(SMALL)
  assert not SMALL.depthwise and DEPTHWISE.depthwise


def test_the_rule_stands_on_cpus_and_a_name_pins_all(settings):
  dataset, module = data.load_for(settings), models.of_settings(settings, 4)
  batch = settings.training.batch_size
  cases = lowerings.convolutions(module, batch, dataset.input_shape)
  assert len(cases) == 4
  ruled = {str(case): lowering(*case, "cpu") for case in cases}
  assert lowerings.resolve(settings, dataset, 1, None) == ruled
  assert lowerings.resolve(ask(settings, "taps"), dataset, 1, None) == dict.fromkeys(ruled, "taps")


def test_depthwise_cases_know_two_ways():
  assert lowerings.candidates(DEPTHWISE, "cpu") == ("lax", "taps")
  assert lowerings.by_rule(DEPTHWISE, "auto", "cpu") == "taps"
  assert lowerings.by_rule(DEPTHWISE, "auto", "gpu") == "lax"
  assert lowerings.by_rule(DEPTHWISE, "patches", "gpu") == "taps"


def test_winograd_is_timed_on_cpus_where_it_is_known():
  assert lowerings.candidates(SMALL, "cpu") == lowerings.CANDIDATES
  strided = SMALL._replace(strides=(2, 2))
  for others in (lowerings.candidates(SMALL, "gpu"), lowerings.candidates(strided, "cpu")):
    assert others == ("lax", "canonical", "taps", "mixed", "patches", "dense")


def test_the_fastest_is_kept_and_remembered(tmp_path, monkeypatch):
  times = {
    "lax": 4.0,
    "canonical": 3.0,
    "taps": 1.0,
    "mixed": 2.0,
    "patches": 5.0,
    "dense": 7.0,
    "winograd": 6.0,
  }
  asked = []

  def seconds(case, how, chunk, device):
    asked.append((case, how, chunk))
    return times[how]

  monkeypatch.setattr(lowerings, "seconds", seconds)
  cache, device = tmp_path / "deep" / "lowerings", jax.devices()[0]
  cases, known = {SMALL: 2, DEPTHWISE: 1}, Measurements(cache)
  find = lambda chunk: lowerings.fastest(cases, chunk, known, device)
  assert find(1) == {str(SMALL): "taps", str(DEPTHWISE): "taps"}
  assert len(asked) == 9
  assert find(1) == {str(SMALL): "taps", str(DEPTHWISE): "taps"}
  assert len(asked) == 9  # remembered
  for file in cache.iterdir():
    file.write_bytes(b"")
  assert find(1) == find(1) == {str(SMALL): "taps", str(DEPTHWISE): "taps"}
  assert len(asked) == 18  # damaged: measured again, once
  times["patches"] = 0.5
  assert find(2)[str(SMALL)] == "patches"  # another chunk is another measurement
  assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("case", [SMALL, DEPTHWISE], ids=str)
def test_every_way_can_be_timed(case):
  for how in lowerings.candidates(case, "cpu"):
    assert 0 < lowerings.seconds(case, how, 2, jax.devices()[0]) < 1


def test_a_network_takes_its_table(settings):
  """A table that pins every case trains to the same losses as the names one by one, bit for bit."""
  dataset, keys = data.load_for(settings), member_keys(settings.seeds)
  splits = chosen.splits_for(settings, data.Facts.of(dataset))
  pinned = lowerings.resolve(ask(settings, "taps"), dataset, 1, None)
  hp = [anchors.recipe(settings.training, "retrained") | {"num_epochs": 1}] * len(splits)
  losses = []
  for choice in ("taps", tuple(sorted(pinned.items())), "canonical"):
    setup, legs = Setup(settings, dataset, 1, choice), []
    problem = setup.problem(splits)
    variables = setup.initial_variables(problem.population, keys)
    runner.run(anchors.RETRAINED, problem, variables, hp=hp, keys=keys, on_leg=legs.append)
    losses.append(legs[0].metrics.loss.tolist())
  assert losses[0] == losses[1]
  assert losses[0] != losses[2]  # the table was read: another lowering has another last bit
  assert losses[0][0] == pytest.approx(losses[2][0], rel=1e-4)
