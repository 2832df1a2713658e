"""The SVC attack: against explicit loops, analytic shares, and the original's faults."""

import math

import numpy as np
import pytest
from sklearn.svm import SVC

from jaxmu.audit.attacks import svc_mia as module
from jaxmu.audit.attacks.population_scores import population_scores
from jaxmu.audit.attacks.svc_mia import (
  FEATURES,
  gap_to_retrained,
  svc_mia,
  svc_mia_many,
  svc_mia_of,
)
from jaxmu.errors import DataError

F = np.float32


def problem(seed=0, classes=5, sizes=(80, 60, 60), members=None, scale=1.0):
  """Members have larger margins; the sets follow each other: retain, test, forget."""
  rng = np.random.default_rng(seed)
  total = sum(sizes)
  labels = rng.integers(0, classes, total)
  logits = rng.normal(0, 1, (members or 1, total, classes))
  margins = rng.normal(2, 2, total) + np.repeat([1.5, 0, 0.7], sizes)
  logits[:, np.arange(total), labels] += margins
  ends = np.cumsum(sizes)
  sets = dict(zip(("retain", "test", "forget"), np.split(np.arange(total), ends[:-1])))
  logits = (logits * scale).astype(np.float32)
  return (logits if members else logits[0]), labels, sets


def binary(p):
  """Two-class logits whose class 0 has the probabilities p."""
  p = np.asarray(p, float)
  return np.stack([np.log(p), np.log1p(-p)], -1)


def naive_softmax(row):
  top = max(float(v) for v in row)
  weights = [math.exp(float(v) - top) for v in row]
  return [F(w / sum(weights)) for w in weights]


def naive_original(logits, labels):
  """The original's five features of one set, one sample and one class after another."""
  occurring = {int(label) for label in labels}
  found = {name: [] for name in FEATURES}
  for row, label in zip(logits, labels):
    p = naive_softmax(row)
    log_p = [F(math.log(q)) if q > 0 else F(math.log(F(1e-30))) for q in p]
    entropy = modified = 0.0
    for c, q in enumerate(p):
      if q > 0:
        entropy += float(q * log_p[c])
      weight = F(1) - q if c in occurring else q  # occurring anywhere, not as this sample's label
      modified += float(weight * log_p[c])  # not log(1 - p)
    found["correctness"].append([max(range(len(p)), key=lambda c: p[c]) == label])
    found["confidence"].append([p[label]])
    found["entropy"].append([F(-entropy)])
    found["modified_entropy"].append([F(-modified)])
    found["probabilities"].append(p)
  return {name: np.array(rows) for name, rows in found.items()}


def naive_exact(logits, labels):
  """The features of Song & Mittal's definitions, likewise, in double precision."""
  found = {name: [] for name in FEATURES}
  for row, label in zip(logits.astype(float), labels):
    weights = [math.exp(v - max(row)) for v in row]
    p = [w / sum(weights) for w in weights]
    others = sum(q * math.log(1 - q) for c, q in enumerate(p) if c != label and q > 0)
    found["correctness"].append([float(np.argmax(row) == label)])
    found["confidence"].append([p[label]])
    found["entropy"].append([-sum(q * math.log(q) for q in p if q > 0)])
    found["modified_entropy"].append([-(1 - p[label]) * math.log(p[label]) - others])
    found["probabilities"].append(p)
  return {name: np.array(rows) for name, rows in found.items()}


def naive_score(describe, logits, labels, sets, name):
  retain, test, forget = (describe(logits[rows], labels[rows])[name] for rows in sets)
  classifier = SVC(C=3, gamma="auto", kernel="rbf")
  classifier.fit(np.concatenate([retain, test]), [1] * len(retain) + [0] * len(test))
  return sum(answer == 0 for answer in classifier.predict(forget)) / len(forget)


@pytest.mark.parametrize("scale", [1, 8, 60])
@pytest.mark.parametrize("forget_class", [None, 2])
def test_compat_equals_the_original_written_as_loops(forget_class, scale):
  """Exactly, on 200 softmaxes, also where probabilities underflow and where classes are absent."""
  logits, labels, sets = problem(seed=scale, scale=scale)
  if forget_class is not None:
    labels[sets["forget"]] = forget_class
  labels[sets["test"]] = labels[sets["test"]] % 3
  for rows in sets.values():
    found = module._original_features(logits[rows], labels[rows])
    for name, expected in naive_original(logits[rows], labels[rows]).items():
      np.testing.assert_array_equal(found[name], expected, err_msg=name)
      assert found[name].dtype == (bool if name == "correctness" else np.float32)
  found = svc_mia(logits, labels, compat=True, **sets)
  fitted = (sets["retain"][:60], sets["test"], sets["forget"])
  for name in FEATURES:
    expected = naive_score(naive_original, logits, labels, fitted, name)
    assert found[name] == pytest.approx(expected, abs=1e-12), name


