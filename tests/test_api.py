"""The Python interface on users' own networks: what it gives, leaves alone and refuses."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems

import jaxmu
from jaxmu.engine.population import member_keys
from jaxmu.errors import DataError, MethodError, ModelError
from jaxmu.execution import runner
from jaxmu.unlearning import METHODS, get

SMALL = {"batch_size": 8, "num_epochs": 1, "learning_rate": 0.01}


class Stock(nn.Module):
  """Flax's own layers, batch statistics, and the flag `train`."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x)))
    return nn.Dense(4)(x.mean((1, 2)))


class Dropping(nn.Module):
  """No batch statistics, dropout, and the flag `deterministic`."""

  rate: float = 0.5

  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x)).reshape(len(x), -1)
    return nn.Dense(4)(nn.Dropout(self.rate, deterministic=deterministic)(x))


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


@pytest.fixture(scope="module")
def sets():
  x, y = problems.samples()
  places = {name: rows[0] for name, rows in problems.index().items()}
  arguments = {"retain": "retain", "forget": "forget", "val": "validation"}
  return {arguments[name]: (x[rows], y[rows]) for name, rows in places.items()}


def initial(module, **flags):
  shape = jnp.zeros((1, 6, 6, 1))
  return jax.tree.map(
    np.asarray, jax.jit(lambda k: module.init(k, shape, **flags))(jax.random.key(4))
  )


@pytest.fixture(scope="module")
def stock():
  return initial(Stock(), train=False)


@pytest.fixture(scope="module")
def dropping():
  return initial(Dropping(), deterministic=True)


def ft(stock, sets, **options):
  """Fine-tune the stock network briefly; options replace arguments."""
  given = {"method": "ft", "model": Stock(), "variables": stock, "retain": sets["retain"], **SMALL}
  return jaxmu.unlearn(**{**given, **options})


# What it does


@pytest.mark.parametrize("name", METHODS)
def test_works_on_stock_layers_and_does_not_modify_its_inputs(name, stock, sets):
  before = jax.tree.map(np.copy, (stock, sets))
  found = jaxmu.unlearn(name, Stock(), stock, **sets, **problems.TABLE[name].small)
  form = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert form(found) == form(stock)
  assert not problems.equal(found["params"], stock["params"])
  assert problems.equal((stock, sets), before)


@pytest.mark.parametrize("name", problems.daily(METHODS))
def test_works_without_batch_statistics_with_dropout(name, dropping, sets):
  found = jaxmu.unlearn(name, Dropping(), dropping, **sets, **problems.TABLE[name].small)
  assert set(found) == {"params"}
  assert not problems.equal(found, dropping)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_dropout_acts_while_training_and_follows_the_key(dropping, sets):
  """In stored order nothing else is random, so only dropout can tell two keys apart."""

  def head(rate, seed):
    found = jaxmu.unlearn(
      "ft", Dropping(rate), dropping, retain=sets["retain"], **SMALL, shuffle=False,
      key=jax.random.key(seed),
    )  # fmt: skip
    return found["params"]["Dense_0"]["kernel"]

  assert np.array_equal(head(0.0, 1), head(0.0, 2))
  assert not np.allclose(head(0.5, 1), head(0.0, 1), atol=1e-5)
  assert not np.allclose(head(0.5, 1), head(0.5, 2), atol=1e-5)


def test_equal_keys_give_equal_bits(stock, sets):
  key = jax.random.key(9)
  first, second = ft(stock, sets, key=key), ft(stock, sets, key=key)
  assert problems.equal(first, second)
  assert not problems.equal(ft(stock, sets, key=jax.random.key(10)), first)
  assert problems.equal(ft(stock, sets), ft(stock, sets, key=jax.random.key(0)))
  assert problems.equal(ft(stock, sets, key=jax.random.key_data(key)), first)  # an old-style key


def test_stored_order_needs_no_key(stock, sets):
  found = [ft(stock, sets, key=jax.random.key(k), shuffle=False) for k in (1, 2)]
  assert problems.equal(*found)
  assert not problems.equal(found[0], ft(stock, sets, key=jax.random.key(1)))
  turned = tuple(part[::-1] for part in sets["retain"])
  assert not problems.equal(found[0], ft(stock, sets, retain=turned, shuffle=False))


def test_sets_that_a_method_does_not_need_are_not_read(stock, sets):
  """FT gets no forget set, or one that no check would let through."""
  alone = ft(stock, sets)
  assert problems.equal(ft(stock, sets, forget="nonsense"), alone)


def test_the_label_type_does_not_matter_and_numpy_numbers_are_numbers(stock, sets):
  x, y = sets["retain"]
  rate = np.float32(SMALL["learning_rate"])
  other = ft(
    stock, sets, retain=[x, y.astype(np.uint8)], learning_rate=rate, num_epochs=np.int64(1)
  )
  assert problems.equal(other, ft(stock, sets))


