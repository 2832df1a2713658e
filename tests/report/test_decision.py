"""The first screen: who does what is asked, whom to take, and when nothing can be said."""

import pytest
from support import report_cases as cases
from support import study_cases

from jaxmu.audit import criteria, decision
from jaxmu.audit.decision import Check, Criterion, Judgement
from jaxmu.audit.study import study_cautions, study_criteria
from jaxmu.report import benchmark, ulira
from jaxmu.settings import ReportSettings

SMALL = ("original", "retrained", "ft", "ga", "msg")
# FT and MSG do everything that is asked, GA is recognised.
GOOD = {
  "original": {"T_MIA": 0.61, "T_strongest": 0.61},
  "retrained": {"T_MIA": 0.5, "T_strongest": 0.5, "FA": 0.873, "TA": 0.868},
  "ft": {"T_MIA": 0.5, "T_strongest": 0.5, "FA": 0.873, "TA": 0.868, "RA": 0.995},
  "ga": {"T_MIA": 0.55, "T_strongest": 0.56, "FA": 0.873, "TA": 0.868, "RA": 0.995},
  "msg": {"T_MIA": 0.5, "T_strongest": 0.5, "FA": 0.873, "TA": 0.868, "RA": 0.995},
}


def decide(seeds=range(10), asked=None, **means):
  table = cases.rows(SMALL, seeds, **{**GOOD, **means})
  judged = cases.judged(cases.data(SMALL, seeds, table=table))
  return criteria.decide(*judged, asked or ReportSettings()), judged.data


def checks(found, method):
  (one,) = [one for one in found.judgements if one.method == method]
  return {c.name: check.met for c, check in zip(found.criteria, one.checks)}


def test_methods_that_do_what_is_asked_are_accepted_and_the_cheapest_of_the_best_is_taken():
  found, data = decide()
  assert found.accepted == ("ft", "msg") and found.void == ""
  assert checks(found, "ft") == dict.fromkeys([c.name for c in found.criteria], True)
  assert found.chosen == "ft"  # 13.7 times cheaper, MSG 7.4, and not separable
  words = decision.sentences(found, data.label)
  assert words[0].startswith(
    "Take FT: by the checks below its models are as good as retrained ones"
  )
  assert "for 1/13.7 of the work" in words[0] and words[0].endswith("MSG would do, too.")
  assert "Refused, by the first check that is not met: GA by “Attack”." in words
  proof = next(line for line in words if line.startswith("To check it"))
  assert "10 seeds, 4,250 forgotten samples of one split, which resolves ±0.013" in proof
  why = next(line for line in words if line.startswith("Why not simply retrain?"))
  assert "25.1 k sample-passes" in why and "With FT: 13.7 times less work" in why
  assert words[-1].startswith("Not proven: that no single sample can be recognised")


@pytest.mark.parametrize(
  ("change", "criterion"),
  [
    ({"T_MIA": 0.55, "T_strongest": 0.56}, "Attack"),
    ({"TA": 0.80}, "Test accuracy"),
    ({"FA": 0.95}, "Forget accuracy"),
    ({"FA": 0.80}, "Forget accuracy"),
    ({"TA": 0.1, "FA": 0.1}, "Works"),
    ({"l2_original": 0.0}, "Works"),
  ],
)
def test_each_criterion_refuses_what_misses_it(change, criterion):
  means = GOOD["msg"] | change
  if "l2_original" in change:
    table = cases.rows(SMALL, range(10), **GOOD)
    table.loc[table["method"] == "msg", "l2_original"] = 0.0
    judged = cases.judged(cases.data(SMALL, table=table))
    found = criteria.decide(*judged, ReportSettings())
  else:
    found, _ = decide(msg=means)
  assert checks(found, "msg")[criterion] is False and "msg" not in found.accepted


@pytest.mark.parametrize(
  ("change", "met", "note"),
  [
    ({}, True, ""),
    ({"T_MIA": 0.55, "T_strongest": 0.56}, False, ""),  # the number says it
    ({"FA": 0.95}, False, "signal hidden"),
    ({"T_MIA": 0.42}, False, "over-unlearned"),
  ],
)
def test_a_note_says_why_where_the_number_does_not(change, met, note):
  found, _ = decide(msg=GOOD["msg"] | change)
  assert attack(found, "msg") == (met, note)