def test_features_equal_their_definitions():
  logits, labels, sets = problem(sizes=(60, 60, 80))
  found = module._exact_features(logits.astype(float), labels)
  assert set(found) == set(FEATURES)
  for name, expected in naive_exact(logits, labels).items():
    np.testing.assert_allclose(np.abs(found[name]), expected, rtol=1e-9, err_msg=name)
  scores = svc_mia(logits, labels, **sets)  # equally many of both: all are drawn
  for name in FEATURES:
    expected = naive_score(naive_exact, logits, labels, sets.values(), name)
    assert scores[name] == pytest.approx(expected, abs=1e-12), name


def test_one_forgotten_class_has_another_modified_entropy_in_the_original():
  """Forget samples are like test samples; the original's feature takes them all for members."""
  logits, labels, sets = problem(seed=3, classes=10, sizes=(400, 400, 400))
  forget, test = sets["forget"], sets["test"]
  for to, row in zip(forget, test):  # classes renamed so that each label becomes 4
    logits[to] = np.roll(logits[row], 4 - labels[row])
  labels[forget] = 4
  options = dict(features=["modified_entropy"], **sets)
  exact, faulty = (
    svc_mia(logits, labels, **options),
    svc_mia(logits, labels, compat=True, **options),
  )
  assert 0.4 < exact["modified_entropy"] < 0.9
  assert faulty["modified_entropy"] < 0.05


def test_share_follows_the_bayes_rule_on_confidence():
  """Densities 2p of members and 2(1 - p) of others: member above one half."""
  rng = np.random.default_rng(0)
  n = 1000
  u = rng.random((3, n))
  p = np.concatenate([np.sqrt(u[0]), 1 - np.sqrt(u[1]), u[2], 1 - np.sqrt(rng.random(n))])
  sets = {"retain": np.arange(n), "test": np.arange(n, 2 * n)}
  logits, labels = binary(p), np.zeros(4 * n, int)
  score = lambda rows: svc_mia(logits, labels, forget=rows, features=["confidence"], **sets)
  assert score(np.arange(2 * n, 3 * n))["confidence"] == pytest.approx(0.5, abs=0.05)
  assert score(np.arange(3 * n, 4 * n))["confidence"] == pytest.approx(0.75, abs=0.05)


def test_correctness_is_the_forget_error():
  """Where members are right more often; one minus it where they are not."""
  right = np.repeat([1, 0, 1, 0, 1, 0], [95, 5, 80, 20, 63, 37])
  logits, labels = binary(np.where(right, 0.9, 0.2)), np.zeros(300, int)
  first, second, forget = np.split(np.arange(300), 3)
  found = svc_mia(logits, labels, retain=first, test=second, forget=forget)
  assert found["correctness"] == pytest.approx(0.37)
  found = svc_mia(logits, labels, retain=second, test=first, forget=forget)
  assert found["correctness"] == pytest.approx(0.63)


def test_the_classifier_is_not_a_threshold():
  """Members in the middle: no threshold on the confidence tells them, the kernel does."""
  rng = np.random.default_rng(1)
  ends = np.concatenate([rng.uniform(0.02, 0.1, 100), rng.uniform(0.9, 0.98, 100)])
  middle, unseen = rng.uniform(0.4, 0.6, 200), rng.permutation(ends)
  p = np.concatenate([middle, unseen, middle[:30] + 0.01, unseen[:10] + 0.005])
  sets = {"retain": np.arange(200), "test": np.arange(200, 400), "forget": np.arange(400, 440)}
  found = svc_mia(binary(p), np.zeros(440, int), **sets)
  assert found["confidence"] == pytest.approx(0.25)
  assert found["probabilities"] == pytest.approx(0.25)


