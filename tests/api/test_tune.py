"""Search on validation samples: it finds what was planted, and sees what it is given alone."""

import sys

import jax
import numpy as np
import pytest
from support import memorising, problems
from support.memorising import TRAINING, Mlp
from support.refusals import refused

import jaxmu
from jaxmu.api import trials
from jaxmu.audit.formulas import search_objective, search_score
from jaxmu.errors import DataError, MethodError
from jaxmu.search.random_draws import RandomDraws
from jaxmu.search.space import Space
from jaxmu.unlearning import get

SETS = {k: v for k, v in memorising.sets().items() if k != "unseen"}
# Too little to change anything, what forgets, and what overflows: drawn as the only choices.
FIXED = {"batch_size": 60, "num_epochs": 4, "weight_decay": 0.0}
RATES = {"learning_rate": [1e-30, 0.1, 1e30], **FIXED}


@pytest.fixture(scope="module")
def originals():
  both = {name: SETS[name] for name in ("retain", "forget")}
  return jaxmu.train(Mlp(), **both, seeds=2, **TRAINING)


@pytest.fixture(scope="module")
def found(originals):
  return jaxmu.tune(
    "srl", Mlp(), originals, **SETS, training=TRAINING, trials=10, ranges=RATES, sampler_seed=1
  )


def test_the_planted_rate_is_found(found):
  own = found.trials.groupby("learning_rate")["S"].first()
  assert found.hyperparameters["learning_rate"] == 0.1 and found.score == own[0.1]
  assert own[1e-30] == pytest.approx(found.untouched) and found.untouched > 1.2 * own[0.1]
  assert own[1e30] == np.inf
  lost = found.trials[found.trials["learning_rate"] == 1e30]
  assert (lost["failed"] == 2).all() and lost["RA"].isna().all()
  assert len(found.trials) == 10 and list(found.trials["trial"]) == list(range(10))
  # The first trial has the default, 0.1, cut to the choices.
  assert found.trials["learning_rate"].iloc[0] == 0.1
  text = str(found)
  assert text.startswith("srl: 10 trials on 2 seeds") and "promises too much" in text
  assert f"S {found.score:.3f} (defaults {found.score:.3f}, without unlearning" in text


def test_a_trials_numbers_are_those_of_its_models(found, originals):
  """Recomputed by plain calls, model by model."""
  (x_v, y_v), (x_f, y_f), (x_r, y_r) = (SETS[name] for name in ("validation", "forget", "retain"))
  row = found.trials[found.trials["learning_rate"] == 0.1].iloc[0]
  both = {name: SETS[name] for name in ("retain", "forget")}
  own = jaxmu.unlearn("srl", Mlp(), originals, **both, **found.hyperparameters)

  def numbers(variables):
    logits = [jaxmu.predict(Mlp(), variables, x) for x in (x_r, x_f, x_v)]
    rows = zip(("RA", "FA", "VA"), logits, (y_r, y_f, y_v))
    accuracies = {name: (of.argmax(1) == y).mean() for name, of, y in rows}
    losses = [
      -np.asarray(jax.nn.log_softmax(of))[np.arange(len(y)), y]
      for of, y in ((logits[2], y_v), (logits[1], y_f))
    ]
    (attack,) = trials.member_row.population_mia_many(*(one[None] for one in losses))
    return accuracies | {"V_MIA": attack.accuracy}

  scores = [
    search_score(search_objective(numbers(one), numbers(other)))
    for one, other in zip(own, found.retrained)
  ]
  assert row["S"] == pytest.approx(np.mean(scores), abs=1e-6)
  expected = jaxmu.retrain(Mlp(), retain=SETS["retain"], seeds=2, **TRAINING)
  assert problems.equal(found.retrained, expected)


def test_no_other_samples_have_a_part_in_it(originals, found):
  """There is no argument for them, and equal calls give equal numbers."""
  call = lambda **more: jaxmu.tune("srl", Mlp(), originals, **SETS, **more, ranges=RATES)
  refused(
    lambda: call(unseen=SETS["forget"]), MethodError, "tune has no argument 'unseen': unseen s"
  )
  refused(lambda: call(progres=True), MethodError, "tune has no argument 'progres'")
  again = jaxmu.tune(
    "srl",
    *(Mlp(), originals),
    **SETS,
    retrained=found.retrained,
    trials=10,
    ranges=RATES,
    sampler_seed=1,
  )
  assert again.trials.equals(found.trials)


