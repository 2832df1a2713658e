"""Each caution about inputs is there in its case, and not where all is as it should be."""

import re
from pathlib import Path

import numpy as np
import pytest
from support import own_models

from jaxmu.audit.rules import INVALID
from jaxmu.evaluation import evaluate, twins
from jaxmu.evaluation.input_cautions import find
from jaxmu.evaluation.inputs import MODELS, by_set

CLEAN = own_models.clean()
LABELS = {name: CLEAN[name] for name in own_models.SIZES}


def cautions(**change):
  """Return the cautions about inputs, by code."""
  given = {name: each for name, each in (CLEAN | change).items() if each is not None}
  models = {name: given.pop(name) for name in MODELS if name in given}
  read = by_set(models, given)
  return {caution.code: caution for caution in find(read, twins.shared(read))}


def exchanged(one, other):
  """Return the arguments with two sets in each other's place."""
  names = {one: other, other: one}
  turn = lambda sets: {name: sets[names.get(name, name)] for name in own_models.SIZES}
  return {**{model: turn(CLEAN[model]) for model in MODELS}, **turn(CLEAN)}


def with_copies(count, source="forget", target="retain", noise=0.0):
  """Return the arguments with samples of one set copied into another."""
  rng, change = np.random.default_rng(0), {}
  for model in MODELS:
    own = {name: array.copy() for name, array in CLEAN[model].items()}
    own[target][:, :count] = own[source][:, :count]
    own[target][:, :count] += noise * rng.normal(size=own[target][:, :count].shape)
    change[model] = own
  labels = LABELS[target].copy()
  labels[:count] = LABELS[source][:count]
  return change | {target: labels}


def models(seed=50, **known):
  """Return models that were trained on other sets."""
  return {
    name: own_models.logits(LABELS, sets, seed=seed + k)
    for k, (name, sets) in enumerate(known.items())
  }


def half_changed(model):
  """Return a model with the forget logits of the original."""
  return {model: CLEAN[model] | {"forget": CLEAN["original"]["forget"]}}


def surer(logits, by):
  """Return logits of retained samples with their labels' raised."""
  return logits + by * np.eye(own_models.CLASSES, dtype=np.float32)[LABELS["retain"]]


def one_class():
  rng = np.random.default_rng(1)
  y = LABELS | {"forget": np.where(rng.random(300) < 0.6, 0, LABELS["forget"])}
  known = {"original": ("retain", "forget"), "unlearned": ("retain",), "retrained": ("retain",)}
  return {
    m: own_models.logits(y, sets, seed=80 + k) for k, (m, sets) in enumerate(known.items())
  } | y


CASES = {
  "forget and unseen swapped": (exchanged("forget", "unseen"), "swapped"),
  "retain and unseen swapped": (exchanged("retain", "unseen"), "swapped"),
  "retain and forget swapped": (exchanged("retain", "forget"), "swapped"),
  "models swapped": (
    {"original": CLEAN["unlearned"], "unlearned": CLEAN["original"]},
    "swapped_models",
  ),
  "unseen was trained on": (
    models(
      original=own_models.SIZES, unlearned=("retain", "unseen"), retrained=("retain", "unseen")
    ),
    "leaked",
  ),
  "forget inside retain": (with_copies(100), "shared_samples"),
  "the same, with round-off": (with_copies(100, noise=1e-6), "shared_samples"),
  "unseen inside retain": (with_copies(30, "unseen", "retain"), "shared_samples"),
  "forget inside unseen": (with_copies(30, "forget", "unseen"), "shared_samples"),
  "two twins": (with_copies(2), "twins"),
  "nothing unlearned": ({"unlearned": CLEAN["original"]}, "unchanged"),
  "forget set left alone": (half_changed("unlearned"), "unchanged"),
  "retrained given twice": ({"retrained": CLEAN["original"]}, "same_models"),
  "unlearned given as retrained": ({"retrained": CLEAN["unlearned"]}, "same_models"),
  "retain was not trained on": (
    models(original=("forget",), unlearned=(), retrained=()),
    "retain_unknown",
  ),
  "retrained for longer": (
    {"retrained": CLEAN["retrained"] | {"retain": surer(CLEAN["retrained"]["retain"], 2.0)}},
    "other_training",
  ),
  "one class forgotten": (one_class(), "other_labels"),
  "few samples": (own_models.clean(forget=40), "few_samples"),
  "no retrained model": ({"retrained": None}, "no_retrained"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_caution_is_there_in_its_case(case):
  change, code = CASES[case]
  found = cautions(**change)
  assert code in found, set(found)
  caution = found[code]
  assert "\n" not in caution.text and "nan" not in caution.text
  assert (caution.level == "severe") == (code in INVALID)
  assert set(found) <= {code} | ALONG.get(case, set()), set(found)


ALONG = {  # what such a case brings with it
  "retrained given twice": {"swapped_models"},
  "forget inside unseen": {"other_labels"},
}


def test_the_page_has_every_code():
  page = Path(__file__).parents[2] / "docs" / "deletion_request.md"
  shown = page.read_text().split("<!-- input-cautions:begin -->")[1].split("<!-- input")[0]
  codes = set(re.findall(r"^\| `(\w+)` \|", shown, re.M))
  assert codes == {code for _, code in CASES.values()}


def test_where_all_is_right_there_is_none():
  for seed in range(1, 60):
    given = own_models.clean(seeds=1 + seed % 2, seed=seed, retain=300)
    models = {name: given.pop(name) for name in MODELS}
    read = by_set(models, given)
    assert find(read, twins.shared(read)) == [], seed


def test_models_that_memorise_nothing_are_not_called_swapped():
  for seed in range(40):
    change = models(100 + 3 * seed, original=(), unlearned=(), retrained=())
    assert not set(cautions(**change)), seed


def test_equal_logits_of_dead_models_are_no_shared_samples():
  dead = {name: np.ones_like(array) for name, array in CLEAN["original"].items()}
  found = cautions(original=dead, unlearned=dead, retrained=dead)
  assert "shared_samples" not in found and "unchanged" in found


def test_of_many_classes_some_are_looked_at():
  rng = np.random.default_rng(0)
  y = {name: rng.integers(0, 300, 20) for name in own_models.SIZES}
  model = {name: rng.normal(size=(20, 300)) for name in y}
  model["unseen"][3], y["unseen"][3] = model["forget"][5], y["forget"][5]
  (found,) = twins.shared(by_set({"original": model, "unlearned": model}, y))
  assert (found.one, found.other, found.here, found.there) == ("forget", "unseen", 5, 3)
  y["unseen"][3] += 1 if y["unseen"][3] < 299 else -1  # the label counts, too
  assert twins.shared(by_set({"original": model, "unlearned": model}, y)) == []


def test_the_first_shared_sample_is_named():
  found = cautions(**with_copies(100))["shared_samples"]
  assert found.title == "Forgotten samples are among the retained ones"
  assert "share 100 of the 300 samples of forget (forget 0 is retain 0)" in found.text


def test_inputs_that_look_wrong_leave_the_verdict_open():
  found = evaluate(**CLEAN | exchanged("forget", "unseen"))
  assert found.verdict.outcome == "undecided" and found.cautions[0].level == "severe"
  assert "forget and unseen samples look swapped" in str(found.verdict)
  assert evaluate(**CLEAN | {"unlearned": CLEAN["original"]}).verdict.outcome == "failed"


def test_one_seed_is_a_note_of_the_audit():
  codes = {caution.code for caution in evaluate(**own_models.clean(seeds=1)).cautions}
  assert "few_seeds" in codes and not codes & {"few_samples", "no_retrained", *INVALID}
