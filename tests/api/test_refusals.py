"""What the Python interface refuses: one line, the argument's name and what was given."""

import dataclasses

import flax.linen as nn
import numpy as np
import pytest
from support import problems
from support.user_networks import SMALL, Stock, ft, initial, spoil

import jaxmu
from jaxmu.engine.population import member_keys
from jaxmu.errors import DataError, MethodError, ModelError
from jaxmu.execution import runner
from jaxmu.unlearning import METHODS, get


class Listing(nn.Module):
  """A network whose attribute may be a list."""

  widths: list

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.widths[0])(x.mean((1, 2)))


class Oblong(nn.Module):
  """A kernel of two rows and three columns."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(4)(nn.Conv(4, (2, 3))(x).mean((1, 2)))


WRONG_CALLS = {
  "method": (
    {"method": "fine"},
    MethodError,
    "unknown method 'fine'; known: bt, cfk, cfw, ct, euk, fcs, ff, ft, ga, iu, kde, msg, ngplus, ",
  ),
  "close method": (
    {"method": "mgs"},
    MethodError,
    "unknown method 'mgs'; did you mean 'msg'? known",
  ),
  "hyper-parameter": (
    {"momentun": 0.9},
    MethodError,
    "ft has no hyper-parameter 'momentun'; did you mean 'momentum'? known: batch_size, learning_",
  ),
  "text": ({"num_epochs": "3"}, MethodError, "ft: num_epochs must be a whole number, got '3'"),
  "truth": ({"num_epochs": True}, MethodError, "ft: num_epochs must be a whole number, got True"),
  "half": ({"num_epochs": 1.5}, MethodError, "ft: num_epochs must be a whole number, got 1.5"),
  "nan": (
    {"num_epochs": float("nan")},
    MethodError,
    "ft: num_epochs must be a whole number, got nan",
  ),
  "negative": (
    {"learning_rate": -0.1},
    MethodError,
    "ft: learning_rate must be a number above 0, got -0.1",
  ),
  "momentum": (
    {"momentum": 1.1},
    MethodError,
    "ft: momentum must be a number at least 0 and below 1, got 1.1",
  ),
  "fidelity": (
    {"fidelity": "exact"},
    MethodError,
    "fidelity must be default, reference or fixed, got 'exact'",
  ),
  "draw": (
    {"randomness": {"subset": np.arange(3)}},
    MethodError,
    "ft has no random draw 'subset'; known: none",
  ),
  "missing set": (
    {"retain": None},
    MethodError,
    "ft needs retain=(x, y), which was not given",
  ),
  "key": (
    {"key": "3"},
    MethodError,
    "key must be a seed or one threefry key, such as jax.random.key(0); got '3'",
  ),
  "no pair": ({"retain": np.ones(3)}, DataError, "retain is float64 of shape (3,), positions with"),
  "class": (
    {"model": Stock},
    ModelError,
    "model must be an instance of flax.linen.Module, got <class ",
  ),
  "unhashable": (
    {"model": Listing([4])},
    ModelError,
    "Listing has a list, dict or array among its attributes, so programs cannot be looked up by it",
  ),
  "not variables": (
    {"variables": [1, 2]},
    ModelError,
    "variables[0]: variables must be a mapping with 'params' (and 'batch_stats'), got int",
  ),
  "no params": (
    {"variables": {"weights": {}}},
    ModelError,
    "variables must be a mapping with 'params' (and 'batch_stats'), got ['weights']",
  ),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_are_answered_in_one_line(case, stock, sets):
  options, error, message = WRONG_CALLS[case]
  with pytest.raises(error) as caught:
    ft(stock, sets, **options)
  assert str(caught.value).startswith(message)
  assert "\n" not in str(caught.value)


WRONG_SETS = {
  "empty": (
    lambda x, y: (x[:0], y[:0]),
    DataError,
    "images must have shape [n >= 1, ...], got (0, 6, 6, 1)",
  ),
  "flat": (
    lambda x, y: (x.reshape(10, -1), y),
    DataError,
    "images have shape (6, 6, 1), those of another set (36,)",
  ),
  "bytes": (
    lambda x, y: (x.astype(np.uint8), y),
    DataError,
    "images must be float and normalised, got uint8; or give mean= and std=, or preprocess=",
  ),
  "nan": (
    lambda x, y: spoil((x, y), 7, np.nan),
    DataError,
    "1 images hold NaN or infinity, the first at index 7",
  ),
  "infinity": (
    lambda x, y: spoil((x, y), 3, np.inf),
    DataError,
    "1 images hold NaN or infinity, the first at index 3",
  ),
  "size": (
    lambda x, y: (x[:, 1:], y),
    DataError,
    "images have shape (6, 6, 1), those of another set (5, 6, 1)",
  ),
  "float labels": (
    lambda x, y: (x, y.astype(float)),
    DataError,
    "labels must be integers of shape (10,), got float64 (10,)",
  ),
  "label count": (
    lambda x, y: (x, y[:-1]),
    DataError,
    "labels must be integers of shape (10,), got int32 (9,)",
  ),
  "class count": (lambda x, y: (x, y + 4), DataError, "labels must lie in 0..3, got 4..7"),
  "negative": (lambda x, y: (x, y - 1), DataError, "labels must lie in 0..3, got -1..2"),
}


@pytest.mark.parametrize("case", WRONG_SETS)
def test_wrong_sets_are_named(case, stock, sets):
  change, error, message = WRONG_SETS[case]
  named = (
    "retain" if case in ("size", "flat") else "forget"
  )  # sizes are compared with the first set
  with pytest.raises(error) as caught:
    ft(stock, sets, method="msg", forget=change(*sets["forget"]))
  assert str(caught.value) == f"{named}: {message}"


def test_a_validation_set_is_asked_for_by_its_argument(monkeypatch, stock, sets):
  """No method here reads it yet, so one is made that does."""
  reading = dataclasses.replace(get("ft"), needs=frozenset({"val"}))
  monkeypatch.setitem(METHODS, "ft", reading)
  with pytest.raises(MethodError, match=r"^ft needs validation=\(x, y\), which was not given$"):
    ft(stock, sets)


def test_images_that_do_not_fit_the_network_are_explained(stock, sets):
  x, y = sets["retain"]
  with pytest.raises(ModelError, match="its first convolution reads 1 channels, the images have 3"):
    ft(stock, sets, retain=(np.repeat(x, 3, axis=3), y))


WRONG_DRAWS = {
  "msg subset": ({"subset": np.arange(3)}, "msg: subset must hold 10 places, got shape (3,)"),
  "msg subset real": (
    {"subset": np.arange(10) / 2},
    "msg: subset must hold whole numbers, got float32",
  ),
  "original union_order real": (
    {"union_order": np.arange(32) / 2},
    "union_order must hold whole numbers, got float32",
  ),
  "msg fresh": (
    {"fresh": {"Conv_0": np.ones(3)}},
    "msg: fresh must be a tree like params, with leaves of the same shapes",
  ),
  "msg noise": ({"noise": np.ones(3)}, "msg has no random draw 'noise'; known: subset, fresh"),
  "original union_order": (
    {"union_order": np.arange(5)},
    "union_order must hold all 32 positions, got shape (5,)",
  ),
}


@pytest.mark.parametrize("case", WRONG_DRAWS)
def test_injected_draws_of_the_wrong_form_are_refused(case, stock, sets):
  draws, message = WRONG_DRAWS[case]
  with pytest.raises(MethodError) as caught:
    ft(stock, sets, method=case.split()[0], forget=sets["forget"], randomness=draws)
  assert str(caught.value) == message


def test_ct_refuses_kernels_that_are_not_square(sets):
  with pytest.raises(MethodError, match=r"^ct needs square convolution kernels, got one of shape "):
    jaxmu.unlearn("ct", Oblong(), initial(Oblong()), retain=sets["retain"], **SMALL)


def test_training_that_turns_non_finite_names_the_steps(stock, sets):
  """Images of 1e30 overflow in the loss of the second batch of three."""
  x, y = sets["retain"][0].copy(), sets["retain"][1]
  x[9] = 3e38
  with pytest.raises(FloatingPointError) as caught:
    ft(stock, sets, retain=(x, y), shuffle=False)
  wanted = r"ft turned non-finite in fine-tune: epoch 1 (steps 1-2); try a smaller learning_rate"
  assert str(caught.value) == wanted


def test_a_last_step_that_turns_non_finite_is_noticed(stock, sets):
  """One step whose loss is finite and whose update overflows: no later loss can show it."""
  x, y = sets["retain"]
  with pytest.raises(
    FloatingPointError,
    match=r"^ft turned non-finite in its last step; try a smaller learning_rate$",
  ):
    ft(stock, sets, retain=(100 * x, y), batch_size=22, learning_rate=3e38)


# What the runner refuses beneath the interface


def run_ft(problem, hp):
  members = problem.population.size
  return runner.run(
    get("ft"), problem, problems.weights(range(members)), hp=hp, keys=member_keys(range(members))
  )


def test_members_must_share_the_batch_size():
  hp = [get("ft").hyperparameters({"batch_size": size}) for size in (8, 16)]
  message = r"^ft: members of one population must share batch_size, got \[8, 16\]; run one pop"
  with pytest.raises(MethodError, match=message):
    run_ft(problems.problem(2), hp)


def test_a_problem_must_have_the_sets_and_samples():
  hp, whole = [get("ft").hyperparameters({})], problems.problem(1)
  parts = {"forget": whole.index["forget"]}
  with pytest.raises(MethodError, match=r"^ft needs the retain set, which was not given$"):
    run_ft(runner.Problem(whole.population, whole.task, whole.arrays, parts), hp)
  parts = {"retain": np.zeros((1, 0), int)}
  with pytest.raises(MethodError, match=r"^the retain set is empty$"):
    run_ft(runner.Problem(whole.population, whole.task, whole.arrays, parts), hp)