def test_positions_and_batches_are_as_good_as_pairs(originals, found):
  x, y = (np.concatenate(parts) for parts in zip(*SETS.values()))
  ends = np.cumsum([0, *(len(y) for _, y in SETS.values())])
  places = {name: range(*ends[k : k + 2]) for k, name in enumerate(SETS)}
  given = {"training": TRAINING, "trials": 10, "ranges": RATES, "sampler_seed": 1}
  own = jaxmu.tune("srl", Mlp(), originals, data=(x, y), **places, **given)
  assert own.trials.equals(found.trials)
  batches = zip(*(np.array_split(part, 2) for part in SETS["retain"]))  # yielded once
  with pytest.warns(jaxmu.errors.UnlearningWarning, match="^retain was read once"):
    own = jaxmu.tune("srl", Mlp(), originals, **SETS | {"retain": batches}, **given)
  assert own.trials.equals(found.trials)


def test_samplers_that_learn_come_from_optuna(originals, found, monkeypatch):
  given = {**SETS, "retrained": found.retrained, "ranges": RATES, "trials": 18}
  own = jaxmu.tune("srl", Mlp(), originals, **given, sampler="tpe")
  assert len(own.trials) == 18 and own.hyperparameters["learning_rate"] == 0.1
  monkeypatch.setitem(sys.modules, "optuna", None)
  refused(
    lambda: jaxmu.tune("srl", Mlp(), originals, **given, sampler="nsga3"),
    MethodError,
    "sampler='nsga3' needs optuna, which is not installed; run pip install 'jaxmu[bench]'",
  )


def test_random_draws_stay_in_their_ranges_and_begin_with_what_is_given():
  """Bounds, whole numbers, and the even spread of a logarithm: half of them below its middle."""
  method = get("scrub")
  search = RandomDraws(Space(method, 50), 3)
  search.first([{**method.defaults, "sgda_num_epochs": 99}])
  drawn = search.ask(200)
  assert drawn[0]["sgda_num_epochs"] == 10 and drawn[0]["alpha"] == method.defaults["alpha"]
  rates = np.array([hp["sgda_learning_rate"] for hp in drawn[1:]])
  assert ((rates >= 1e-5) & (rates <= 1e-1)).all() and abs((rates < 1e-3).mean() - 0.5) < 0.12
  assert {hp["sgda_num_epochs"] for hp in drawn} == set(range(1, 11))
  assert all(hp["msteps"] <= hp["sgda_num_epochs"] for hp in drawn)
  again = RandomDraws(Space(method, 50), 3)
  assert again.ask(2) + again.ask(1) == RandomDraws(Space(method, 50), 3).ask(3)


WRONG = {
  "ranges": ({"ranges": "wide"}, "ranges must be 'amended', 'reference', or a mapping from names"),
  "name": ({"ranges": {"rate": (1, 2)}}, "srl has no hyper-parameter 'rate' to draw"),
  "order": (
    {"ranges": {"learning_rate": (0.2, 0.1)}},
    "ranges of learning_rate must be (low, high)",
  ),
  "value": (
    {"ranges": {"batch_size": [0, 60]}},
    "ranges of batch_size must be (low, high), a list",
  ),
  "one choice": ({"ranges": {"batch_size": [60]}}, "each one of at least two; got [60]"),
  "nothing": ({"ranges": {"learning_rate": 0.1, **FIXED}}, "srl: nothing is left to draw"),
  "trials": ({"trials": 0}, "trials must be a whole number at least 1"),
  "epochs": ({"max_epochs": 0.5}, "max_epochs must be a whole number"),
  "sampler": ({"sampler": "grid"}, "sampler must be one of random, nsga3, tpe, got 'grid'"),
  "training": ({"training": {"epochs": 3}}, "retrained has no hyper-parameter 'epochs'"),
  "argument": ({"num_epochs": 3}, "tune draws num_epochs; give ranges={'num_epochs': 3} instead"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls(case, originals, uncompiled):
  change, words = WRONG[case]
  refused(
    lambda: jaxmu.tune(**{"method": "srl", "model": Mlp(), "original": originals, **SETS} | change),
    MethodError,
    words,
  )


def test_sets_that_cannot_be_attacked(originals):
  few = tuple(part[:4] for part in SETS["validation"])
  refused(
    lambda: jaxmu.tune("srl", Mlp(), originals, **SETS | {"validation": few}, ranges=RATES),
    DataError,
    "",
  )
  refused(
    lambda: jaxmu.tune("srl", Mlp(), originals, **SETS | {"validation": None}),
    DataError,
    "tune needs validation=(x, y), got None",
  )
