"""Metrics: closed forms, pairing by seed, distances, and golden values of the reference."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support import golden_rules

from jaxmu.audit import distances, evaluation, formulas, metrics
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.metric import LOGITS, ROWS
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)
N, C = 200, 4
PARTS = zip(("retain", "forget", "val", "test"), np.split(np.arange(N), [100, 130, 160]))
SPLIT = SimpleNamespace(**dict(PARTS))
LABELS = RNG.integers(0, C, N)


def logits(members=3):
  """Members that know the retain and forget sets better than the others."""
  found = RNG.normal(0, 1, (members, N, C)).astype(np.float32)
  found[:, np.arange(N), LABELS] += np.where(np.arange(N) < 130, 4, 1)
  return found


def rows(seeds=(0, 1, 2), method="ft"):
  base = {"RA": 0.9, "FA": 0.8, "VA": 0.7, "TA": 0.7, "V_MIA": 0.6, "T_MIA": 0.6, "passes": 100.0}
  return [{"method": method, "seed": s, "finite": True} | base for s in seeds]


def test_closed_forms():
  assert formulas.indiscernibility(0.5) == 1
  assert formulas.indiscernibility(0.0) == formulas.indiscernibility(1.0) == 0
  assert formulas.indiscernibility(0.75) == 0.5
  assert formulas.retention_deviation(1.0, 1.0, 1.0) == 0
  assert formulas.retention_deviation(0.9, 1.2, 1.0) == pytest.approx(0.3)
  assert formulas.sape(1.0, 3.0) == 50
  assert formulas.sape(0.0, 0.0) == 0
  assert formulas.rte(2.0, 10.0) == 5
  assert formulas.rte(0.0, 10.0) == np.inf
  assert formulas.equivalent_passes(10, 5) == 35
  assert np.isnan(formulas.retention(0.5, 0.0))


@pytest.mark.parametrize("value, reference, name", [(1.2, 0.5, "value"), (0.5, -0.1, "reference")])
def test_retention_takes_accuracies_only(value, reference, name):
  with pytest.raises(ValueError, match=rf"{name} must be an accuracy in \[0, 1\]"):
    formulas.retention(value, reference)


def test_scalars_equal_the_reference():
  golden = golden_rules.load("eval_scalar")
  exact = {"rtol": 1e-12, "atol": 1e-12}
  check = lambda found, name: np.testing.assert_allclose(found, golden[name], **exact)
  check(formulas.indiscernibility(golden["mia"]), "indiscernibility")
  check(formulas.sape(*golden["sape_args"].T), "sape")
  check(formulas.retention(*golden["retention_args"].T), "retention")
  check(formulas.rte(*golden["rte_args_new_ref"].T), "rte")
  columns = ("RA", "FA", "VA", "TA", "V_MIA", "T_MIA")
  objectives = [
    formulas.search_objective(dict(zip(columns, u)), dict(zip(columns, r)))
    for u, r in zip(golden["objective_unlearned_metrics"], golden["objective_retrained_metrics"])
  ]
  check(objectives, "objective")
  check([formulas.search_score(v) for v in objectives], "objective_norm")


def test_distances_equal_the_reference():
  golden = golden_rules.load("eval_scalar")
  trained = lambda tree: {
    n: x[None] for n, x in tree.items() if "running" not in n and "num_batches" not in n
  }
  a, b = (trained(golden_rules.resnet18_weights(prefix)) for prefix in ("", "bad/"))
  found = distances.distances(a, b)
  for key, name in (
    ("l2", "dist_l2"),
    ("rel", "dist_rel"),
    ("nl2", "dist_nl2"),
    ("norm", "norm_a"),
  ):
    np.testing.assert_allclose(found[key], golden[name], rtol=1e-6)
  np.testing.assert_allclose(distances.distances(b, a)["norm"], golden["norm_b"], rtol=1e-6)


def test_objective_is_never_chosen_when_not_finite():
  good = {"RA": 0.9, "FA": 0.8, "VA": 0.7, "V_MIA": 0.5}
  values = [formulas.search_objective(good | {"V_MIA": m}, good) for m in (np.nan, 0.6, 0.5)]
  scores = [formulas.search_score(v) for v in values]
  assert scores == [np.inf, pytest.approx(0.2), 0]
  shifted = formulas.search_objective(good | {"RA": 0.6, "FA": 0.9}, good)
  np.testing.assert_allclose(shifted, [0.1, 0.1 / 3, 0, 0])


def test_accuracy_counts_largest_logits():
  values = np.array([[[3.0, 1], [0, 2], [5, 4]], [[0, 1], [0, 2], [5, 4]]])
  np.testing.assert_allclose(formulas.accuracy(values, np.array([0, 1, 1])), [2 / 3, 1 / 3])
  assert formulas.accuracy(values[0], np.array([0, 1, 1]), np.array([2])) == 0
  assert np.isnan(formulas.accuracy(values[0], np.array([0, 1, 1]), np.array([], int)))


def test_evaluate_measures_every_member():
  values = logits()
  original = LABELS.copy()
  original[165:170] = (original[165:170] + 1) % C
  found = evaluation.measure(
    values, LABELS, original, SPLIT, method="ft", seeds=(5, 6, 7), passes=30
  ).rows
  assert [row["seed"] for row in found] == [5, 6, 7]
  for k, row in enumerate(found):
    guess = values[k].argmax(-1) == LABELS
    assert row["finite"] and row["failed_steps"] == "" and row["passes"] == 30.0
    for column, index in {"RA": SPLIT.retain, "FA": SPLIT.forget, "TA": SPLIT.test}.items():
      assert row[column] == pytest.approx(guess[index].mean())
    assert row["TA_clean"] == pytest.approx(np.delete(guess[160:], range(5, 10)).mean())
    p = np.exp(values[k].astype(float))
    loss = -np.log(p[np.arange(N), LABELS] / p.sum(-1))
    assert row["loss_val"] == pytest.approx(loss[SPLIT.val].mean())
    attack = population_mia(loss[SPLIT.test], loss[SPLIT.forget])
    assert row["T_MIA"] == pytest.approx(attack.accuracy)
    assert row["T_AUC"] == pytest.approx(attack.auc)
    assert row["V_MIA"] > 0.6


def test_compat_runs_both_attacks_on_one_stream():
  values = logits(1)
  (row,) = evaluation.measure(
    values, LABELS, LABELS, SPLIT, method="ft", seeds=(0,), compat=True
  ).rows
  p = np.exp(values[0].astype(float))
  loss = -np.log(p[np.arange(N), LABELS] / p.sum(-1))
  rng = np.random.RandomState(123)
  for name, unseen in (("V_MIA", SPLIT.val), ("T_MIA", SPLIT.test)):
    found = population_mia(loss[unseen], loss[SPLIT.forget], compat=True, rng=rng)
    assert row[name] == pytest.approx(found.accuracy)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_member_is_flagged_and_alone(bad):
  values = logits()
  sound = evaluation.measure(values, LABELS, LABELS, SPLIT, method="ga", seeds=(0, 1, 2)).rows
  values[1, 3, 2] = bad
  found = evaluation.measure(values, LABELS, LABELS, SPLIT, method="ga", seeds=(0, 1, 2)).rows
  assert [row["finite"] for row in found] == [True, False, True]
  assert all(np.isnan(found[1][m.name]) for m in metrics.reading(LOGITS) if not m.word)
  assert [found[0], found[2]] == [sound[0], sound[2]]
  derived = metrics.derive(found, sound)
  assert all(np.isnan(derived[1][metric.name]) for metric in metrics.reading(ROWS))


def test_a_member_that_failed_in_training_has_no_metrics_though_its_logits_are_finite():
  failures = ["", "epoch 3 (steps 40-59)", ""]
  found = evaluation.measure(
    logits(), LABELS, LABELS, SPLIT, method="ga", seeds=(0, 1, 2), failed_steps=failures
  ).rows
  assert [row["failed_steps"] for row in found] == failures
  assert not found[1]["finite"] and np.isnan(found[1]["RA"]) and np.isfinite(found[2]["RA"])


def test_members_and_seeds_must_agree():
  with pytest.raises(ValueError, match="3 members, 2 seeds"):
    evaluation.measure(logits(), LABELS, LABELS, SPLIT, method="ft", seeds=(0, 1))


def test_derived_metrics_pair_by_seed_not_by_position():
  unlearned = rows()
  retrained = [row | {"FA": 0.5 + 0.1 * row["seed"]} for row in rows(method="retrained")]
  found = metrics.derive(unlearned, retrained)
  assert metrics.derive(unlearned, retrained[::-1]) == found
  for row in found:
    assert row["FR"] == pytest.approx(0.8 / (0.5 + 0.1 * row["seed"]))
    assert row["RetDev"] == pytest.approx(abs(row["FR"] - 1))
    assert row["Indisc"] == pytest.approx(0.8)
    assert row["SAPE_forget"] == pytest.approx(formulas.sape(0.8, 0.5 + 0.1 * row["seed"]))
  # Giving R's results to other seeds is another experiment.
  relabelled = [row | {"seed": 2 - row["seed"]} for row in retrained]
  deviations = [row["RetDev"] for row in metrics.derive(unlearned, relabelled)]
  assert deviations != [row["RetDev"] for row in found]


def test_retrained_beside_itself_is_ideal():
  for row in metrics.derive(rows(method="retrained"), rows(method="retrained")):
    assert row["RetDev"] == 0 and row["RTE_work"] == 1 and row["SAPE_forget"] == 0


def test_nomus_of_the_published_rows():
  """MUFAC and MUCAC print |m - 1/2|; values are cut after four digits (data/nomus.csv)."""
  published = pd.read_csv(Path(__file__).parent / "data" / "nomus.csv")
  assert len(published) == 45
  mia = 0.5 - published["abs_mia_minus_half"]
  found = formulas.nomus(published["test_accuracy"], mia)
  np.testing.assert_allclose(found, published["nomus"], atol=1e-4, rtol=0)
  np.testing.assert_allclose(formulas.nomus(published["test_accuracy"], 1 - mia), found)


def test_the_gap_is_a_mean_of_differences_that_needs_no_ratio():
  given = {"RA": 0.9, "FA": 0.3, "TA": 0.8, "T_MIA": 0.4, "finite": True}
  reference = {"RA": 1.0, "FA": 0.0, "TA": 0.9, "T_MIA": 0.5, "finite": True}
  found = metrics.compare(given, reference)
  assert found["gap"] == pytest.approx(0.15)
  assert found["NoMUS"] == pytest.approx((0.8 + 0.8) / 2)
  assert math.isnan(found["RetDev"])  # a ratio to nothing


def test_a_class_that_is_gone_by_chance_is_no_request_for_it():
  labels = LABELS.copy()
  labels[SPLIT.forget[:2]] = labels[SPLIT.test[:2]] = 9  # with two training samples, both forgotten
  asked = SimpleNamespace(**vars(SPLIT), control=SPLIT.test)
  values = RNG.normal(0, 1, (1, len(labels), 10))
  by_chance, wanted = (
    evaluation.measure(values, labels, labels, split, method="ft", seeds=[0]).rows[0]
    for split in (SPLIT, asked)
  )
  assert math.isnan(by_chance["TA_kept"]) and math.isnan(by_chance["J"])
  assert not math.isnan(wanted["TA_kept"]) and not math.isnan(wanted["TA_forgotten"])


def test_missing_or_double_retrained_seed_is_an_error():
  with pytest.raises(
    DataError, match=r"no retrained model of seed 2 .*'ft' with; retrained seeds: 0, 1$"
  ):
    metrics.derive(rows(), rows((0, 1), "retrained"))
  with pytest.raises(DataError, match="more than one retrained model of seed 1"):
    metrics.derive(rows((0,)), rows((0, 1, 1), "retrained"))


def test_distances_per_member():
  a = {"head": {"kernel": RNG.normal(size=(2, 3, 4))}, "norms": [RNG.normal(size=(2, 5))]}
  b = {"norms": [RNG.normal(size=(2, 5))], "head": {"kernel": RNG.normal(size=(2, 3, 4))}}
  found = distances.distances(a, b)
  flat = lambda t: np.concatenate([t["head"]["kernel"].reshape(2, -1), t["norms"][0]], 1)
  x, y = flat(a), flat(b)
  length = np.linalg.norm(x, axis=1)
  np.testing.assert_allclose(found["l2"], np.linalg.norm(x - y, axis=1))
  np.testing.assert_allclose(found["norm"], length)
  np.testing.assert_allclose(found["rel"], found["l2"] / length)
  unit = x / length[:, None] - y / np.linalg.norm(y, axis=1)[:, None]
  np.testing.assert_allclose(found["nl2"], np.linalg.norm(unit, axis=1))
  scaled = {"head": {"kernel": 3 * a["head"]["kernel"]}, "norms": [3 * a["norms"][0]]}
  np.testing.assert_allclose(distances.distances(a, scaled)["nl2"], 0, atol=1e-7)


def test_distances_do_not_depend_on_the_blocks(monkeypatch):
  a, b = [RNG.normal(size=(2, 1000))], [RNG.normal(size=(2, 1000))]
  whole = distances.distances(a, b)
  monkeypatch.setattr(distances, "_BLOCK", 7)
  for key, value in distances.distances(a, b).items():
    np.testing.assert_allclose(value, whole[key], rtol=1e-12)


def test_distances_refuse_other_trees():
  with pytest.raises(ValueError, match="shorter"):
    distances.distances({"a": np.ones((2, 3)), "b": np.ones((2, 3))}, {"a": np.ones((2, 3))})
  with pytest.raises(ValueError, match=r"different leaves: \(2, 3\) and \(3, 3\)"):
    distances.distances([np.ones((2, 3))], [np.ones((3, 3))])


def test_distance_columns_of_rows():
  a, b = [np.ones((2, 4))], [np.array([[1.0, 1, 1, 1], [1, 1, 1, 3]])]
  found = distances.add_distances([{"finite": True}, {"finite": True}], b, original=a, retrained=b)
  assert [row["l2_original"] for row in found] == [0, 2]
  assert [row["l2_retrained"] for row in found] == [0, 0]
  assert found[1]["rel_original"] == pytest.approx(2 / np.sqrt(12)) and found[0]["norm"] == 2
  failed = distances.add_distances([{"finite": False}, {"finite": True}], b, original=a)
  assert np.isnan(failed[0]["norm"]) and failed[1]["norm"] == pytest.approx(np.sqrt(12))
