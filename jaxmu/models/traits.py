"""What methods must know of a network as a whole: traits that its class declares, or defaults.

A network declares one as a class variable: `stem_is_a_layer: ClassVar[bool] = False`.
"""

import flax.linen as nn


def stem_is_a_layer(module: nn.Module) -> bool:
  """Tell whether the stem is a layer of the network itself, as CFW and KDE require to touch it.

  TinyViT's is a part of its patch embedding, where the reference does not look (methods.md 6.3,
  6.6).
  """
  return getattr(module, "stem_is_a_layer", True)


def in_the_reference(module: nn.Module) -> bool:
  """Tell whether the reference has this network; its bad teacher is then a ResNet-18."""
  return getattr(module, "in_the_reference", False)


def has_linen_layers(module: nn.Module) -> bool:
  """Tell whether layers are linen's, which can be told apart while the network is called."""
  return getattr(module, "has_linen_layers", True)
