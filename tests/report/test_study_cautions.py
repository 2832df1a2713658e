"""Warnings of a study fire where they must, and only there; the verdict says what numbers say."""

import math

import numpy as np
import pytest
from support import study_cases as cases

from jaxmu.audit import rules
from jaxmu.audit.study import judgement, study_cautions, study_verdict
from jaxmu.audit.study.study_statistics import ACCURACY, METRICS, POPULATION
from jaxmu.store.records import Attack

CALM = {"ga": {"accuracy": (0.502, 0.497, 0.507), "model/accuracy_never": (0.84, 0.838, 0.842)}}


@pytest.fixture
def run(tmp_path):
  """Make a study that has nothing to warn of, but for the changes."""

  def make(changes=None, **parts):
    merged = {k: CALM.get(k, {}) | (changes or {}).get(k, {}) for k in {*CALM, *(changes or {})}}
    made = cases.data(tmp_path, changes=merged, **parts)
    return made, study_cautions.find(made)

  return make


def codes(found):
  return {(caution.code, caution.method) for caution in found}


def test_a_calm_study_has_no_warning(run):
  assert run()[1] == []


@pytest.mark.parametrize(
  ("bounds", "fires"),
  [((0.51, 0.501, 0.519), True), ((0.49, 0.481, 0.499), True), ((0.51, 0.5, 0.52), False)],
)
def test_retrained_models_off_one_half_are_severe(run, bounds, fires):
  made, found = run({"retrained": {"accuracy": bounds}})
  assert (("biased_reference", "") in codes(found)) is fires
  words = " ".join(study_verdict.write(made, found))
  assert ("no number of this study is to be trusted" in words) is fires
  assert ("contains one half, as it must" in words) is not fires
  if fires:
    assert found[0].level == "severe" and "do not trust" in found[0].title


def test_retrained_models_without_an_interval_are_not_judged(run):
  made, found = run({"retrained": {"accuracy": (0.6, math.nan, math.nan)}})
  assert ("biased_reference", "") not in codes(found)
  assert "Without an interval" in study_verdict.write(made, found)[0]


def test_missing_retrained_models_are_severe(run):
  made, found = run(methods=("original", "ft"))
  assert ("no_reference", "") in codes(found) and found[0].level == "severe"
  assert "nothing shows that this study can be trusted" in study_verdict.write(made, found)[0]


@pytest.mark.parametrize(
  ("bounds", "fires"),
  [((0.503, 0.497, 0.509), True), ((0.509, 0.504, 0.514), True), ((0.53, 0.52, 0.54), False)],
)
def test_originals_must_stand_out_from_chance_and_from_the_retrained(run, bounds, fires):
  made, found = run({"original": {"accuracy": bounds}})  # the retrained ones reach 0.505
  assert (("no_signal", "") in codes(found)) is fires
  assert ("There is a signal to remove" in " ".join(study_verdict.write(made, found))) is not fires


def test_other_statistics_of_the_retrained_models_are_a_note(run):
  found = run({"retrained": {"auc": (0.51, 0.505, 0.515), "rmia_auc": (0.48, 0.47, 0.49)}})[1]
  assert codes(found) == {("biased_statistics", "")} and found[0].level == "note"
  assert "AUC 0.510 [0.505, 0.515] and RMIA AUC 0.480 [0.470, 0.490]" in found[0].text
  assert "population" not in found[0].text.lower()


@pytest.mark.parametrize(
  ("never", "code", "level"),
  [
    ((0.40, 0.39, 0.41), "collapse", "severe"),  # less than half of 0.858
    ((0.74, 0.73, 0.75), "damage", "caution"),
    ((0.80, 0.79, 0.81), None, None),
  ],
)
def test_lost_held_out_accuracy_is_flagged(run, never, code, level):
  made, found = run({"ga": {"model/accuracy_never": never, "accuracy": (0.6, 0.59, 0.61)}})
  mine = [c for c in found if c.code in ("collapse", "damage")]
  assert [(c.code, c.level, c.method) for c in mine] == ([(code, level, "ga")] if code else [])
  leaks = next(s for s in study_verdict.write(made, found) if "are recognised after" in s)
  assert ("GA" in leaks) is (code != "collapse")


def test_references_that_learned_nothing_are_named(run):
  found = run({"retrained": {"model/accuracy_never": (0.1, 0.09, 0.11)}})[1]
  assert "Retrained: the models have not learned" in [c.title for c in found]


@pytest.mark.parametrize(
  ("accuracy", "gap", "fires"),
  [
    ((0.56, 0.55, 0.57), -2.0, True),
    ((0.56, 0.55, 0.57), 2.0, False),  # still remembered: a leak, not over-forgetting
    ((0.502, 0.497, 0.507), -2.0, False),  # nobody notices
  ],
)
def test_over_forgetting_needs_an_attack_and_lower_confidence(run, accuracy, gap, fires):
  table = cases.samples(cases.SMALL, 60)
  mine = table["method"] == "ga"
  table.loc[mine, "score_forgotten"] = table.loc[mine, "score_never"] + gap
  found = run({"ga": {"accuracy": accuracy}}, samples=table.to_dict("records"))[1]
  assert codes(found) == ({("over_forgotten", "ga")} if fires else set())
  if fires:
    assert "2.00 lower" in found[0].text and "100 % of the exposed" in found[0].text
    assert "Streisand" in found[0].text


