"""Requests for deletion one after another: who is retained, and where each starts."""

import jax
import numpy as np
import pytest
from support import problems
from support.user_networks import SMALL, Stock

import jaxmu
from jaxmu.errors import DataError, MethodError, UnlearningWarning

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def asked(sets):
  """Three requests, cut from the retain set."""
  x, y = sets["retain"]
  return {
    "retain": (x[12:], y[12:]),
    "requests": [(x[k : k + 4], y[k : k + 4]) for k in (0, 4, 8)],
  }


def together(*parts):
  return tuple(np.concatenate(each) for each in zip(*parts))


@pytest.mark.parametrize("method", ["ft", "ngplus"])
def test_each_request_is_unlearned_from_the_model_before_it(method, stock, asked):
  found = list(
    jaxmu.unlearn_requests(method, Stock(), stock, **asked, key=KEY, **problems.TABLE[method].small)
  )
  retain, (first, second, third) = asked["retain"], asked["requests"]
  model = stock
  left = (
    together(retain, second, third),
    together(retain, third),
    retain,
  )
  for k, (kept, gone) in enumerate(zip(left, (first, second, third))):
    key = KEY if k == 0 else jax.random.fold_in(KEY, k)
    model = jaxmu.unlearn(
      method, Stock(), model, retain=kept, forget=gone, key=key, **problems.TABLE[method].small
    )
    assert problems.equal(found[k], model), k


def test_what_was_deleted_is_never_read_again(stock, asked):
  """The first request is spoiled after its turn: nothing changes."""
  copied = [tuple(np.copy(part) for part in pair) for pair in asked["requests"]]
  rounds = jaxmu.unlearn_requests(
    "ft", Stock(), stock, retain=asked["retain"], requests=copied, key=KEY, **SMALL
  )
  first = next(rounds)
  copied[0][0][:] = np.nan
  whole = list(jaxmu.unlearn_requests("ft", Stock(), stock, **asked, key=KEY, **SMALL))
  assert problems.equal(first, whole[0])
  assert problems.equal([*rounds][-1], whole[-1])


def test_warnings_blame_the_line_that_asked_for_the_next_request(stock, asked):
  given = {**asked, "requests": asked["requests"][:1]}
  rounds = jaxmu.unlearn_requests(
    "ft", Stock(), stock, **given, **{**SMALL, "learning_rate": 1e-300}
  )
  with pytest.warns(UnlearningWarning, match="^ft changed nothing") as caught:
    next(rounds)
  assert caught[0].filename == __file__


@pytest.mark.parametrize(
  ("requests", "words"),
  [
    ([], r"requests must be a list of pairs \(x, y\), got \[\]"),
    (3, "requests must be a list of pairs"),
    ([3], r"requests\[0\]"),
    ([(np.zeros((2, 9, 9, 3), np.float32), np.zeros(2, int))], r"requests\[0\]"),
  ],
)
def test_bad_requests_are_told_before_anything_runs(requests, words, stock, asked, uncompiled):
  with pytest.raises(DataError, match=words):
    jaxmu.unlearn_requests("ft", Stock(), stock, retain=asked["retain"], requests=requests)


def test_a_bad_key_is_told_before_anything_runs(stock, asked, uncompiled):
  with pytest.raises(MethodError, match="key must be a seed or one threefry key"):
    jaxmu.unlearn_requests("ft", Stock(), stock, **asked, key="3")
