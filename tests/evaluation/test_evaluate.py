"""Numbers, verdicts and misuse: the same as an audit's, from any form, without jax."""

import subprocess
import sys

import numpy as np
import pytest
from support import own_models
from support.refusals import refused

import jaxmu
from jaxmu.audit import audit, power
from jaxmu.errors import DataError, SettingsError

GIVEN = own_models.clean()


@pytest.fixture(scope="module")
def found():
  return jaxmu.evaluate(**GIVEN)


def changed(model, name, change):
  """Return the arguments with one array changed."""
  array = GIVEN[model][name].copy()
  change(array)
  return GIVEN | {model: GIVEN[model] | {name: array}}


def test_numbers_are_those_of_an_audit(found):
  own = own_models.joined(GIVEN)
  expected = audit(
    logits=own["unlearned"],
    **{name: own[name] for name in own if name != "unlearned"},
  )
  assert found.rows.equals(expected.rows) and found.intervals.equals(expected.intervals)
  assert found.differences.equals(expected.differences)
  assert {"RA", "FA", "TA", "RetDev", "Indisc", "gap", "SVC_MIA", "T_histogram"} <= {
    name for name in found.rows if found.rows[name].notna().all()
  }


def test_every_attack_has_interval_and_power(found):
  own = found.attacks.set_index(["method", "attack"])
  names = {"T_MIA", "T_AUC", "T_strongest", "T_margin", "T_entropy", "T_histogram", "SVC_MIA"}
  for method in ("original", "unlearned", "retrained"):
    assert names <= set(own.loc[method].index)
    rest = own.loc[method].drop("SVC_MIA")
    assert (rest["low"] < rest["value"]).all() and (rest["visible"] < rest["reliable"]).all()
    assert own.loc[(method, "T_AUC"), "visible"] == power.visible("T_AUC", 300, 320)
  assert own.loc["original"].drop("SVC_MIA")["found"].all()
  assert not own.loc["unlearned"]["found"].any()


def test_it_prints_table_attacks_and_verdict(found):
  text = str(found)
  assert found.verdict.outcome == "passed" and "Verdict: passed. Asked: models that work" in text
  assert "Attacks on the unlearned model (300 forgotten samples, 320 unseen" in text
  assert "sees from" in text and "nan" not in text and len(text.splitlines()) < 25


def test_all_forms_give_the_same(found):
  whole = jaxmu.evaluate(**own_models.joined(GIVEN))
  assert whole.rows.equals(found.rows) and whole.cautions == found.cautions
  own = own_models.joined(GIVEN)
  size = len(own["labels"])
  masks = {name: np.isin(np.arange(size), own[name]) for name in own_models.SIZES}
  each = {name: np.stack([own[name]] * 3) for name in own_models.SIZES}
  assert jaxmu.evaluate(**own | masks).rows.equals(found.rows)
  assert jaxmu.evaluate(**own | each).rows.equals(found.rows)


class Tensor:
  """What PyTorch's tensors can do that counts here."""

  def __init__(self, array):
    self._array, self.dtype = array, array.dtype

  def detach(self):
    return self

  def cpu(self):
    return self

  def numpy(self):
    return self._array


def test_tensors_are_taken_as_arrays(found):
  models = ("original", "unlearned", "retrained")
  given = {m: {part: Tensor(array) for part, array in GIVEN[m].items()} for m in models}
  labels = {name: Tensor(GIVEN[name]) for name in own_models.SIZES}
  assert jaxmu.evaluate(**given, **labels).rows.equals(found.rows)


def test_a_model_that_still_knows_the_forget_set_fails():
  found = jaxmu.evaluate(
    **GIVEN
    | {
      "unlearned": own_models.logits(
        {name: GIVEN[name] for name in own_models.SIZES}, ("retain", "forget"), seed=77
      )
    }
  )
  assert found.recognised and found.verdict.outcome == "failed"
  assert "not met: attack" in str(found.verdict)


def test_few_samples_are_undecided_though_nothing_is_found():
  rest = {"min_test_accuracy": 0.3, "max_forget_gap": 0.4}
  found = jaxmu.evaluate(**own_models.clean(forget=40, seed=3), **rest)
  assert not found.recognised and found.verdict.outcome == "undecided"
  assert "with 40 samples a side the strongest attack sees 0.630 and more only" in str(found)


def test_without_retrained_models_thresholds_decide():
  alone = {name: given for name, given in GIVEN.items() if name != "retrained"}
  found = jaxmu.evaluate(**alone)
  assert found.verdict.outcome == "undecided" and "give one, or thresholds" in str(found)
  asked = jaxmu.evaluate(**alone, max_attack=0.57, min_test_accuracy=0.4).verdict
  assert asked.outcome == "passed"
  assert [one.name for one in asked.criteria] == ["Works", "Attack", "Test accuracy"]
  assert jaxmu.evaluate(**alone, max_attack=0.505).verdict.outcome == "failed"


