"""SRL: random labels on forget samples, and nothing else (methods.md 2.3), in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, relabelling
from support.relabelling import HP, INDEX, LABELS, ORDER, close, execute

from jaxmu.errors import MethodError
from jaxmu.training import losses
from jaxmu.training.task import Batch
from jaxmu.unlearning.parts import random_labels

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

KEY = jax.random.key(4)


def batch(n=1000, seed=0, weight=None):
  """Return a batch of two retain samples for each forget sample, without images."""
  rng = np.random.default_rng(seed)
  labels = jnp.asarray(rng.integers(0, 5, n), jnp.int32)
  origin = jnp.asarray(np.arange(n) % 3 == 2, jnp.int32)
  return Batch(None, labels, weight, origin, jnp.asarray(rng.permutation(n)))


def test_without_shuffling_it_is_a_loop_over_forget_then_retain():
  found, values, _, rates = execute("srl", HP, random_labels=LABELS)
  wanted, reported = relabelling.loop(np.concatenate([INDEX["forget"], INDEX["retain"]]))
  close(found, wanted)
  close(values.reshape(-1), reported)
  np.testing.assert_array_equal(rates, np.full((2, 6), HP["learning_rate"]))


def test_an_injected_order_counts_retain_samples_first():
  found, _, _, _ = execute("srl", HP, random_labels=LABELS, union_order=ORDER)
  wanted, _ = relabelling.loop(np.concatenate([INDEX["retain"], INDEX["forget"]])[ORDER])
  close(found, wanted)


def test_labels_are_drawn_anew_at_every_visit_unless_given():
  """At rate 0 the logits stay, so a loss changes from epoch to epoch with its labels alone."""
  still = {**HP, "learning_rate": 0.0}
  _, drawn, accuracies, _ = execute("srl", still)
  assert (np.abs(drawn[0, :2] - drawn[1, :2]) > 1e-3).all()  # 10 forget samples lie in these two
  close(drawn[0, 2:], drawn[1, 2:])
  close(accuracies[0], accuracies[1])  # on true labels
  _, given, _, _ = execute("srl", still, random_labels=LABELS)
  close(given[0], given[1])


def test_drawn_labels_are_uniform_and_do_not_exclude_the_true_class():
  whole = batch(60_000)
  labels = np.asarray(random_labels.relabelled(whole, 5, None, KEY))
  forget = np.asarray(whole.origin) == 1
  np.testing.assert_array_equal(labels[~forget], np.asarray(whole.y)[~forget])
  for true in range(5):
    drawn = labels[forget & (np.asarray(whole.y) == true)]
    counts = np.bincount(drawn, minlength=5)
    chi_square = np.sum((counts - len(drawn) / 5) ** 2) / (len(drawn) / 5)
    assert chi_square < 23.5  # 99.99 % of chi^2 with 4 degrees of freedom
  other = np.asarray(random_labels.relabelled(whole, 5, None, jax.random.key(5)))
  assert np.mean(other[forget] == labels[forget]) == pytest.approx(0.2, abs=0.02)


def test_given_labels_follow_their_samples():
  table, mixed = jnp.arange(1000) % 5, batch()
  labels = np.asarray(random_labels.relabelled(mixed, 5, table, KEY))
  forget = np.asarray(mixed.origin) == 1
  np.testing.assert_array_equal(labels[forget], np.asarray(mixed.index)[forget] % 5)
  np.testing.assert_array_equal(labels[~forget], np.asarray(mixed.y)[~forget])


def test_the_loss_is_the_pair_form_over_real_samples():
  """(|B_r| CE(B_r) + |B_f| CE(B_f, random)) / (|B_r| + |B_f|), whatever padding holds."""
  real, table = np.arange(30) < 20, jnp.arange(30) % 5
  mixed = batch(30, weight=jnp.asarray(real, float))
  logits = jax.random.normal(KEY, (30, 5))
  spoiled = jnp.where(real[:, None], logits, 1e3)
  known = contract.step(
    key=KEY, aux=random_labels.Relabelling(table), forward=lambda *given: (spoiled, "moved")
  )
  value, report = random_labels.loss(None, None, mixed, known)
  forget = np.asarray(mixed.origin) == 1
  total = 0.0
  for part, labels in ((~forget & real, mixed.y), (forget & real, table[mixed.index])):
    total += float(part.sum()) * losses.mean(losses.cross_entropy(logits[part], labels[part]))
  assert float(value) == pytest.approx(float(total) / 20, rel=1e-12)
  right = np.argmax(np.asarray(logits), 1) == np.asarray(mixed.y)
  assert float(report.accuracy) == pytest.approx(right[real].mean())
  assert report.batch_stats == "moved"


@pytest.mark.parametrize("labels", [np.arange(9), np.zeros((10, 1), int), np.zeros(10)])
def test_labels_of_the_wrong_form_are_refused(labels):
  message = r"^random_labels must hold 10 integers, one per forget sample, got (int|float)64 \("
  with pytest.raises(MethodError, match=message):
    random_labels.replaced_labels(relabelling.view(random_labels=jnp.asarray(labels)))


def test_a_table_of_integers_marks_other_places_with_minus_one():
  table = np.asarray(
    random_labels.replaced_labels(relabelling.view(random_labels=jnp.asarray(LABELS)))
  )
  np.testing.assert_array_equal(table[INDEX["forget"]], LABELS)
  assert (np.delete(table, INDEX["forget"]) == -1).all()
  assert len(table) == sum(problems.SIZES.values())
