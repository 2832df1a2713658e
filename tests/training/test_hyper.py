"""Hyper-parameters as values: what each takes, and what it says of everything else."""

import math

import numpy as np
import pytest

from jaxmu.settings.ranges import Range, Unfit
from jaxmu.training import hyper
from jaxmu.training.hyper import Distribution, Hyper

COUNT = hyper.batch(64)
SEVERAL = hyper.rate((1e-3, 1e-4))
MODE = hyper.option("eval", "eval", "train")
FLAG = hyper.option(False, False, True)


@pytest.mark.parametrize(
  ("declared", "given", "clean"),
  [
    (hyper.rate(0.1), 1, 1.0),
    (hyper.rate(0.1), np.float64(0.25), 0.25),
    (COUNT, np.int32(8), 8),
    (SEVERAL, 0.5, (0.5,)),
    (SEVERAL, [1, 2], (1.0, 2.0)),
    (MODE, "train", "train"),
    (FLAG, True, True),
  ],
)
def test_values_come_back_in_the_type_of_the_default(declared, given, clean):
  found = declared.read(given)
  assert (found, type(found)) == (clean, type(clean))


@pytest.mark.parametrize(
  ("declared", "given", "expected"),
  [
    (hyper.rate(0.1), 0, "a number above 0"),
    (hyper.rate(0.1), math.nan, "a number above 0"),
    (hyper.rate(0.1), 10**400, "a number above 0"),
    (hyper.rate(0.1), "fast", "a number"),
    (hyper.rate(0.1), True, "a number"),
    (hyper.mom(0.9), 1.0, "a number at least 0 and below 1"),
    (hyper.decay(0.0), -1e-9, "a number at least 0"),
    (hyper.share(0.5), 1.5, "a number at least 0 and at most 1"),
    (hyper.temperature(1.0), 0.0, "a number at least 1e-06"),
    (COUNT, 0, "a whole number at least 1 and at most 10000000"),
    (COUNT, 10**26, "a whole number at least 1 and at most 10000000"),
    (COUNT, 2.5, "a whole number"),
    (SEVERAL, (), "one number or more"),
    (SEVERAL, (0.1, -1.0), "a number above 0"),
    (MODE, "frozen", "one of eval, train"),
    (MODE, ["eval"], "one of eval, train"),
    (FLAG, 1, "one of False, True"),
    (Hyper(0.0), math.inf, "a number that is finite"),
    (Hyper(0.0, Range(high=3)), 4.0, "a number at most 3"),
  ],
)
def test_everything_else_is_answered_with_what_was_expected(declared, given, expected):
  with pytest.raises(Unfit) as caught:
    declared.read(given)
  assert str(caught.value) == expected


@pytest.mark.parametrize(
  ("distribution", "text"),
  [
    (Distribution("log_uniform", 1e-5, 1e-1), "LogU[1e-05, 0.1]"),
    (
      Distribution("integer", 1, None, at_most="num_epochs"),
      "integer U[1, E_max], at most num_epochs",
    ),
    (Distribution("categorical", choices=(64, 128)), "{64, 128}"),
    (Distribution("constant", 0.9, 0.9), "always 0.9"),
  ],
)
def test_distributions_are_written_as_readers_expect(distribution, text):
  assert str(distribution) == text


def test_defaults_lie_in_their_own_ranges():
  """And in the range that is recommended, where one differs from the reference's."""
  from jaxmu.unlearning import ANCHORS, METHODS

  for method in (*ANCHORS.values(), *METHODS.values()):
    for name, each in method.live.items():
      assert each.read(each.default) == each.default, (method.name, name)
      if each.amended and each.amended.high is not None and not each.choices:
        assert each.amended.low <= each.default <= each.amended.high, (method.name, name)
