"""ResNet-18's forward and backward pass equal those of the reference implementation."""

import json
from pathlib import Path

import golden_rules
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmu import models

# Float64 results are reproducible to 1e-13; the float32 ones differ by the order of summation.
TOLERANCE = {"f64": 1e-9, "f32": 1e-4}


def test_weight_rule():
  stored = golden_rules.load("weights")
  for model, prefix in (("resnet18", ""), ("resnet18_bad", "bad/")):
    weights = golden_rules.resnet18_weights(prefix)
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


def test_two_stored_rows_of_reference_logits(x64):
  """Companion without the golden folder: eval-mode logits of the first two retain images."""
  stored = Path(__file__).parent / "data" / "resnet18_eval_logits.json"
  weights = {k: v.astype(np.float64) for k, v in golden_rules.resnet18_weights().items()}
  variables = models.from_torch("resnet18", weights)
  x = jnp.asarray(golden_rules.images("retain")[0][:2].transpose(0, 2, 3, 1), jnp.float64)
  module = models.make("resnet18", 10)
  evaluate = jax.jit(
    lambda v, x: models.forward(module, v["params"], v["batch_stats"], x, train=False)[0]
  )
  np.testing.assert_allclose(evaluate(variables, x), json.loads(stored.read_text()), atol=1e-10)


def run(variables, images, labels, train):
  """Return logits, mean cross-entropy, gradients and batch statistics."""
  module = models.make("resnet18", 10)

  def loss(params):
    logits, stats = models.forward(module, params, variables["batch_stats"], images, train=train)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
    return -jnp.mean(picked), (logits, stats)

  (value, (logits, stats)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    variables["params"]
  )
  return logits, value, gradients, stats


def close(actual, expected, tolerance):
  expected = np.asarray(expected)
  scale = max(1.0, float(np.abs(expected).max()))
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("precision", ["f64", "f32"])
def test_forward_and_backward_pass(precision, mode):
  golden = golden_rules.load("forward_resnet18")
  part = lambda key: golden[f"{precision}/{mode}/{key}"]
  tolerance = TOLERANCE[precision]
  dtype = np.float64 if precision == "f64" else np.float32
  weights = {k: v.astype(dtype) for k, v in golden_rules.resnet18_weights().items()}
  images, labels = golden_rules.images("retain")
  with jax.enable_x64(precision == "f64"):
    variables = models.from_torch("resnet18", weights)
    x = jnp.asarray(images[:16].transpose(0, 2, 3, 1), dtype)
    logits, loss, gradients, stats = run(variables, x, jnp.asarray(labels[:16]), mode == "train")
    assert logits.dtype == dtype
    found = models.to_torch("resnet18", {"params": gradients, "batch_stats": stats})
    close(logits, part("logits"), tolerance)
    close(loss, part("loss"), tolerance)
  ordered = [found[name].astype(np.float64) for name in golden["param_names"]]
  close([np.sqrt(np.sum(g**2)) for g in ordered], part("grad_l2"), tolerance)
  close([np.sum(g) for g in ordered], part("grad_sum"), 10 * tolerance)
  for key in golden:
    if key.startswith(f"{precision}/{mode}/grad/"):
      close(found[key.split("/")[-1]], golden[key], tolerance)
  if mode == "train":
    ordered = [found[name].astype(np.float64) for name in golden["bn_names"]]
    close([np.sqrt(np.sum(s**2)) for s in ordered], part("bn_l2"), tolerance)
    close([np.sum(s) for s in ordered], part("bn_sum"), tolerance)
