"""Every warning fires where it must, and only there; the verdict says what the numbers say."""

import pytest
from support import report_cases as cases

from jaxmu.audit import cautions, rules, summary, verdict
from jaxmu.report.benchmark import main_table
from jaxmu.report.blocks import RAISED

SMALL = ("original", "retrained", "ft", "ga", "msg")
# A run without anything to warn of: exact means, five seeds, references as they should be.
CALM = {
  "original": {"T_MIA": 0.61},
  "retrained": {"T_MIA": 0.5, "FA": 0.873},
  "ft": {"T_MIA": 0.51, "FA": 0.86},
  "ga": {"T_MIA": 0.49, "FA": 0.86},
  "msg": {"T_MIA": 0.5, "FA": 0.86},
}


def run(table=None, seeds=range(5), methods=SMALL, **means):
  table = cases.rows(methods, seeds, **{**CALM, **means}) if table is None else table
  made = cases.data(methods, seeds, table=table)
  found = summary.summarise(made)
  return made, found, cautions.find(made, found)


def codes(found):
  return {(caution.code, caution.method) for caution in found}


def test_a_calm_run_has_no_warning():
  assert run()[2] == []


def test_a_collapsed_model_is_severe():
  found = run(ga={"TA": 0.3, "T_MIA": 0.5, "FA": 0.3})[2]
  assert codes(found) == {("collapse", "ga")}
  assert found[0].level == "severe" and "0.345 times" in found[0].text
  assert codes(run(ga={"TA": 0.5, "T_MIA": 0.5, "FA": 0.5})[2]) == set()


def test_near_chance_is_a_collapse_even_of_weak_models():
  weak = {name: {**CALM[name], "TA": 0.2, "FA": 0.2} for name in SMALL}
  assert codes(run(**weak)[2]) == set()
  found = run(**{**weak, "ga": {**weak["ga"], "TA": 0.13}})[2]
  assert codes(found) == {("collapse", "ga")}


def test_references_that_learned_nothing_are_named():
  nothing = {name: {**CALM[name], "TA": 0.1, "FA": 0.1} for name in SMALL}
  found = [c for c in run(**nothing)[2] if c.method == "retrained"]
  assert [c.title for c in found] == ["Retrained: the models have not learned"]


@pytest.mark.parametrize(("retain", "fires"), [(0.11, True), (0.14, True), (0.17, False)])
def test_retain_accuracy_near_chance_is_a_collapse_too(retain, fires):
  """Ten classes, so chance is 0.1; test accuracy is as it should be."""
  found = run(ga={"RA": retain, "T_MIA": 0.5, "FA": 0.86})[2]
  assert (("collapse", "ga") in codes(found)) is fires
  if fires:
    assert found[0].level == "severe" and found[0].title == "GA destroyed the model"
    assert found[0].text.startswith("Retain accuracy is 0.1")
    assert "; guessing gives 0.100. A useless model" in found[0].text


def unchanged(seeds):
  """Return a table in which MSG left the models of some seeds as they were."""
  table = cases.rows(SMALL, range(5), **CALM)
  table.loc[(table["method"] == "msg") & table["seed"].isin(seeds), "l2_original"] = 0.0
  table.loc[table["method"] == "original", "l2_original"] = 0.0
  return table


def test_a_method_that_changes_nothing_is_named_and_never_best():
  made, found, warned = run(unchanged(range(5)))
  assert codes(warned) == {("unchanged", "msg")} and warned[0].level == "caution"
  assert warned[0].title == "MSG changed nothing"
  assert "all 5 members equal those of the original models" in warned[0].text
  assert "msg" in cautions.markable(*run()) and "msg" not in cautions.markable(made, found, warned)
  assert "Warnings: MSG changed nothing." in " ".join(verdict.write(made, found, warned))


def test_some_members_left_alone_are_a_note():
  made, found, warned = run(unchanged([1, 3]))
  assert codes(warned) == {("partly_unchanged", "msg")} and warned[0].level == "note"
  assert "parameters of 2 of 5 members" in warned[0].text
  assert "msg" in cautions.markable(made, found, warned)


def test_without_distances_nothing_is_said_of_them():
  table = cases.rows(SMALL, range(5), **CALM).drop(columns="l2_original")
  assert codes(run(table)[2]) == set()


def test_failed_members_are_not_called_unchanged():
  table = cases.fail(unchanged(range(5)), "msg", range(5))
  assert ("unchanged", "msg") not in codes(run(table)[2])


