"""Networks and tensors that are not what they should be, for calls that must be refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Stack(nn.Module):
  """A user's network that does with the logits what a test says."""

  change: str = ""

  @nn.compact
  def __call__(self, x, train=False):
    if self.change == "raises":
      raise RuntimeError("no\nsuch\nlayer")
    if self.change == "wrong size":
      assert x.shape[1] == 32, "images of 32 pixels"
    if self.change == "noise" and train:
      x += jax.random.normal(self.make_rng("noise"), x.shape)
    out = nn.Dense({"one": 1}.get(self.change, 4))(x.mean((1, 2)))
    if self.change == "count":
      out = out.astype(jnp.int32)
    if self.change == "two in train mode" and train:
      return out, out
    return [out] if self.change == "list" else out


class Bit(nnx.Module):
  """A module of flax's other interface."""

  def __init__(self):
    self.layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))


class Tensor:
  """A tensor of PyTorch, as far as it is asked."""

  shape, dtype = (10, 6, 6, 1), "torch.half"

  def detach(self):
    return self

  def cpu(self):
    return self

  def numpy(self):
    raise TypeError("Got unsupported ScalarType Half")


STACK = {"params": {"Dense_0": {"kernel": np.ones((1, 4), "f"), "bias": np.zeros(4, "f")}}}
ONE = {"params": {"Dense_0": {"kernel": np.ones((1, 1), "f"), "bias": np.zeros(1, "f")}}}


def stack(change, variables=STACK):
  return {"model": Stack(change), "variables": variables}