def test_one_seed_cannot_tell_what_seeds_move():
  one = own_models.clean(seeds=1)
  found = jaxmu.evaluate(**one)
  assert found.verdict.outcome == "undecided"
  assert "1 seed cannot show what another seed moves in test accuracy and forget" in str(found)
  given = {"min_test_accuracy": 0.4, "max_forget_gap": 0.2}
  assert jaxmu.evaluate(**one, **given).verdict.outcome == "passed"


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"forget": GIVEN["forget"][:-1]}, "logits of forget have shape (3, 300, 5); expected 299"),
    ({"forget": GIVEN["forget"].astype(float)}, "forget labels must be integers [n], got float64"),
    ({"forget": GIVEN["forget"] + 1}, "forget labels must lie in 0..4 for logits of 5 classes"),
    ({"forget": None}, "forget is missing"),
    ({"forget": (np.zeros((300, 4, 4, 1)), GIVEN["forget"])}, "images need model="),
    ({"unlearned": GIVEN["unlearned"]["retain"]}, "unlearned must map retain, forget, unseen to"),
    ({"unlearned": {"params": {}}}, "variables need model="),
    ({"unlearned": {"retain": GIVEN["unlearned"]["retain"]}}, "unlearned has no logits of forget"),
    (
      {"retrained": {n: a[..., :4] for n, a in GIVEN["retrained"].items()}},
      "retrained logits have 4 classes, those of the unlearned model 5",
    ),
    (
      {"retrained": {n: a[:2] for n, a in GIVEN["retrained"].items()}},
      "retrained logits are of 2 seeds, those of the unlearned model of 3",
    ),
    (
      {"retrained": {n: a.astype(int) for n, a in GIVEN["retrained"].items()}},
      "retrained logits of retain must be floats of shape [n, C] or [K, n, C], got int64",
    ),
    (
      {"retrained": {n: a[..., :1] for n, a in GIVEN["retrained"].items()}},
      "one class; expected at least 2",
    ),
  ],
)
def test_misuse_is_answered_by_one_line(change, message):
  refused(lambda: jaxmu.evaluate(**GIVEN | change), DataError, message)


def test_logits_that_mean_nothing_are_refused_with_their_place():
  given = changed("unlearned", "forget", lambda a: a.__setitem__((1, 7, 2), np.nan))
  message = "unlearned logits of seed 1: those of 1 sample are NaN or infinite, the first forget 7"
  refused(lambda: jaxmu.evaluate(**given), DataError, message)
  of_label = (0, 0, GIVEN["retain"][0])
  given = changed("original", "retain", lambda a: a.__setitem__(of_label, -np.inf))
  refused(lambda: jaxmu.evaluate(**given), DataError, "the first retain 0")
  wrong = (0, 0, (GIVEN["retain"][0] + 1) % 5)
  given = changed("original", "retain", lambda a: a.__setitem__(wrong, -np.inf))
  assert jaxmu.evaluate(**given).rows["finite"].all()  # excluded by the model: legal


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"forget": [0, 1020]}, "forget holds positions 0..1020; expected 0..1019"),
    ({"forget": [0.5]}, "forget must be positions [n] or [K, n], or a mask, got float64"),
    ({"forget": np.ones(3, bool)}, "the forget mask has shape (3,)"),
    ({"unseen": np.arange(650, 950)}, "share 50 samples"),
    ({"unseen": np.stack([np.arange(700, 1020)] * 2)}, "expected one row for each of 3 seeds"),
    ({"unlearned": {}}, "expected logits of all samples, [N, C] or [K, N, C]"),
    ({"unlearned": np.zeros((9, 5))}, "unlearned logits have shape (1, 9, 5); expected 1020"),
    ({"forget": np.arange(400, 403)}, "at least 6"),
    ({"model": object()}, "labels= is for logits"),
  ],
)
def test_misuse_of_positions_is_answered_by_one_line(change, message):
  refused(lambda: jaxmu.evaluate(**own_models.joined(GIVEN) | change), DataError, message)


def test_thresholds_have_ranges():
  message = "max_attack must be a number at least 0 and below 1, got 1.5"
  refused(lambda: jaxmu.evaluate(**GIVEN, max_attack=1.5), SettingsError, message)
  alone = {"retrained": None, "max_forget_gap": 0.1}
  message = "max_forget_gap compares with retrained models"
  refused(lambda: jaxmu.evaluate(**GIVEN | alone), SettingsError, message)


WITHOUT_JAX = """
import sys
import numpy as np
import jaxmu
from jaxmu.evaluation import verify
rng, parts = np.random.default_rng(0), ("retain", "forget", "unseen")
model = lambda: {part: rng.normal(size=(30, 3)) for part in parts}
found = jaxmu.evaluate(original=model(), unlearned=model(),
                       **{part: rng.integers(0, 3, 30) for part in parts})
found.report(sys.argv[1])
assert verify(sys.argv[1]).sound
print(sorted({"jax", "jaxlib", "flax", "optax", "torch"} & {m.split(".")[0] for m in sys.modules}))
"""


def test_logits_need_neither_jax_nor_flax(tmp_path):
  command = [sys.executable, "-c", WITHOUT_JAX, str(tmp_path)]
  ended = subprocess.run(command, capture_output=True, text=True)
  assert ended.stdout == "[]\n", ended.stderr