@pytest.mark.parametrize(("attack", "fires"), [(0.42, True), (0.455, False), (0.58, False)])
def test_over_unlearning_needs_an_attack_clearly_below_one_half(attack, fires):
  assert (("over_unlearned", "ga") in codes(run(ga={"T_MIA": attack, "FA": 0.86})[2])) is fires


def test_over_unlearning_is_judged_beside_the_retrained_models():
  low = run(retrained={"T_MIA": 0.42, "FA": 0.873}, ga={"T_MIA": 0.43, "FA": 0.86})[2]
  assert ("over_unlearned", "ga") not in codes(low)
  assert ("biased_reference", "") in codes(low)


@pytest.mark.parametrize(
  ("attack", "forget", "fires"),
  [(0.5, 0.93, True), (0.5, 0.89, False), (0.53, 0.93, False), (0.5, 0.80, False)],
)
def test_a_hidden_signal_is_a_high_forget_accuracy_with_an_attack_at_one_half(
  attack, forget, fires
):
  found = run(msg={"T_MIA": attack, "FA": forget})[2]
  assert (("hidden_signal", "msg") in codes(found)) is fires


def test_non_finite_members_are_named_with_their_steps():
  table = cases.fail(cases.rows(SMALL, range(5), **CALM), "msg", [1, 4])
  found = run(table)[2]
  assert codes(found) == {("non_finite", "msg")} and found[0].level == "caution"
  assert "2 of 5 members" in found[0].text
  assert "seed 1: epoch 3 (steps 40-59); seed 4: epoch 3 (steps 40-59)" in found[0].text
  everyone = run(cases.fail(cases.rows(SMALL, range(5), **CALM), "msg", range(5)))[2]
  assert everyone[0].level == "severe" and "Nothing is left" in everyone[0].text


def test_validation_data_is_a_note():
  methods = (*SMALL, "kde")
  found = run(methods=methods, kde={"T_MIA": 0.5, "FA": 0.86})[2]
  assert codes(found) == {("uses_validation", "kde")} and found[0].level == "note"


def test_originals_without_a_signal_are_severe():
  found = run(original={"T_MIA": 0.5})[2]
  assert codes(found) == {("no_signal", "")} and found[0].level == "severe"
  # Above one half, but no further than the retrained models: still no signal.
  beside = run(original={"T_MIA": 0.56}, retrained={"T_MIA": 0.57, "FA": 0.873})[2]
  assert ("no_signal", "") in codes(beside)


def test_one_seed_must_exceed_what_the_sets_can_resolve():
  assert ("no_signal", "") in codes(run(seeds=[0], original={"T_MIA": 0.506})[2])
  assert ("no_signal", "") not in codes(run(seeds=[0], original={"T_MIA": 0.53})[2])


def test_retrained_models_off_one_half_are_weighed_against_the_size_of_the_sets():
  near = run(retrained={"T_MIA": 0.507, "FA": 0.873})[2]
  assert codes(near) == {("biased_reference", "")} and near[0].level == "note"
  assert "±0.013" in near[0].text and "that is not exceeded" in near[0].text
  far = run(retrained={"T_MIA": 0.53, "FA": 0.873})[2]
  assert far[0].level == "caution" and "more than membership" in far[0].text


def test_few_seeds_are_a_note():
  assert codes(run(seeds=range(4))[2]) == {("few_seeds", "")}


def test_the_gravest_come_first():
  table = cases.fail(cases.rows(), "ct", [3])
  found = cautions.find(cases.data(table=table), summary.summarise(cases.data(table=table)))
  levels = [rules.LEVELS.index(c.level) for c in found]
  assert levels == sorted(levels) and len(set(levels)) == 3


def sentences(**means):
  return " ".join(verdict.write(*run(**means)))


def test_the_verdict_says_that_the_benchmark_separates():
  words = sentences()
  assert "original 0.610 [" in words and "retrained 0.500 [" in words
  assert "retraining forgets, as it must" in words and "Warnings" not in words


def test_the_verdict_says_plainly_when_it_does_not():
  assert "MIA cannot separate the methods" in sentences(original={"T_MIA": 0.5})
  off = sentences(retrained={"T_MIA": 0.53, "FA": 0.873})
  assert "does not contain one half" in off and "as it must" not in off


