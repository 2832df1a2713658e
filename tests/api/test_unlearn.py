"""The Python interface on users' own networks: what it gives and leaves alone."""

import json
import warnings

import flax
import jax
import numpy as np
import pytest
from support import problems, user_networks
from support.user_networks import SMALL, Dropping, Stock, Table, ft, initial

import jaxmu
from jaxmu.data import overlap
from jaxmu.errors import UnlearningWarning
from jaxmu.unlearning import METHODS


@pytest.mark.filterwarnings("ignore:.* finds in Stock no blocks:jaxmu.errors.UnlearningWarning")
@pytest.mark.parametrize("name", METHODS)
def test_works_on_stock_layers_and_does_not_modify_its_inputs(name, stock, sets):
  before = jax.tree.map(np.copy, (stock, sets))
  found = jaxmu.unlearn(name, Stock(), stock, **sets, **problems.TABLE[name].small)
  form = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert form(found) == form(stock)
  assert not problems.equal(found["params"], stock["params"])
  assert problems.equal((stock, sets), before)


# The network is not trained: that it comes to give all samples one class says nothing here.
@pytest.mark.filterwarnings("ignore::jaxmu.errors.UnlearningWarning")
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
      "ft",
      Dropping(rate),
      dropping,
      retain=sets["retain"],
      **SMALL,
      shuffle=False,
      key=jax.random.key(seed),
    )
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


def test_sets_that_a_method_does_not_need_are_not_trained_on(stock, sets):
  """FT gets no forget set, or one, and fine-tunes alike."""
  assert problems.equal(ft(stock, sets, forget=sets["forget"]), ft(stock, sets))


def test_frozen_variables_are_variables(stock, sets):
  found = ft(flax.core.freeze(stock), sets)
  assert problems.equal(found, ft(stock, sets))
  assert type(found) is type(found["params"]) is dict


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
    stock,
    sets,
    method="msg",
    forget=sets["forget"],
    init_rate=1.0,
    learning_rate=1e-6,
    randomness=draws,
  )
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


def said(call):
  """Return what a call warns of, with the file that is blamed for it."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    call()
  return [(str(w.message), w.filename) for w in caught if w.category is UnlearningWarning]


@pytest.fixture(scope="module")
def trained(stock, sets):
  return ft(stock, sets, num_epochs=40, learning_rate=0.1)


def test_unlearning_that_works_warns_of_nothing(trained, sets):
  assert said(lambda: ft(trained, sets)) == []


def test_unlearning_that_changes_nothing_is_a_warning(trained, sets):
  """A rate that underflows in float32. Statistics still move, and that is no unlearning."""
  ((text, file),) = said(lambda: ft(trained, sets, learning_rate=1e-300))
  assert text.startswith("ft changed nothing: every parameter is as it was; raise its rate, its ep")
  assert file == user_networks.__file__  # the line that called `unlearn`


def test_a_method_that_finds_nothing_to_act_on_is_a_warning(sets):
  """Without convolutions CT is FT, bit for bit."""
  x, y = sets["retain"]
  table, rows = initial(Table(), (36,)), (x.reshape(-1, 36), y)
  found = []
  ((text, _),) = said(
    lambda: found.append(jaxmu.unlearn("ct", Table(), table, retain=rows, **SMALL))
  )
  assert text == (
    "ct finds in Table no convolution wider than a pixel to transpose, and only fine-tunes"
  )
  assert problems.equal(found[0], jaxmu.unlearn("ft", Table(), table, retain=rows, **SMALL))


def test_unlearning_that_destroys_the_model_is_a_warning(trained, sets):
  ((text, _),) = said(lambda: ft(trained, sets, learning_rate=100.0))
  assert text.startswith("ft destroyed the model: all 22 samples are given class ")
  assert text.endswith(
    "(on 22 samples of retain); use a smaller rate, fewer epochs or a smaller share"
  )


def test_damage_is_looked_for_on_validation_samples_where_no_others_are_given(trained, sets):
  ga = {"method": "ga", "retain": None, "forget": sets["forget"], "learning_rate": 1e3}
  assert said(lambda: ft(trained, sets, **ga)) == []
  many = tuple(np.concatenate([part, part[::-1]]) for part in sets["retain"])
  ((text, _),) = said(lambda: ft(trained, sets, **ga, validation=many))
  assert text.startswith("ga destroyed the model: ") and "(on 44 samples of validation)" in text


def test_a_twin_in_two_sets_is_a_warning(monkeypatch, stock, sets):
  """One of ten is too many; here two would be, so that the sets can be small."""
  monkeypatch.setattr(overlap, "TWINS", 0.2)
  retain, forget = (tuple(np.copy(part) for part in sets[name]) for name in ("retain", "forget"))
  retain[0][3], retain[1][3] = forget[0][7], forget[1][7]
  ((text, _),) = said(lambda: ft(stock, sets, retain=retain, forget=forget))
  assert text.startswith(
    "forget and retain share 1 of the 10 samples of forget (forget 7 is retain"
  )


def test_warnings_can_be_silenced_by_their_type(trained, sets):
  with warnings.catch_warnings(record=True) as caught:
    warnings.filterwarnings("ignore", category=UnlearningWarning)
    ft(trained, sets, learning_rate=1e-300)
  assert caught == []
