"""Optimizer, loss, weights of classes and smoothed labels, against loops by hand."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmu
from jaxmu.errors import MethodError
from jaxmu.settings import RecipeSettings
from jaxmu.training import objectives, own_recipe
from jaxmu.training.anchors import ANCHORS, given, of_recipe, trained_by
from jaxmu.training.own_recipe import PAPER, Recipe

pytestmark = pytest.mark.usefixtures("module_x64")
CLASSES, BATCH, EPOCHS, RATE = 3, 8, 2, 0.05


@pytest.fixture(scope="module")
def problem():
  rng = np.random.default_rng(1)
  x, y = rng.normal(size=(22, 4)), rng.integers(0, CLASSES, 22)
  model = nn.Dense(CLASSES, param_dtype=float)
  return model, model.init(jax.random.key(0), x), x, y


def train(problem, **recipe):
  model, variables, x, y = problem
  options = {"num_epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "shuffle": False}
  return jaxmu.unlearn("retrained", model, variables, retain=(x, y), **options, **recipe)["params"]


def cosine(epoch):
  return RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2


def by_hand(problem, chain, loss):
  """Train by an optimizer of optax whose rate is set anew in every epoch."""
  model, variables, x, y = problem
  params = variables["params"]
  state = chain(cosine(0)).init(params)
  for epoch in range(EPOCHS):
    for start in range(0, len(x), BATCH):
      own = x[start : start + BATCH], y[start : start + BATCH]
      mean = lambda params, own=own: jnp.mean(loss(model.apply({"params": params}, own[0]), own[1]))
      updates, state = chain(cosine(epoch)).update(jax.grad(mean)(params), state, params)
      params = optax.apply_updates(params, updates)
  return params


def close(a, b):
  return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-12), a, b)))


def hinge(logits, labels):
  right = jnp.take_along_axis(logits, labels[:, None], axis=-1)
  return jnp.sum(jax.nn.relu(1 + logits - right), axis=-1)


def entropy(logits, labels):
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


CHAINS = {
  "adamw": (optax.adamw, lambda rate: optax.adamw(rate, weight_decay=5e-4)),
  "own": (
    lambda learning_rate: optax.chain(optax.clip(0.1), optax.adam(learning_rate)),
    lambda rate: optax.chain(optax.clip(0.1), optax.adam(rate)),
  ),
  "value": (optax.rmsprop(0.01), lambda rate: optax.rmsprop(0.01)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_an_optimizer_of_optax_does_what_a_loop_does(name, problem):
  given, chain = CHAINS[name]
  with jax.numpy_dtype_promotion("standard"):
    wanted = by_hand(problem, chain, entropy)
  found = train(problem, optimizer=given)
  assert close(found, wanted)
  assert not close(found, train(problem))


def test_a_loss_of_ones_own_is_averaged_over_the_batch(problem):
  with jax.numpy_dtype_promotion("standard"):
    wanted = by_hand(problem, lambda rate: optax.sgd(rate), hinge)
  assert close(train(problem, loss=hinge, momentum=0.0, weight_decay=0.0), wanted)


def naive(logits, labels, real, weights, smoothing):
  """Cross-entropy as PyTorch defines it, sample by sample."""
  total = norm = 0.0
  for row, label, counts in zip(logits, labels, real):
    if counts:
      nll = [np.log(np.exp(row).sum()) - value for value in row]
      sharp = weights[label] * nll[label]
      spread = sum(w * each for w, each in zip(weights, nll)) / len(row)
      total += (1 - smoothing) * sharp + smoothing * spread
      norm += weights[label]
  return total / norm


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(), (0.5, 2.0, 3.0)])
def test_weights_and_smoothing_are_those_of_pytorch(weights, smoothing):
  rng = np.random.default_rng(2)
  logits, labels, real = (
    rng.normal(size=(7, 3)),
    rng.integers(0, 3, 7),
    np.array([1.0] * 5 + [0] * 2),
  )
  batch = types.SimpleNamespace(x=None, y=jnp.asarray(labels), weight=jnp.asarray(real))
  step = types.SimpleNamespace(
    forward=lambda params, stats, x, weight: (jnp.asarray(logits), stats)
  )
  loss = own_recipe.objective(Recipe(label_smoothing=smoothing, class_weights=weights))
  value, report = loss({}, {"mean": 1}, batch, step)
  assert np.isclose(value, naive(logits, labels, real, weights or (1, 1, 1), smoothing), rtol=1e-12)
  assert report.batch_stats == {"mean": 1}
  assert np.isclose(report.accuracy, (logits.argmax(1) == labels)[:5].mean())


def test_the_papers_recipe_is_one_value():
  assert (
    trained_by("original", PAPER) is of_recipe("original", RecipeSettings()) is ANCHORS["original"]
  )
  assert own_recipe.objective(PAPER) is objectives.classification
  smooth = RecipeSettings(label_smoothing=0.1)
  assert (
    of_recipe("retrained", smooth) is of_recipe("retrained", smooth) is not ANCHORS["retrained"]
  )
  assert of_recipe("retrained", smooth) is not of_recipe("original", smooth)


def test_given_models_count_the_work_of_training_them():
  sizes, hp = {"retain": 100, "forget": 10}, {"num_epochs": 4}
  assert given("original").prepare_samples(hp, sizes, {}) == 3 * 4 * 110
  assert given("retrained").prepare_samples(hp, sizes, {}) == 3 * 4 * 100
  assert given("original").phases({}) == ()


WRONG = {
  "number": (
    {"optimizer": 3},
    "optimizer is 3; expected an optimizer of optax, such as optax.adamw",
  ),
  "goes up": (
    {"optimizer": optax.scale_by_adam()},
    "goes up the gradient, so it lacks its learning",
  ),
  "wants more": ({"optimizer": lambda depth: None}, "optimizer wants an argument 'depth'"),
  "gives none": (
    {"optimizer": lambda: None},
    "optimizer gives None; expected an optimizer of optax",
  ),
  "branches": (
    {"optimizer": lambda weight_decay: optax.adam(0.1) if weight_decay > 0 else 1 / 0},
    "optimizer cannot be used: ZeroDivisionError",
  ),
  "grows": (
    {
      "optimizer": optax.GradientTransformation(
        lambda params: jnp.zeros(1), lambda g, state, p=None: (g, jnp.zeros(2))
      )
    },
    "optimizer changes shapes or types of its state",
  ),
  "mean": (
    {"loss": lambda *given: hinge(*given).mean()},
    r"loss gives .* of shape \(2,\): leave out",
  ),
  "raises": (
    {"loss": lambda logits: logits},
    r"loss cannot be applied to logits \(2, 3\).*TypeError",
  ),
  "no function": ({"loss": "hinge"}, "loss must be a function, got 'hinge'"),
  "both": ({"loss": hinge, "label_smoothing": 0.1}, "loss= was given with label_smoothing="),
  "smooth": ({"label_smoothing": 1.0}, "label_smoothing must be a number at least 0 and below 1"),
  "few": ({"class_weights": (1, 2)}, "class_weights are 2 numbers; expected 3, one for each class"),
  "zero": ({"class_weights": (1, 0, 2)}, "class_weights must be a number above 0, got 0"),
  "text": ({"class_weights": "balanced"}, "class_weights must be numbers, one for each class"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_compiled(name, problem):
  changes, message = WRONG[name]
  with pytest.raises(MethodError, match=message) as error:
    train(problem, **changes)
  assert "\n" not in str(error.value)


def test_parts_that_are_none_are_the_papers(problem):
  none = dict.fromkeys(("optimizer", "loss", "augment", "label_smoothing", "class_weights"))
  assert close(train(problem, **none), train(problem))


def test_methods_have_no_recipe(problem):
  model, variables, x, y = problem
  with pytest.raises(MethodError, match="ft has no hyper-parameter 'loss'"):
    jaxmu.unlearn("ft", model, variables, retain=(x, y), loss=hinge)