def test_above_one_half_as_the_retrained_models_are_is_accepted_and_said():
  high = {"T_MIA": 0.55, "T_strongest": 0.55}
  found, _ = decide(retrained=GOOD["retrained"] | high, msg=GOOD["msg"] | high)
  assert attack(found, "msg") == (True, "as retrained")
  assert attack(found, "ft")[1] == ""  # at one half
  means = GOOD | {"retrained": GOOD["retrained"] | high, "msg": GOOD["msg"] | high}
  text = cases.markdown(cases.data(SMALL, table=cases.rows(SMALL, range(10), **means)))
  (line,) = [line for line in text.splitlines() if line.startswith("| MSG") and "✓ yes" in line]
  assert "] (as retrained) |" in line


def attack(found, method):
  """Return whether the attack fails on a method, with its note."""
  place = [one.name for one in found.criteria].index("Attack")
  (one,) = [one for one in found.judgements if one.method == method]
  return one.checks[place].met, one.checks[place].note


def test_nothing_is_left_to_attack_in_a_destroyed_model():
  found, _ = decide(msg=GOOD["msg"] | {"TA": 0.1, "FA": 0.1})
  assert checks(found, "msg")["Attack"] is None


@pytest.mark.parametrize(
  ("asked", "accepted"),
  [
    (ReportSettings(max_attack=0.6), ("ft", "ga", "msg")),
    (ReportSettings(max_attack=0.49), ()),
    (ReportSettings(min_test_accuracy=0.9), ()),
    (ReportSettings(min_speedup=10), ("ft",)),
    (ReportSettings(max_forget_gap=0.0001), ()),
  ],
)
def test_thresholds_are_the_users(asked, accepted):
  means = {"ft": GOOD["ft"] | {"FA": 0.88}, "msg": GOOD["msg"] | {"FA": 0.88}}
  found, data = decide(asked=asked, **(means if asked.max_forget_gap else {}))
  assert tuple(sorted(found.accepted)) == accepted
  if not accepted:
    words = decision.sentences(found, data.label)
    assert words[0] == "Retrain: none of 3 methods does what is asked."
    assert any("Nothing here that is cheaper does what is asked." in line for line in words)


def test_thresholds_stand_in_the_words():
  found, data = decide(
    asked=ReportSettings(
      max_attack=0.55, min_test_accuracy=0.8, max_forget_gap=0.05, min_speedup=2.0
    )
  )
  (words,) = [w for w in decision.sentences(found, data.label) if w.startswith("Asked")]
  for part in ("no attack above 0.55", "at least 0.8", "within 0.05", "more than 2 times cheaper"):
    assert part in words


@pytest.mark.parametrize(
  ("seeds", "means", "why"),
  [
    (range(2), {}, "2 seeds cannot show what seeds move; use three at least"),
    (range(1), {}, "1 seed cannot show what seeds move"),
    (
      range(5),
      {"original": {"T_MIA": 0.5, "T_strongest": 0.5}},
      "the original models show no signal",
    ),
    (range(5), {"retrained": {"TA": 0.1, "FA": 0.1}}, "the reference models have not learned"),
  ],
)
def test_nothing_is_recommended_where_nothing_can_be_told(seeds, means, why):
  found, data = decide(seeds, **means)
  first = decision.sentences(found, data.label)[0]
  assert first.startswith(f"No method can be recommended: {why}")
  text = cases.markdown(cases.data(SMALL, seeds, table=cases.rows(SMALL, seeds, **(GOOD | means))))
  assert "Take " not in text.split("## What")[0]


def test_two_seeds_are_never_as_it_must():
  table = cases.rows(SMALL, range(2), **GOOD)
  table.loc[table["method"] == "retrained", ["T_MIA", "T_strongest"]] = [[0.499] * 2, [0.501] * 2]
  text = cases.markdown(cases.data(SMALL, range(2), table=table))
  assert "as it must" not in text and "2 seeds are a hint: others may differ." in text


