"""Which images a network is made for; asked when it is traced, so at every door."""

from collections.abc import Container

from jax import Array

from jaxmu.errors import ModelError


def check_image_size(name: str, x: Array, sizes: Container[int], words: str) -> None:
  """Raise `ModelError` unless both sides of x [B, H, W, C] are among `sizes`.

  What is no batch of images is left to the first convolution, which says more.
  """
  if len(x.shape) == 4 and not all(side in sizes for side in x.shape[1:3]):
    raise ModelError(
      f"{name} got images of {x.shape[1]} x {x.shape[2]} pixels; expected {words}: resize them, or "
      "choose another network"
    )
