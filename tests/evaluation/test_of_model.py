"""Models and images: their logits are judged, and images tell which samples two sets share."""

import jax
import numpy as np
import pytest
from support import problems
from support.refusals import refused
from support.user_networks import Stock, initial

from jaxmu import api
from jaxmu.errors import DataError, ModelError
from jaxmu.evaluation import evaluate, verify


@pytest.fixture(scope="module")
def stock():
  return Stock(), initial(Stock(), train=False)


@pytest.fixture(scope="module")
def sets():
  x, y = problems.samples()
  ends = {"retain": slice(0, 20), "forget": slice(20, 29), "unseen": slice(29, 38)}
  return {name: (x[part], y[part]) for name, part in ends.items()}


@pytest.fixture(scope="module")
def moved(stock):
  _, variables = stock
  return jax.tree.map(lambda leaf: leaf * np.float32(1.1), variables)


@pytest.fixture(scope="module")
def found(stock, moved, sets):
  model, variables = stock
  seeds = [moved, variables]
  return evaluate(model=model, original=variables, unlearned=seeds, retrained=seeds, **sets)


def test_logits_are_those_of_predict(found, stock, moved, sets):
  model, variables = stock
  x = np.concatenate([images for images, _ in sets.values()])
  np.testing.assert_array_equal(found.given.logits["original"][0], api.predict(model, variables, x))
  np.testing.assert_array_equal(found.given.logits["unlearned"][0], api.predict(model, moved, x))
  assert found.given.seeds == 2 and found.given.shared == ()
  assert "shared_samples" not in {caution.code for caution in found.cautions}


def test_images_tell_what_two_sets_share_and_evidence_keeps_it(stock, moved, sets, tmp_path):
  model, variables = stock
  images, labels = (np.concatenate([sets["retain"][k], sets["forget"][k][:4]]) for k in (0, 1))
  given = {**sets, "retain": (images, labels)}
  found = evaluate(model=model, original=variables, unlearned=moved, **given)
  caution = next(c for c in found.cautions if c.code == "shared_samples")
  assert "share 4 of the 9 samples of forget" in caution.text
  assert found.verdict.outcome == "undecided"
  found.report(tmp_path)
  again = verify(tmp_path)
  assert again.sound and "images are not in the evidence" in again.notes[0]


def test_sets_are_positions_in_one_array_as_well(found, stock, moved):
  model, variables = stock
  seeds, places = [moved, variables], {"retain": range(20), "forget": range(20, 29)}
  other = evaluate(
    model=model,
    data=problems.samples(),
    original=variables,
    unlearned=seeds,
    retrained=seeds,
    **places,
    unseen=np.arange(29, 38),
    memory_limit=0,
  )
  for name, logits in found.given.logits.items():
    np.testing.assert_array_equal(other.given.logits[name], logits)
  assert other.given.images == found.given.images  # their hashes


def test_misuse_is_answered_by_one_line(stock, sets):
  model, variables = stock
  call = lambda **change: evaluate(
    **{"model": model, "original": variables, "unlearned": variables, **sets, **change}
  )
  refused(lambda: call(forget=sets["forget"][1]), DataError, "positions without data")
  refused(lambda: call(unlearned=[]), DataError, "unlearned is an empty list")
  refused(lambda: call(unlearned={}), ModelError, "params")
  x, y = sets["forget"]
  refused(lambda: call(data=(x, y)), DataError, "is a pair (x, y), beside data=")
  refused(lambda: call(data=(x, y), model=None), DataError, "expected model=")
  refused(lambda: call(forget=(x, y + 9)), DataError, "labels must lie in")


def test_pixels_are_normalised_on_the_way_into_the_network(stock, sets):
  """And a seed without a model, as `jaxmu.unlearn` leaves it, is refused by name."""
  model, variables = stock
  pixels = {
    name: ((x * 32 + 128).clip(0, 255).astype(np.uint8), y) for name, (x, y) in sets.items()
  }
  how = {"mean": 0.5, "std": 0.125}
  given = {"model": model, "original": variables, "unlearned": variables}
  found = evaluate(**given, **pixels, **how)
  x = np.concatenate([images for images, _ in pixels.values()])
  own = api.predict(model, variables, x, **how)
  np.testing.assert_array_equal(found.given.logits["unlearned"][0], own)
  call = lambda **change: evaluate(**{**given, **sets, **change})
  refused(
    lambda: call(unlearned=[variables, None]), DataError, "unlearned[1] is None, as of a mode"
  )
  labels = {name: y for name, (_, y) in sets.items()}
  logits = {name: own[: len(y)] for name, y in labels.items()}
  refused(
    lambda: evaluate(original=logits, unlearned=logits, **labels, mean=0.5),
    DataError,
    "preprocess=, mean=, std=, memory_limit= are of images; expected model= beside them",
  )