@pytest.mark.parametrize("sizes", [(90, 40, 30), (30, 70, 20)])
@pytest.mark.parametrize("limit", [None, 25])
def test_equal_numbers_are_drawn_at_random(monkeypatch, sizes, limit):
  logits, labels, sets = problem(sizes=sizes)
  drawn = []

  def spy(retain, test, forget, compat):
    drawn.append((retain[:, 0], test[:, 0], forget[:, 0]))
    return 0.0

  monkeypatch.setattr(module, "_non_member_share", spy)
  for seed in (0, 0, 1):
    svc_mia(logits, labels, features=["confidence"], limit=limit, seed=seed, **sets)
  p = module._exact_features(logits.astype(float), labels)["confidence"][:, 0]
  size = min(sizes[0], sizes[1], limit or 1000)
  for retain, test, forget in drawn:
    for values, name in ((retain, "retain"), (test, "test")):
      assert len(set(values)) == size
      assert set(values) <= set(p[sets[name]])
    np.testing.assert_array_equal(forget, p[sets["forget"]])
  larger = int(sizes[0] < sizes[1])
  np.testing.assert_array_equal(drawn[0][larger], drawn[1][larger])
  assert set(drawn[0][larger]) != set(drawn[2][larger])


def test_compat_takes_the_first_retain_samples_in_order(monkeypatch):
  logits, labels, sets = problem(sizes=(90, 40, 30))
  fitted = []
  monkeypatch.setattr(
    module, "_non_member_share", lambda *parts: fitted.append(parts[:2]) or parts[3]
  )
  svc_mia(logits, labels, features=["confidence"], compat=True, **sets)
  svc_mia(logits, labels, features=["confidence"], compat=True, limit=7, seed=5, **sets)
  p = module._original_features(logits, labels)["confidence"]
  for (retain, test), size in zip(fitted, (40, 7)):
    np.testing.assert_array_equal(retain, p[:size])
    np.testing.assert_array_equal(test, p[90 : 90 + size])


def test_samples_that_cannot_be_told_apart_count_half():
  logits = np.tile(np.array([3, 1, 0], np.float32), (30, 1))
  sets = {"retain": np.arange(12), "test": np.arange(12, 24), "forget": np.arange(24, 30)}
  assert svc_mia(logits, np.zeros(30, int), **sets) == dict.fromkeys(FEATURES, 0.5)
  found = svc_mia(logits, np.zeros(30, int), compat=True, **sets)
  assert found == dict.fromkeys(FEATURES, 0.0)  # libsvm's answer at zero


def test_members_do_not_influence_each_other(tmp_path):
  logits, labels, sets = problem(members=3)
  np.save(tmp_path / "logits.npy", logits)
  stored = np.load(tmp_path / "logits.npy", mmap_mode="r")
  for compat in (False, True):
    together = svc_mia_many(stored, labels, compat=compat, **sets)
    for member in range(3):
      alone = svc_mia(logits[member], labels, compat=compat, **sets)
      assert alone == {name: score[member] for name, score in together.items()}
      assert all(type(score) is float for score in alone.values())
  assert len(set(together["confidence"])) > 1


def test_masks_lists_and_index_arrays_mean_the_same():
  logits, labels, sets = problem()
  expected = svc_mia(logits, labels, **sets)
  masks = {name: np.isin(np.arange(200), rows) for name, rows in sets.items()}
  assert svc_mia(logits, labels, **masks) == expected
  assert svc_mia(logits, labels, **{name: list(rows) for name, rows in sets.items()}) == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("name", ["retain", "test", "forget"])