@pytest.mark.parametrize(
  ("net", "reference", "level"),
  [
    ((0.05, 0.02, 0.08), (0.002, -0.002, 0.006), "caution"),
    ((0.05, 0.02, 0.08), (0.05, 0.03, 0.07), "note"),  # retraining does so too
    ((0.05, -0.01, 0.11), (0.002, -0.002, 0.006), None),
    ((-0.05, -0.08, -0.02), (0.002, -0.002, 0.006), None),
    ((0.05, math.nan, math.nan), (0.002, -0.002, 0.006), None),
  ],
)
def test_exposed_retained_samples_are_flagged(run, net, reference, level):
  key = "retained/change_net"
  found = run({"ft": {key: net}, "retrained": {key: reference}})[1]
  assert [(c.code, c.method, c.level) for c in found] == (
    [("retain_risk", "ft", level)] if level else []
  )


def test_diverged_models_are_counted(run):
  made, found = run(study=cases.study(failed={"ft": 2, "ga": 64}))
  assert {(c.code, c.method, c.level) for c in found} == {
    ("failed", "ft", "caution"),
    ("failed", "ga", "severe"),
  }
  assert "2 of 64 models diverged" in found[1].text and "Nothing is left" in found[0].text
  assert "GA" not in study_verdict.write(made, found)[2]


@pytest.mark.parametrize(
  ("change", "code"),
  [
    ({"splits": 4}, "few_splits"),
    ({"attack": Attack("sample", "normal", True, "split")}, "own_variance"),
    ({"attack": Attack("fixed", "normal", True, "model")}, "leave_out"),
  ],
)
def test_weak_designs_are_named(run, change, code):
  assert codes(run(study=cases.study(**change))[1]) == {(code, "")}


def test_the_gravest_come_first(run):
  found = run({"retrained": {"accuracy": (0.6, 0.59, 0.61)}}, study=cases.study(splits=3))[1]
  levels = [rules.LEVELS.index(c.level) for c in found]
  assert levels == sorted(levels) and len(set(levels)) > 1


def test_a_raised_interval_lies_above_chance_and_above_retraining(tmp_path):
  made = cases.data(
    tmp_path,
    ("original", "retrained", "ft", "ga", "msg", "ct"),
    changes={
      "retrained": {"accuracy": (0.51, 0.49, 0.53)},
      "ft": {"accuracy": (0.55, 0.531, 0.57)},
      "ga": {"accuracy": (0.54, 0.525, 0.56)},
      "msg": {"accuracy": (0.6, math.nan, math.nan)},
      "ct": {"accuracy": (0.4, 0.39, 0.41)},
    },
  )
  raised = [name for name in made.order if judgement.raised(made, name)]
  assert raised == ["original", "ft"]
  assert not any(judgement.raised(made, "retrained", one) for one in METRICS)


def test_a_number_without_chance_is_raised_only_beside_a_reference(tmp_path):
  klom = next(m for m in METRICS if m.name == "klom_q95")
  assert math.isnan(klom.chance)
  assert not judgement.raised(cases.data(tmp_path / "a"), "ft", klom)
  known = {"retrained": {"klom_q95": (0.9, np.nan, np.nan)}}
  assert judgement.raised(cases.data(tmp_path / "b", changes=known), "ft", klom)


UNSUSPICIOUS = {
  "auc": (0.5, 0.49, 0.51),
  "tpr_at_0.01": (0.01, 0.008, 0.012),
  "tpr_at_0.001": (0.001, 0.0005, 0.002),
}


def test_the_verdict_names_what_leaks_what_hides_and_what_is_level(run):
  methods = ("original", "retrained", "ft", "ga", "msg", "ct")
  made, found = run({"ga": UNSUSPICIOUS, "ct": UNSUSPICIOUS}, methods=methods)
  words = study_verdict.write(made, found)
  assert (
    words[2] == "Forgotten samples are recognised after MSG [0.527, 0.537] and FT [0.565, 0.577]."
  )
  assert "yet a leak in the tail" in words[3]
  assert "GA (Worst 1 % 0.660 [0.650, 0.670], retrained " in words[3]
  assert "CT (Worst 1 % 0.570 [0.560, 0.580], retrained " in words[3]
  assert words[4].endswith("does not show this for MSG.")


def test_the_verdict_names_methods_that_cannot_be_told_from_retraining(run):
  made, found = run({"ga": UNSUSPICIOUS | {"confirmed_worst": (0.51, 0.49, 0.53)}})
  assert "Not separable from retraining by this attack: GA." in study_verdict.write(made, found)


@pytest.mark.parametrize("statistic", ["tpr_at_0.01", "tpr_at_0.001", "auc"])
def test_the_verdict_looks_at_every_sign_of_a_leak(run, statistic):
  raised = UNSUSPICIOUS | {"confirmed_worst": (0.51, 0.49, 0.53)} | {statistic: (0.7, 0.6, 0.8)}
  made, found = run({"ga": raised})
  words = " ".join(study_verdict.write(made, found))
  assert "Not separable" not in words
  tail = statistic != "auc"
  assert ("leak in the tail" in words and "GA (TPR at" in words) == tail
  assert ("GA (AUC [0.600, 0.800])" in words) == (not tail)


def test_a_population_attack_below_one_half_sees_something_too(run):
  seen = {"ft": {"population": (0.45, 0.44, 0.46)}}
  made, _ = run(seen)
  assert not judgement.unseen(made, "ft", POPULATION) and judgement.raised(made, "ft", ACCURACY)