def test_a_method_that_an_attack_recognises_is_never_the_closest():
  """GA is nearest to retraining in accuracy, and recognised."""
  means = {"ga": GOOD["ga"], "ft": GOOD["ft"] | {"FA": 0.84}, "msg": GOOD["msg"] | {"FA": 0.83}}
  table = cases.rows(SMALL, range(10), **{**GOOD, **means})
  text = cases.markdown(cases.data(SMALL, table=table))
  for words in ("losest to retraining in accuracy: GA", "nearest", "Take GA"):
    assert words not in text


def test_the_table_of_checks_stands_on_the_first_screen():
  table = cases.rows(SMALL, range(10), **GOOD)
  first = benchmark.compose(cases.data(SMALL, table=table)).first
  (checked,) = [block for block in first.blocks if hasattr(block, "rows")]
  assert [row.label for row in checked.rows] == ["FT", "MSG", "GA"]
  assert [row.cells[0].main for row in checked.rows] == ["yes", "yes", "no"]
  assert checked.rows[2].cells[2].standing == "missed"


def test_the_choice_is_the_cheapest_of_those_that_cannot_be_told_from_the_best():
  yes, no = Check(True, ""), Check(False, "")
  given = [Judgement("a", (yes,), 2.0), Judgement("b", (yes,), 9.0), Judgement("c", (no,), 99.0)]
  assert decision.choose(given, lambda names: names) == "b"
  assert decision.choose(given, lambda names: names[:1]) == "a"
  assert decision.choose([given[2]], lambda names: names) == ""
  assert Criterion("x", "y").name == "x"


def study(tmp_path, changes, asked=None):
  data = study_cases.data(tmp_path, changes=changes)
  passes = {name: cost.passes for name, cost in data.timings.items()}
  found = study_criteria.decide(data, study_cautions.find(data), asked or ReportSettings(), passes)
  return found, data


CALM = {
  "accuracy": (0.501, 0.496, 0.506),
  "auc": (0.5, 0.49, 0.51),
  "confirmed_worst": (0.503, 0.49, 0.515),
  "tpr_at_0.01": (0.01, 0.009, 0.0105),
  "tpr_at_0.001": (0.001, 0.0009, 0.0011),
  "model/accuracy_never": (0.857, 0.854, 0.86),
  "retained/change_net": (0.001, -0.01, 0.01),
}


def test_a_study_accepts_what_its_attack_does_not_recognise(tmp_path):
  found, data = study(tmp_path, {"ft": CALM})
  assert found.accepted == ("ft",) and found.chosen == "ft" and found.void == ""
  assert checks(found, "ga")["Attack"] is False
  words = decision.sentences(found, data.label)
  assert words[0].startswith("Take FT") and "64 models of 16 splits" in words[3]


@pytest.mark.parametrize(
  ("change", "criterion"),
  [
    ({"confirmed_worst": (0.7, 0.65, 0.75)}, "Attack"),
    ({"model/accuracy_never": (0.8, 0.79, 0.81)}, "Held-out accuracy"),
    ({"retained/change_net": (0.2, 0.1, 0.3)}, "Others"),
  ],
)
def test_a_study_refuses_by_each_criterion(tmp_path, change, criterion):
  found, _ = study(tmp_path, {"ft": CALM | change})
  assert checks(found, "ft")[criterion] is False and found.chosen == ""


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({"retrained": {"accuracy": (0.55, 0.54, 0.56)}}, "the retrained models are not at one half"),
    ({"original": {"accuracy": (0.5, 0.49, 0.51)}}, "the original models show no signal"),
  ],
)
def test_a_study_that_cannot_be_trusted_recommends_nothing(tmp_path, changes, why):
  found, data = study(tmp_path, {"ft": CALM} | changes)
  assert decision.sentences(found, data.label)[0].startswith(f"No method can be recommended: {why}")
  first = ulira.compose(data).first
  assert all(row.cells[0].main == "no" for row in first.blocks[-1].rows)


def test_a_study_takes_thresholds_too(tmp_path):
  found, _ = study(tmp_path, {"ft": CALM}, ReportSettings(max_attack=0.7, min_test_accuracy=0.5))
  assert set(found.accepted) == {"ft", "ga"}