def test_non_finite_members_are_nan_quietly(name, compat):
  logits, labels, sets = problem(members=5, sizes=(60, 60, 60))
  sample = sets[name][3]
  wrong = (labels[sample] + 1) % 5
  damaged = logits.copy()
  damaged[0, sample, wrong] = np.nan
  damaged[1, sample, wrong] = np.inf
  damaged[2, sample, labels[sample]] = -np.inf
  damaged[3, sample, wrong] = -np.inf  # the probability zero
  zero = logits[3:4].copy()
  zero[0, sample, wrong] = -3000
  found = svc_mia_many(damaged, labels, compat=compat, **sets)
  legal = svc_mia_many(np.concatenate([zero, logits[4:]]), labels, compat=compat, **sets)
  for feature in FEATURES:
    np.testing.assert_array_equal(found[feature][:3], np.nan)
    np.testing.assert_array_equal(found[feature][3:], legal[feature])
    assert np.isfinite(legal[feature]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("scale", [1e4, 1e10, 1e30, 1.7e307])
def test_exploded_models_give_shares_quietly(scale, compat):
  logits, labels, sets = problem(sizes=(60, 60, 60))
  logits = logits.astype(float) / np.abs(logits).max() * 10 * scale
  for score in svc_mia(logits, labels, compat=compat, **sets).values():
    assert np.isnan(score) if compat and scale > 1e300 else 0 <= score <= 1  # inf in float32


def test_huge_modified_entropies_do_not_break_the_kernel():
  """libsvm's squared distances between samples near 1e10 are noise of about 1e4, of both signs."""
  rng = np.random.default_rng(0)
  small, huge = (lambda n: rng.uniform(0.1, 1, n)), (lambda n: 1e10 + rng.uniform(-2, 2, n))
  loss = np.concatenate([small(40), huge(10), small(10), huge(40), small(75), huge(25)])
  logits = np.stack([-loss, np.zeros(200)], 1)
  sets = {"retain": np.arange(50), "test": np.arange(50, 100), "forget": np.arange(100, 200)}
  found = svc_mia(logits, np.zeros(200, int), features=["modified_entropy"], **sets)
  assert found == {"modified_entropy": 0.25}


def test_gap_is_retrained_minus_method():
  assert gap_to_retrained({"confidence": 0.1}, {"confidence": 0.25, "entropy": 0}) == {
    "confidence": 0.15
  }
  method, retrained = {"entropy": np.array([0.5, np.nan])}, {"entropy": np.array([0.25, 1])}
  np.testing.assert_array_equal(gap_to_retrained(method, retrained)["entropy"], [-0.25, np.nan])


def test_gap_needs_the_same_features_and_members():
  with pytest.raises(DataError, match="retrained models lack the feature 'entropy'; run both with"):
    gap_to_retrained({"entropy": 0.1}, {"confidence": 0.1})
  with pytest.raises(
    DataError, match=r"shapes \(3,\) and \(2,\); expected one retrained model per"
  ):
    gap_to_retrained({"entropy": np.ones(3)}, {"entropy": np.ones(2)})


@pytest.mark.parametrize(
  "change, message",
  [
    ({"labels": np.zeros(7, int)}, r"logits \(1, 200, 5\) and labels \(7,\) must be"),
    ({"labels": np.arange(200) % 6}, r"labels must lie in 0\.\.4 .* got 0\.\.5"),
    ({"labels": np.arange(200) % 6 - 1}, r"labels must lie in 0\.\.4 .* got -1\.\.4"),
    ({"retain": [3]}, "retain has 1 samples; expected at least 2"),
    ({"test": []}, "test has 0 samples; expected at least 2"),
    ({"forget": []}, "forget has 0 samples; expected at least 1"),
    ({"forget": [-1]}, r"forget reaches from -1 to -1; expected indices in \[0, 200\)"),
    ({"test": [190, 200]}, r"test reaches from 190 to 200; expected indices in \[0, 200\)"),
    ({"test": [0.5, 1]}, r"test is float64 \(2,\); expected int indices or a bool mask \(200,\)"),
    ({"retain": np.ones(9, bool)}, r"retain is bool \(9,\); expected int indices or a bool mask"),
    ({"forget": [0, 1, 150]}, "forget and retain share 2 samples; expected disjoint sets"),
    (
      {"retain": [0, 1], "compat": True},
      "needs as many retain as test samples, got 2 and 60; use compat=False or fewer test samples",
    ),
  ],
)
def test_data_that_does_not_fit(change, message):
  logits, labels, sets = problem()
  with pytest.raises(DataError, match=message):
    svc_mia(logits, **{"labels": labels, **sets, **change})


def test_many_needs_an_axis_of_members():
  logits, labels, sets = problem()
  with pytest.raises(DataError, match=r"logits \(200, 5\) must be \[K, N, C\]"):
    svc_mia_many(logits, labels, **sets)


def test_options_that_do_not_exist():
  logits, labels, sets = problem()
  with pytest.raises(
    ValueError, match=r"unknown feature 'm_entropy'; .*known: confidence, correct"
  ):
    svc_mia(logits, labels, features=["m_entropy"], **sets)
  for compat in (False, True):
    with pytest.raises(ValueError, match="limit must be at least 2 samples per side, or None"):
      svc_mia(logits, labels, limit=1, compat=compat, **sets)


@pytest.mark.parametrize("limit", [None, 30])
def test_a_score_that_is_at_hand_gives_the_same_bits(limit):
  logits, labels, sets = problem(seed=4)
  scores = population_scores(logits[None], labels)
  for name in ("confidence", "entropy", "correctness"):
    found = svc_mia_of(scores[name][0], **sets, limit=limit)
    assert found == svc_mia(logits, labels, **sets, features=(name,), limit=limit)[name]
  with pytest.raises(DataError, match="retain has 1 samples; expected at least 2"):
    svc_mia_of(scores["entropy"][0], **sets | {"retain": np.array([0])})
