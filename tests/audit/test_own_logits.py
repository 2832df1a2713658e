"""Anybody's logits: the same numbers as a run's, without jax, and every misuse in one line."""

import subprocess
import sys

import numpy as np
import pytest

from jaxmu.audit import audit
from jaxmu.audit import evaluation as module
from jaxmu.errors import DataError

RNG = np.random.default_rng(0)
N, C = 700, 5
FORGET, UNSEEN, RETAIN, VALIDATION = np.split(np.arange(N), [120, 320, 560])
LABELS = RNG.integers(0, C, N)


def logits(members=1, known=(), flat=(), seed=0):
  """Members that are surer of the samples `known`, and unsure of `flat` whatever their label."""
  rng = np.random.default_rng(seed)
  found = rng.normal(0, 2, (members, N, C)).astype(np.float32)
  found[:, np.arange(N), LABELS] += 1
  known = np.asarray(known, int)
  found[:, known, LABELS[known]] += 3
  flat = np.asarray(flat, int)
  found[:, flat] *= 0.3
  found[:, flat, LABELS[flat]] -= 0.5
  return found


SETS = {"forget": FORGET, "unseen": UNSEEN, "retain": RETAIN, "validation": VALIDATION}
RETRAINED = logits(3, RETAIN, seed=1)
ORIGINAL = logits(3, np.append(RETAIN, FORGET), seed=2)


def codes(found):
  return {caution.code for caution in found.cautions}


def test_one_model_and_two_sets_are_enough():
  found = audit(logits=logits(1, FORGET)[0], labels=LABELS, forget=FORGET, unseen=UNSEEN)
  assert found.recognised and list(found.rows["method"]) == ["unlearned"]
  row = found.rows.iloc[0]
  assert row["T_MIA"] > 0.65 and np.isnan(row["RA"]) and np.isnan(row["VA"])
  cell = found.summary.cell("unlearned", "T_AUC")
  assert 0.6 < cell.low < cell.mean < cell.high < 1  # one model has an interval over samples
  assert codes(found) == {"few_seeds"}
  assert "Forgotten samples are recognised: accuracy 0." in str(found) and "nan" not in str(found)


def test_what_retraining_leaves_is_no_leak():
  found = audit(logits=logits(3, RETAIN, seed=3), labels=LABELS, retrained=RETRAINED, **SETS)
  assert not found.recognised and "are not recognised beyond what retraining leaves" in str(found)
  assert {"FA", "T_MIA", "RetDev", "SVC_MIA"} <= set(found.table.columns)
  assert list(found.table.index) == ["retrained", "unlearned"]
  pairs = set(zip(found.differences["metric"], found.differences["method"]))
  assert ("T_strongest", "unlearned") in pairs


def test_a_flattened_forget_set_carries_the_caution_of_the_report():
  references = {"retrained": RETRAINED, "original": ORIGINAL}
  found = audit(logits=logits(3, RETAIN, FORGET, seed=4), labels=LABELS, **references, **SETS)
  assert found.recognised
  (caution,) = [c for c in found.cautions if c.code == "attacks_disagree"]
  assert "The unlearned model hides from T-MIA" in caution.title and "original 0." in caution.text


def test_rows_are_those_of_an_evaluation():
  split = type("Split", (), {"forget": FORGET, "test": UNSEEN, "retain": RETAIN, "val": VALIDATION})
  expected = module.measure(
    RETRAINED, LABELS, LABELS, split, method="retrained", seeds=range(3)
  ).rows
  found = audit(logits=ORIGINAL, labels=LABELS, retrained=RETRAINED, **SETS).rows
  for row, (_, other) in zip(expected, found[found["method"] == "retrained"].iterrows()):
    for name in ("FA", "V_MIA", "T_AUC", "T_strongest", "T_attack", "SVC_MIA", "loss_test"):
      assert row[name] == other[name]


def test_one_retrained_model_serves_many_and_masks_serve_as_indices():
  mask = lambda index: np.isin(np.arange(N), index)
  masks = {name: mask(index) for name, index in SETS.items()}
  one = audit(logits=ORIGINAL, labels=LABELS, retrained=RETRAINED[0], **masks)
  assert (one.rows["method"] == "retrained").sum() == 3
  listed = audit(logits=ORIGINAL.astype(float), labels=LABELS.tolist(), **SETS)
  found = one.rows[one.rows["method"] == "unlearned"]["T_strongest"].to_numpy()
  np.testing.assert_array_equal(found, listed.rows["T_strongest"].to_numpy())


