"""ResNet-18's and TinyViT's forward and backward pass equal those of the reference."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden_rules

from jaxmu import models

# Float64 results are reproducible to 1e-13; the float32 ones differ by the order of summation.
TOLERANCE = {"f64": 1e-9, "f32": 1e-4}


class Case(NamedTuple):
  """A network of the golden folder: how its files call it, how many images, and its options."""

  name: str
  images: int
  options: dict[str, Any]
  weights: Any


CASES = {
  "resnet18": Case("resnet18", 16, {}, golden_rules.resnet18_weights),
  "tinyvit": Case("vit11m", 8, {"drop_path": 0.0}, golden_rules.tinyvit_weights),
}


def test_weight_rule():
  stored = golden_rules.load("weights")
  sets = {case.name: case.weights() for case in CASES.values()}
  sets["resnet18_bad"] = golden_rules.resnet18_weights("bad/")
  for model, weights in sets.items():
    assert list(weights) == list(stored[f"{model}/names"])
    assert [list(w.shape) for w in weights.values()] == [
      json.loads(shape) for shape in stored[f"{model}/shapes"]
    ]
    first = [float(w.ravel()[0]) for w in weights.values()]
    np.testing.assert_array_equal(first, stored[f"{model}/first"])
    total = [w.astype(np.float64).sum() for w in weights.values()]
    np.testing.assert_allclose(total, stored[f"{model}/sum"], rtol=0, atol=1e-9)


def test_data_rule():
  stored = golden_rules.load("data")
  for split in golden_rules.SPLITS:
    images, labels = golden_rules.images(split)
    np.testing.assert_array_equal(labels, stored[f"{split}/y"])
    assert golden_rules.sha256(images) == str(stored[f"{split}/sha256"])
  np.testing.assert_array_equal(golden_rules.union_order(), stored["union_order"])


def load(model, dtype):
  """Return the golden variables of a network."""
  weights = CASES[model].weights()
  return models.from_torch(model, {name: value.astype(dtype) for name, value in weights.items()})


def batch(count, dtype):
  """Return the first retain images and their labels."""
  images, labels = golden_rules.images("retain")
  return jnp.asarray(images[:count].transpose(0, 2, 3, 1), dtype), jnp.asarray(labels[:count])


@pytest.mark.parametrize("model", CASES)
def test_two_stored_rows_of_reference_logits(x64, model):
  """Companion without the golden folder: eval-mode logits of the first two retain images."""
  stored = Path(__file__).parent / "data" / f"{model}_eval_logits.json"
  variables, (x, _) = load(model, np.float64), batch(2, np.float64)
  module = models.make(model, 10)
  evaluate = jax.jit(
    lambda v, x: models.forward(module, v["params"], v["batch_stats"], x, train=False)[0]
  )
  np.testing.assert_allclose(evaluate(variables, x), json.loads(stored.read_text()), atol=1e-10)


def run(module, variables, images, labels, train):
  """Return logits, mean cross-entropy, gradients and batch statistics."""

  def loss(params):
    logits, stats = models.forward(module, params, variables["batch_stats"], images, train=train)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
    return -jnp.mean(picked), (logits, stats)

  (value, (logits, stats)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    variables["params"]
  )
  return logits, value, gradients, stats


def close(actual, expected, tolerance):
  """Compare where the reference has a value; its attention tables have no eval-mode gradient."""
  expected = np.asarray(expected)
  scale = max(1.0, float(np.nanmax(np.abs(expected))))
  known = ~np.isnan(expected)
  np.testing.assert_allclose(
    np.asarray(actual)[known], expected[known], rtol=0, atol=tolerance * scale
  )


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
  ("model", "precision"),
  [
    *(("resnet18", "f64"), ("resnet18", "f32"), ("tinyvit", "f64")),
    pytest.param("tinyvit", "f32", marks=pytest.mark.slow),
  ],
)
def test_forward_and_backward_pass(model, precision, mode):
  case = CASES[model]
  golden = golden_rules.load(f"forward_{case.name}")
  part = lambda key: golden[f"{precision}/{mode}/{key}"]
  tolerance = TOLERANCE[precision]
  dtype = np.float64 if precision == "f64" else np.float32
  module = models.make(model, 10, **case.options)
  with jax.enable_x64(precision == "f64"):
    variables, images = load(model, dtype), batch(case.images, dtype)
    logits, loss, gradients, stats = run(module, variables, *images, mode == "train")
    assert logits.dtype == dtype
    tree = {"params": gradients, "batch_stats": stats}
    found = models.to_torch(model, tree, tensors=False)
    close(logits, part("logits"), tolerance)
    close(loss, part("loss"), tolerance)
  names = [str(name) for name in golden["param_names"]]
  silent = [name for name, value in zip(names, part("grad_l2")) if np.isnan(value)]
  tables = [name for name in names if name.endswith("attention_biases")]
  assert silent == (tables if mode == "eval" else [])
  ordered = [found[name].astype(np.float64) for name in names]
  close([np.sqrt(np.sum(g**2)) for g in ordered], part("grad_l2"), tolerance)
  close([np.sum(g) for g in ordered], part("grad_sum"), 10 * tolerance)
  for key in golden:
    if key.startswith(f"{precision}/{mode}/grad/"):
      close(found[key.split("/")[-1]], golden[key], tolerance)
  if mode == "train":
    ordered = [found[name].astype(np.float64) for name in golden["bn_names"]]
    close([np.sqrt(np.sum(s**2)) for s in ordered], part("bn_l2"), tolerance)
    close([np.sum(s) for s in ordered], part("bn_sum"), tolerance)
