"""Networks, how they are called, and what their parameters are."""

from jaxmu.kernels.derivatives import forward_mode
from jaxmu.models.forward import forward, takes_mask
from jaxmu.models.registry import MODELS, build, make
from jaxmu.models.torch_weights import from_torch, to_torch

__all__ = [
  "MODELS",
  "build",
  "forward",
  "forward_mode",
  "from_torch",
  "make",
  "takes_mask",
  "to_torch",
]