def test_every_model_may_have_sets_of_its_own():
  turned = {name: np.stack([index, (index + 40) % N]) for name, index in SETS.items()}
  own, other = logits(2, RETAIN, seed=7), RETRAINED[0]
  found = audit(logits=own, labels=LABELS, retrained=other, **turned)
  assert found.results.split_per_seed and len(found.results.seeds) == 2
  for k in (0, 1):
    sets = {name: index[k] for name, index in turned.items()}
    alone = audit(logits=own[k], labels=LABELS, retrained=other, **sets).rows
    mine = found.rows[found.rows["seed"] == k].reset_index(drop=True)
    assert mine.drop(columns="seed").equals(alone.drop(columns="seed"))


def test_single_attacks_have_intervals_about_their_accuracy():
  found = audit(logits=logits(2, FORGET), labels=LABELS, forget=FORGET, unseen=UNSEEN)
  for name in ("margin", "entropy", "modified_entropy", "correctness", "histogram"):
    cell = found.summary.cell("unlearned", f"T_{name}")
    mean = found.rows[f"T_{name}"].mean()
    assert cell.mean == pytest.approx(mean) and cell.low < mean < cell.high <= 1


def test_a_failed_model_is_named_and_left_out():
  broken = logits(3, RETAIN, seed=5)
  broken[1, 4] = np.nan
  found = audit(logits=broken, labels=LABELS, retrained=RETRAINED, **SETS)
  assert found.rows["finite"].sum() == 5 and "non_finite" in codes(found)
  nothing = audit(logits=np.full((N, C), np.nan), labels=LABELS, forget=FORGET, unseen=UNSEEN)
  assert "No model is left to attack" in str(nothing) and not nothing.recognised


@pytest.mark.parametrize(
  "change, message",
  [
    ({"labels": LABELS - 1}, r"labels must lie in 0\.\.4 .* got -1\.\.3"),
    ({"labels": LABELS[:-1]}, r"logits \(1, 700, 5\) and labels \(699,\)"),
    ({"logits": np.zeros(N)}, r"unlearned logits must be floats .* got float64 \(700,\)"),
    ({"logits": np.zeros((N, C), int)}, r"must be floats .* got int64"),
    ({"forget": [0, N]}, r"forget holds indices 0\.\.700; expected 0\.\.699"),
    ({"forget": [0.5, 1.0]}, "forget must be indices or a mask, got float64"),
    ({"unseen": np.ones(3, bool)}, r"the unseen mask has shape \(3,\); expected \(700,\)"),
    ({"unseen": np.arange(100, 300)}, "forget and unseen share 20 samples .*the first is 100"),
    ({"forget": [5, 5, 6, 7, 8, 9, 10]}, "forget names a sample twice"),
    ({"logits": np.zeros((N, 1)), "labels": np.zeros(N, int)}, "one class; expected at least 2"),
    ({"forget": [1, 2]}, "at least 6"),
    ({"unseen": np.stack([UNSEEN] * 2)}, r"unseen has shape \(2, 200\); expected one row for each"),
    ({"retrained": RETRAINED[:2]}, r"retrained logits have shape \(2, 700, 5\)"),
    ({"retrained": RETRAINED[..., :4]}, "the same samples and classes"),
  ],
)
def test_misuse_is_answered_by_one_line(change, message):
  given = {"logits": logits(), "labels": LABELS, "forget": FORGET, "unseen": UNSEEN} | change
  with pytest.raises(DataError, match=message) as error:
    audit(**given)
  assert "\n" not in str(error.value)


BLOCKED = """
import sys
class Block:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow"):
      raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
from jaxmu.audit import audit, audit_scores
found = audit(logits=np.random.default_rng(0).normal(size=(60, 3)), labels=np.zeros(60, int),
              forget=np.arange(20), unseen=np.arange(20, 60))
assert len(found.rows) == 1 and callable(audit_scores)
assert not {"jax", "flax"} & set(sys.modules)
"""


def test_it_runs_where_jax_cannot_be_imported():
  found = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True)
  assert found.returncode == 0, found.stderr
