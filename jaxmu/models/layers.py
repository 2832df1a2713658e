"""The parametrised layers that networks are made of, beside batch normalisation itself."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
from jax import Array

from jaxmu.kernels import derivatives
from jaxmu.kernels.compiler_hints import after
from jaxmu.kernels.conv import Choice, conv
from jaxmu.kernels.depthwise import depthwise_conv
from jaxmu.kernels.products import kernel_gradient
from jaxmu.models import initialisers
from jaxmu.models.norm import BatchNorm


class LayerNorm(nn.LayerNorm):
  """Normalise x [..., C] over C by PyTorch's conventions.

  Epsilon is 1e-5, and the variance does not cancel in float32.
  """

  epsilon: float = 1e-5
  use_fast_variance: bool = False

  def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
    # Flax asks what float64 and float32 make, which jax refuses to say under strict promotion.
    with jax.numpy_dtype_promotion("standard"):
      return super().__call__(x, mask=mask)


class Conv(nn.Module):
  """Convolve x [B, H, W, I]; kernel [k, k, I, features], He-normal with fan_out.

  `depthwise` convolves each channel with a kernel of its own, [k, k, 1, I]. There is a bias
  [features] where `bias_init` is given.
  """

  features: int
  size: int = 3
  stride: int = 1
  padding: int = 0
  lowering: Choice = "auto"
  depthwise: bool = False
  kernel_init: Callable = initialisers.he_normal_out
  bias_init: Callable | None = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    inputs = 1 if self.depthwise else x.shape[-1]
    shape = (self.size, self.size, inputs, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, x.dtype)
    strides, edge = (self.stride, self.stride), (self.padding, self.padding)
    convolve = depthwise_conv if self.depthwise else conv
    y = convolve(x, kernel, strides, (edge, edge), self.lowering)
    if self.bias_init is None:
      return y
    return y + self.param("bias", self.bias_init, (self.features,), x.dtype)[None, None, None]


class ConvNorm(nn.Module):
  """Apply a convolution without bias and batch normalisation to x [B, H, W, I].

  `zero_scale` starts the normalisation's scale at 0; the other fields are those of `Conv`.
  """

  features: int
  size: int
  stride: int
  padding: int
  lowering: Choice = "auto"
  depthwise: bool = False
  kernel_init: Callable = initialisers.he_normal_out
  zero_scale: bool = False

  @nn.compact
  def __call__(self, x: Array, train: bool, mask: Array | None = None) -> Array:
    geometry = self.features, self.size, self.stride, self.padding
    convolve = Conv(*geometry, self.lowering, self.depthwise, self.kernel_init, name="conv")
    x = convolve(x)
    return BatchNorm(zero_scale=self.zero_scale, name="norm")(x, train=train, mask=mask)


class Linear(nn.Module):
  """Map x [..., I] to [..., features]; kernel and bias start uniform in +-1/sqrt(I).

  With `std` the kernel starts normal with that standard deviation, and the bias at 0; `kernel_init`
  and `bias_init` are other starts of the one and the other.
  """

  features: int
  std: float | None = None
  kernel_init: Callable | None = None
  bias_init: Callable | None = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    fan_in = x.shape[-1]
    weights: Callable[..., Array] = partial(initialisers.default_reset, fan_in=fan_in)
    biases, std = weights, self.std
    if std is not None:
      weights = lambda *args: std * initialisers.unit_normal(*args)
      biases = nn.initializers.zeros
    weights, biases = self.kernel_init or weights, self.bias_init or biases
    kernel = self.param("kernel", weights, (fan_in, self.features), x.dtype)
    bias = self.param("bias", biases, (self.features,), x.dtype)
    # One flat product: XLA's CPU backend is slow at products with several batch axes.
    y = derivatives.form(_product)(x.reshape(-1, fan_in), kernel) + bias[None]
    return y.reshape(*x.shape[:-1], self.features)


@jax.custom_vjp
def _product(x, kernel):
  return x @ kernel


def _product_backward(residuals, dy):
  """Compute the kernel's gradient last, so that an optimizer can update the kernel in place."""
  x, kernel = residuals
  dx = (dy @ kernel.T).astype(x.dtype)
  return dx, after(kernel_gradient(x, dy).astype(kernel.dtype), dx)


_product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)
