"""Networks, how they are called, and what their parameters are."""

from jaxmu.kernels.derivatives import forward_mode
from jaxmu.models.forward import forward, takes_mask
from jaxmu.models.registry import MODELS, build, make, of_settings
from jaxmu.models.torch_weights import from_torch, to_torch
from jaxmu.models.traits import in_the_reference, stem_is_a_layer

__all__ = [
  "MODELS",
  "build",
  "forward",
  "forward_mode",
  "from_torch",
  "in_the_reference",
  "make",
  "of_settings",
  "stem_is_a_layer",
  "takes_mask",
  "to_torch",
]
