"""What a call tells beside its result: progress, curves, times, hyper-parameters."""

import contextlib
import io

import jax
import numpy as np
import pytest
from support import problems
from support.refusals import refused
from support.user_networks import SMALL, Stock, ft

import jaxmu
from jaxmu.api.details import Watch
from jaxmu.errors import MethodError
from jaxmu.execution.observations import Leg
from jaxmu.training import EpochMetrics


@pytest.fixture(scope="module")
def told(stock, sets):
  """A call with details, and what it printed."""
  call = lambda: ft(stock, sets, num_epochs=2, progress=True, details=True)
  with contextlib.redirect_stderr(io.StringIO()) as said:
    return call(), call(), said


def test_details_are_a_record_around_the_result(told, stock, sets):
  found, again, _ = told
  assert problems.equal(found.variables, ft(stock, sets, num_epochs=2))
  assert found.method == "ft" and found.fidelity == "reference"
  assert found.hyperparameters == {
    **jaxmu.methods()["ft"]["hyperparameters"],
    **SMALL,
    "num_epochs": 2,
  }
  assert found.passes == 2 * 3 * 22
  assert found.seconds > 0 and found.compile_seconds > 0
  assert again.compile_seconds == 0


def test_curves_have_a_row_for_each_epoch(told):
  curves = told[0].curves
  assert [(row["phase"], row["epoch"], row["steps"]) for row in curves] == [
    ("fine-tune", 1, 3),
    ("fine-tune", 2, 3),
  ]
  for row in curves:
    assert set(row) == {"phase", "epoch", "steps", "loss", "accuracy", "learning_rate"}
    assert np.isfinite(row["loss"]) and 0 <= row["accuracy"] <= 1
  rates = [row["learning_rate"] for row in curves]
  np.testing.assert_allclose(rates, [0.01, 0.005], rtol=1e-5)  # a cosine


def test_compilation_is_announced_where_there_is_some(told):
  """Once, though three programs are compiled; and not at all where they are there."""
  assert told[2].getvalue().splitlines() == ["ft: compiling, about 2 s"]


def leg(epoch, number=0, replay=False):
  metrics = EpochMetrics(np.full((1, 2), 0.5), np.full((1, 2), 0.75), np.full((1, 2), 0.1))
  return Leg("train", number, epoch, 2, 2, metrics, 20, 1.0, dict, replay)


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_terminal_shows_a_bar_and_every_phase_its_compilation():
  stream = Terminal()
  with Watch("kde", 100, True, stream) as watch:
    for number in (0, 1):
      watch.compiling()
      watch.compiling()
      for epoch in (0, 1):
        watch.leg(leg(epoch, number))
    watch.leg(leg(0, replay=True))
  said = stream.getvalue()
  assert said.count("kde: compiling, about 30 s") == 2
  for part in ("kde: ", "2/2", "step 4", "images/s", "accuracy 0.750"):
    assert part in said
  assert "members" not in said  # there is one
  assert len(watch.curves[0]) == 4  # epochs that are run again are known already


def test_nothing_is_shown_unless_it_is_asked_for(stock, sets, capsys):
  ft(stock, sets)
  assert capsys.readouterr() == ("", "")


def test_requests_go_on_from_results_with_details(stock, sets):
  x, y = sets["retain"]
  requests = [(x[:4], y[:4]), (x[4:8], y[4:8])]
  call = lambda **how: list(
    jaxmu.unlearn_requests(
      "ft", Stock(), stock, retain=(x[8:], y[8:]), requests=requests, **SMALL, **how
    )
  )
  told, plain = call(details=True), call()
  assert all(problems.equal(one.variables, two) for one, two in zip(told, plain))
  assert jax.tree.leaves(plain)


@pytest.mark.parametrize("name", ["progress", "details"])
def test_switches_are_truth_values(name, stock, sets, uncompiled):
  refused(
    lambda: ft(stock, sets, **{name: "yes"}),
    MethodError,
    f"{name} must be True or False, got 'yes'",
  )