def test_the_verdict_names_the_closest_and_those_it_cannot_separate():
  means = {
    "ft": {"T_MIA": 0.5, "FA": 0.87},
    "ga": {"T_MIA": 0.495, "FA": 0.70},
    "msg": {"T_MIA": 0.5, "FA": 0.70},
  }
  words = sentences(**means)
  found = run(**means)[1]
  best = min(found.methods, key=lambda name: found.cell(name, "RetDev").mean)
  assert best == "ft" and "Closest to retraining in accuracy: FT (RetDev 0." in words
  assert "not separable" not in words.split("Hardest")[0]
  assert "Hardest to recognise for the strongest attack: GA (accuracy 0.49" in words


def test_a_method_that_an_attack_recognises_is_never_best():
  """FT is the closest in accuracy, and nearest to one half for the loss alone."""
  means = {"ft": {"T_MIA": 0.5, "T_strongest": 0.66, "FA": 0.87}, "ga": {"T_MIA": 0.495, "FA": 0.8}}
  made, found, warned = run(**means)
  words = " ".join(verdict.write(made, found, warned))
  assert min(found.methods, key=lambda name: found.cell(name, "RetDev").mean) == "ft"
  assert "Among the methods that no attack recognises: closest to retraining" in words
  assert "Closest to retraining in accuracy: FT" not in words and "accuracy: FT" not in words
  assert "Signal remains after FT [0.6" in words
  assert "FT looks forgotten to T-MIA and is recognised by another attack" in words
  table = main_table.main(cases.judged(made))
  (row,) = [row for row in table.rows if row.method == "ft"]
  standings = {c.label: cell.standing for c, cell in zip(table.columns, row.cells)}
  assert standings["Strongest"] == RAISED
  assert {standings[key] for key in ("RetDev", "Indisc", "RTE")} == {""}


def test_attacks_that_disagree_are_named_with_their_numbers():
  found = run(ft={"T_MIA": 0.5, "T_strongest": 0.66, "FA": 0.87})[2]
  (caution,) = [c for c in found if c.code == "attacks_disagree"]
  assert caution.method == "ft" and caution.level == "caution"
  assert "T-MIA is 0.500 [" in caution.text and "is right on 0.660 [" in caution.text
  assert "(original 0.61" in caution.text and "a threshold on the confidence" in caution.text


@pytest.mark.parametrize(
  "area, level",
  [(0.40, "caution"), (0.60, "caution"), (0.5, None)],
)
def test_an_area_off_one_half_contradicts_an_attack_at_one_half(area, level):
  found = run(ft={"T_MIA": 0.5, "T_AUC": area, "FA": 0.87}, retrained={"T_AUC": 0.5, "FA": 0.873})[
    2
  ]
  levels = [c.level for c in found if c.code == "attacks_disagree" and c.method == "ft"]
  assert levels == ([level] if level else [])


def test_a_rule_that_huge_losses_turned_round_is_not_called_over_unlearning():
  """T-MIA far below one half, while forgotten samples have the lower losses."""
  found = run(ft={"T_MIA": 0.35, "T_AUC": 0.95, "T_strongest": 0.9, "FA": 0.97})[2]
  mine = {c.code: c for c in found if c.method == "ft"}
  assert "over_unlearned" not in mine and "0.95" in mine["mia_misled"].text
  found = run(ft={"T_MIA": 0.35, "T_AUC": 0.3, "FA": 0.7})[2]
  assert "over_unlearned" in {c.code for c in found if c.method == "ft"}


def test_an_area_off_retraining_alone_is_a_note():
  means = {
    "ft": {"T_MIA": 0.5, "T_AUC": 0.5, "FA": 0.87},
    "retrained": {"T_AUC": 0.52, "FA": 0.873},
  }
  found = run(**means)[2]
  assert [c.level for c in found if c.code == "area_apart" and c.method == "ft"] == ["note"]


def test_the_verdict_names_what_remains_and_what_broke():
  words = sentences(
    ft={"T_MIA": 0.55, "FA": 0.95}, ga={"TA": 0.1, "FA": 0.1, "T_MIA": 0.5}, msg={"T_MIA": 0.4}
  )
  assert "Signal remains after FT [0." in words
  assert "GA destroyed the model; MSG over-unlearned" in words


def test_the_verdict_of_one_seed_is_a_hint():
  made, found, warned = run(seeds=[0])
  words = " ".join(verdict.write(made, found, warned))
  assert "1 seed is a hint" in words and "[" not in words and "Closest" not in words
