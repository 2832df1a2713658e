"""Convolutions, and the choice of how each is computed.

XLA's CPU backend rewrites convolutions into its fast layout only outside loops (jax issue 12868);
inside a `scan` the gradient of a stock convolution is tens of times slower. `conv_passes.py` has
ways that stay fast there; on other backends the stock convolution is used. `lowering` chooses by
rule, from measurements on a CPU with AVX-512 (`bench/conv.py`); a network's field `lowering` may
hold another choice: one name for all, or a table by the `case` of each convolution, as
`jaxmu.execution.lowerings` measures it on the device at hand.
"""

import collections
import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
from jax import Array

from jaxmu.errors import ModelError
from jaxmu.kernels import derivatives, winograd
from jaxmu.kernels.conv_passes import LOWERINGS, canonical, convolve
from jaxmu.kernels.products import Padding, Pair

Choice = str | tuple[tuple[str, str], ...]  # a lowering's name, or pairs (case, name)
LEAST = 32  # channels that pay for the transforms of Winograd
NARROW = 576  # longest patch, 3 x 3 x 64, for which one large step beats many small ones


def lowering(
  image: Sequence[int], kernel: Sequence[int], strides: Pair, padding: Padding, backend: str
) -> str:
  """Choose "lax" or a name in `LOWERINGS` for one convolution, from static shapes.

  Args: image [B, H, W, I], kernel [h, w, I, O], `backend` as `jax.default_backend()` names it.
  """
  if backend != "cpu":
    return "lax"
  if kernel[0] == kernel[1] == 1 and padding == ((0, 0), (0, 0)):
    return "taps"
  largest = max(image[1:3])
  narrow = kernel[0] * kernel[1] * kernel[2] <= NARROW
  if largest <= 2:
    return "dense" if narrow else "taps"
  if winograd.fits(kernel, strides) and min(kernel[2:]) >= LEAST:
    return "winograd"
  if largest > 4 or narrow:
    return "canonical"
  return "taps" if max(strides) > 1 else "mixed"


class Case(NamedTuple):
  """Describe one convolution: shapes of image [B, H, W, I] and kernel, strides and padding."""

  image: tuple[int, ...]
  kernel: tuple[int, ...]
  strides: Pair
  padding: Padding

  @classmethod
  def of(cls, x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[Pair]) -> "Case":
    """Describe a convolution of these arrays; lists become tuples, static arguments are hashed."""
    (down, right), ((top, bottom), (left, rest)) = strides, padding
    return cls(x.shape, kernel.shape, (down, right), ((top, bottom), (left, rest)))

  @property
  def depthwise(self) -> bool:
    """Tell whether each channel has a kernel of its own."""
    return self.kernel[2] != self.image[3]

  def __str__(self) -> str:
    """Name the case, whatever its batch: 8x8x64 3x3x64x128 /2x2 +1,1,1,1."""
    shape = lambda sizes: "x".join(map(str, sizes))
    edges = ",".join(str(edge) for pair in self.padding for edge in pair)
    return f"{shape(self.image[1:])} {shape(self.kernel)} /{shape(self.strides)} +{edges}"


Seen = collections.Counter[Case]
_recorder: contextvars.ContextVar[Seen | None] = contextvars.ContextVar("recorder", default=None)


@contextlib.contextmanager
def recorded() -> Iterator[Seen]:
  """Count the convolutions that are traced inside this context: `Case` -> how often."""
  seen: Seen = collections.Counter()
  token = _recorder.set(seen)
  try:
    yield seen
  finally:
    _recorder.reset(token)


def chosen(how: Choice, case: Case) -> str:
  """Look the lowering of a case up, and let `recorded` see the case."""
  seen = _recorder.get()
  if seen is not None:
    seen[case] += 1
  return how if isinstance(how, str) else dict(how).get(str(case), "auto")


def conv(
  x: Array,
  kernel: Array,
  strides: Pair = (1, 1),
  padding: Padding = ((0, 0), (0, 0)),
  how: Choice = "auto",
) -> Array:
  """Convolve x [B, H, W, I] with kernel [h, w, I, O] and return [B, H', W', O].

  `how` pins the lowering, for all cases or by case; "auto", and a case that a table leaves out, ask
  `lowering` when the program is traced. Forward-mode derivatives need "lax", or
  `derivatives.forward_mode`. Raises ModelError for shapes that do not
  fit and for unknown lowerings.
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
    raise ModelError(
      f"a convolution with kernel {kernel.shape} needs images [B, H, W, {kernel.shape[-2]}], "
      f"got an array of shape {x.shape}"
    )
  case = Case.of(x, kernel, strides, padding)
  how = chosen(how, case)
  if how == "auto":
    how = lowering(*case, jax.default_backend())
  if how == "lax":
    return canonical(x, kernel, case.strides, case.padding)
  if how not in LOWERINGS:
    raise ModelError(f"unknown lowering '{how}'; known: auto, lax, {', '.join(LOWERINGS)}")
  return derivatives.form(convolve)(x, kernel, case.strides, case.padding, LOWERINGS[how])