def test_injected_draws_replace_the_drawn_ones(stock, sets):
  """MSG: the places of R' and the fresh kernels; original: the order of a pass."""
  msg = lambda **draws: ft(
    stock, sets, method="msg", forget=sets["forget"], init_rate=1.0, learning_rate=1e-6,
    randomness=draws,
  )  # fmt: skip
  drawn, fresh = msg(), jax.tree.map(lambda leaf: np.full_like(leaf, 0.25), stock["params"])
  injected = msg(fresh=fresh)["params"]
  np.testing.assert_allclose(injected["Conv_0"]["kernel"], 0.25, atol=1e-4)
  np.testing.assert_allclose(
    injected["Dense_0"]["kernel"], stock["params"]["Dense_0"]["kernel"], atol=1e-4
  )
  first, last = msg(subset=np.arange(10)), msg(subset=np.arange(12, 22))
  assert not problems.equal(first["batch_stats"], last["batch_stats"])
  assert not problems.equal(first["batch_stats"], drawn["batch_stats"])

  train = lambda **draws: ft(
    stock, sets, method="original", forget=sets["forget"], randomness=draws
  )
  backwards = train(union_order=np.arange(32)[::-1])
  assert problems.equal(backwards, train(union_order=np.arange(32)[::-1]))
  assert not problems.equal(backwards, train(union_order=np.arange(32)))
  assert not problems.equal(backwards, train())


def test_predict_equals_the_network_in_eval_mode_for_any_batch_size(stock, sets):
  x = sets["retain"][0]
  stats = {"BatchNorm_0": {"mean": np.full(4, 0.3, "f"), "var": np.full(4, 2.0, "f")}}
  variables = {"params": stock["params"], "batch_stats": stats}
  wanted = Stock().apply(variables, x, train=False)
  for batch_size in (500, 22, 5):
    found = jaxmu.predict(Stock(), variables, x, batch_size=batch_size)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_predict_works_without_batch_statistics_and_dropout_is_off(dropping, sets):
  x = sets["retain"][0]
  wanted = Dropping().apply(dropping, x, deterministic=True)
  np.testing.assert_allclose(jaxmu.predict(Dropping(), dropping, x), wanted, atol=1e-5)


def test_the_table_of_methods_is_plain_json():
  table = jaxmu.methods()
  assert json.loads(json.dumps(table)) == table
  assert list(table) == list(METHODS)
  assert table["msg"]["needs"] == ["forget", "retain"]
  assert table["msg"]["hyperparameters"]["init_rate"] == 0.3
  assert set(table["msg"]["draws"]) == {"subset", "fresh"}
  for name, entry in table.items():
    assert entry["title"] == METHODS[name].title
    assert set(entry["hyperparameters"]) == set(METHODS[name].defaults)


# What it refuses: one line, the argument's name and what was given


def spoil(pair, place, value):
  x = pair[0].copy()
  x[place, 1, 2, 0] = value
  return x, pair[1]


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
  "text": ({"num_epochs": "3"}, MethodError, "ft: num_epochs must be a number like 5, got '3'"),
  "truth": ({"num_epochs": True}, MethodError, "ft: num_epochs must be a number like 5, got True"),
  "half": ({"num_epochs": 1.5}, MethodError, "ft: num_epochs must be a whole number, got 1.5"),
  "nan": (
    {"num_epochs": float("nan")},
    MethodError,
    "ft: num_epochs must be finite and at least 1, got nan",
  ),
  "negative": (
    {"learning_rate": -0.1},
    MethodError,
    "ft: learning_rate must be finite and at least 0, got -0.1",
  ),
  "momentum": ({"momentum": 1.1}, MethodError, "ft: momentum must lie in [0, 1], got 1.1"),
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
    {"key": 3},
    MethodError,
    "key must be one threefry key, such as jax.random.key(0); got 3",
  ),
  "no pair": ({"retain": np.ones(3)}, DataError, "retain must be a pair (x, y), got ndarray"),
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
    "variables must be a mapping with 'params' (and 'batch_stats'), got list",
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
    "images must have shape [n >= 1, H, W, C], got (0, 6, 6, 1)",
  ),
  "flat": (
    lambda x, y: (x.reshape(10, -1), y),
    DataError,
    "images must have shape [n >= 1, H, W, C], got (10, 36)",
  ),
  "bytes": (
    lambda x, y: (x.astype(np.uint8), y),
    DataError,
    "images must be float and normalised, got uint8",
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
  named = "retain" if case == "size" else "forget"  # sizes are compared with the first set
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


def test_predict_checks_what_it_is_given(stock, sets):
  x = sets["retain"][0]
  for arguments, error, message in (
    ((Stock(), {}, x), ModelError, r"^variables must be a mapping with 'params' .*, got \[\]$"),
    ((Stock, stock, x), ModelError, "^model must be an instance of flax.linen.Module"),
    ((Stock(), stock, x[0]), DataError, r"^x: images must have shape \[n >= 1, H, W, C\], got \(6"),
    ((Stock(), stock, spoil((x, None), 2, np.nan)[0]), DataError, "^x: 1 images hold NaN or inf"),
  ):
    with pytest.raises(error, match=message):
      jaxmu.predict(*arguments)
  with pytest.raises(DataError, match=r"^batch_size must be at least 1, got 0$"):
    jaxmu.predict(Stock(), stock, x, batch_size=0)


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
