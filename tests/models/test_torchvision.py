"""Networks of torchvision's names compute what torchvision computes with the same weights."""

import json
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import torchvision_rules as rules

from jaxmu import models

STORED = Path(__file__).parent / "data" / "torchvision_logits.json"  # made by torchvision_rules
TOLERANCE = 1e-4  # of float32 logits of up to 7


def logits(name, variables, x, lowering="auto"):
  module = models.make(name, rules.CLASSES, lowering=lowering)
  stats = variables.get("batch_stats", {})
  evaluate = lambda params, stats, x: models.forward(module, params, stats, x, train=False)[0]
  return np.asarray(jax.jit(evaluate)(variables["params"], stats, x))


@pytest.mark.parametrize("name", rules.SIZES)
def test_two_stored_rows_of_torchvisions_logits(name):
  """Companion without torchvision, of stock convolutions, which compile quickly."""
  variables, x = models.from_torch(name, rules.weights(name)), rules.images(rules.SIZES[name])
  found = logits(name, variables, x, "lax")
  np.testing.assert_allclose(found, json.loads(STORED.read_text())[name], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module", params=rules.SIZES)
def network(request):
  """Return a name and torchvision's network of that name, with random weights."""
  reason = "it is what the networks are compared with"
  pytest.importorskip("torch", reason=reason)
  if find_spec("torchvision") is None:
    pytest.skip(reason)
  return request.param, rules.network(request.param)


def test_the_stored_rows_are_torchvisions(network):
  name, model = network
  found = rules.logits(model, rules.images(rules.SIZES[name]))
  np.testing.assert_allclose(found, json.loads(STORED.read_text())[name], rtol=0, atol=1e-5)


def test_logits_at_224_pixels(network):
  name, model = network
  if name == "vit_b_16":  # whose parameters are for images of one size
    model = rules.network(name, 224)
  x = rules.images(224, 1)
  found = logits(name, models.from_torch(name, model), x)
  np.testing.assert_allclose(found, rules.logits(model, x), rtol=0, atol=TOLERANCE)


def test_round_trip_through_a_wrapped_module(network):
  """Bits, order and types are those of `state_dict()`, and it loads strictly."""
  import torch

  name, model = network
  variables = models.from_torch(name, torch.nn.DataParallel(model))
  back, own = models.to_torch(name, variables), model.state_dict()
  assert list(back) == list(own)
  assert all(torch.equal(back[key], own[key]) for key in own)
  assert all(back[key].dtype == own[key].dtype for key in own)
  fresh = rules.empty(name)
  assert not fresh.load_state_dict(back, strict=True).missing_keys
  x = rules.images(rules.SIZES[name])
  np.testing.assert_array_equal(rules.logits(fresh.eval(), x), rules.logits(model, x))


def test_one_step_of_training(network, x64):
  """Logits, gradients and batch statistics in train mode, in float64: ReLUs are not smooth."""
  import torch

  name, model = network
  before = {key: value.clone() for key, value in model.state_dict().items()}
  model.double().train().zero_grad()
  variables, x = models.from_torch(name, model), rules.images(rules.SIZES[name], 4).astype(float)
  module = models.make(name, rules.CLASSES, lowering="lax")

  def loss(params, stats):
    out, stats = models.forward(module, params, stats, x, train=True)
    return jnp.mean(jnp.square(out)), (out, stats)

  step = jax.jit(jax.grad(loss, has_aux=True))
  gradients, (out, stats) = step(variables["params"], variables.get("batch_stats", {}))
  found = models.to_torch(name, {"params": gradients, "batch_stats": stats})
  wanted = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
  wanted.square().mean().backward()
  expected = {key: value.grad for key, value in model.named_parameters()}
  expected |= {key: value for key, value in model.named_buffers() if "running" in key}
  np.testing.assert_allclose(out, wanted.detach().numpy(), rtol=0, atol=1e-10)
  for key, value in expected.items():
    scale = max(1.0, float(value.abs().max()))
    np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-10 * scale, err_msg=key)
  model.float().eval().load_state_dict(before)
