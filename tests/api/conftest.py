"""Data and initial weights for the tests of the Python interface."""

import pytest
from support import problems
from support.user_networks import Dropping, Stock, initial

from jaxmu.execution import predictions, runner


@pytest.fixture(scope="module")
def sets():
  x, y = problems.samples()
  places = {name: rows[0] for name, rows in problems.index().items()}
  arguments = {"retain": "retain", "forget": "forget", "val": "validation"}
  return {arguments[name]: (x[rows], y[rows]) for name, rows in places.items()}


@pytest.fixture(scope="module")
def stock():
  return initial(Stock(), train=False)


@pytest.fixture(scope="module")
def dropping():
  return initial(Dropping(), deterministic=True)


@pytest.fixture
def uncompiled(monkeypatch):
  """Fail where a method is run or a network evaluated: what is wrong is seen before."""

  def late(*args, **options):
    raise AssertionError("this ought to have been refused before")

  monkeypatch.setattr(runner, "run", late)
  monkeypatch.setattr(predictions, "logits", late)
