"""How each convolution of a network is computed: by rule, pinned, or measured on this device."""

import functools
import statistics
import time
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmu.data import Dataset
from jaxmu.engine.population import Population
from jaxmu.execution.tuning import Known
from jaxmu.kernels import winograd
from jaxmu.kernels.conv import Case, conv, lowering, recorded
from jaxmu.kernels.conv_passes import LOWERINGS
from jaxmu.kernels.depthwise import depthwise_conv
from jaxmu.models import of_settings
from jaxmu.models.forward import mode_flags
from jaxmu.models.own_network import Image
from jaxmu.settings import Settings

STEPS, REPEATS = 4, 5
CANDIDATES = ("lax", *LOWERINGS)


def resolve(settings: Settings, dataset: Dataset, chunk: int, known: Known) -> dict[str, str]:
  """Return how each convolution of the settings' network is computed, case -> lowering.

  A name in the settings pins all convolutions. "auto" is the built-in rule on CPUs, where it stands
  on measurements, and "measured" elsewhere: every convolution of the network is then timed in every
  way on the device, as the engine would run it, and the fastest is kept and remembered, per case,
  batch, chunk, device kind and jax version.
  """
  asked, device = settings.model.lowering, jax.devices()[0]
  image = dataset.input_shape
  module = of_settings(settings, dataset.num_classes, image=image)
  cases = convolutions(module, settings.training.batch_size, image)
  if asked == "measured" or (asked == "auto" and device.platform != "cpu"):
    return fastest(cases, chunk, known, device)
  return {str(case): by_rule(case, asked, device.platform) for case in cases}


def by_rule(case: Case, asked: str, backend: str) -> str:
  """Name the lowering of a case for "auto" or a pinned name."""
  if case.depthwise:
    return "lax" if asked == "lax" or (asked == "auto" and backend != "cpu") else "taps"
  return lowering(*case, backend) if asked == "auto" else asked


def convolutions(module: nn.Module, batch: int, image: Image) -> dict[Case, int]:
  """Trace a network on a batch of images of a shape; return its cases and their counts."""
  x = jax.ShapeDtypeStruct((batch, *image), jnp.float32)
  init = functools.partial(module.init, **mode_flags(module, False))
  with recorded() as seen:
    jax.eval_shape(init, jax.random.key(0), x)
  return dict(seen)


def fastest(
  cases: Mapping[Case, int], chunk: int, known: Known, device: jax.Device
) -> dict[str, str]:
  """Time every case in every way, or recall what is known; return case -> lowering."""
  return {str(case): _fastest(case, chunk, known, device) for case in cases}


def _fastest(case: Case, chunk: int, known: Known, device: jax.Device) -> str:
  key = "/".join(map(str, (device.device_kind, jax.__version__, case.image[0], chunk, case)))
  ways = candidates(case, device.platform)
  if (recalled := known.find(key, ways.__contains__)) is not None:
    return recalled
  found = {how: seconds(case, how, chunk, device) for how in ways}
  return known.remember(key, min(found, key=found.__getitem__), ways.__contains__)


def candidates(case: Case, platform: str) -> tuple[str, ...]:
  """Name the lowerings that differ for a case.

  Winograd's way only on CPUs: accelerators' libraries have their own, and their matrix units round
  to fewer digits than its sums of values can spare.
  """
  if case.depthwise:
    return ("lax", "taps")
  known = platform == "cpu" and winograd.fits(case.kernel, case.strides)
  return tuple(how for how in CANDIDATES if how != "winograd" or known)


def seconds(case: Case, how: str, chunk: int, device: jax.Device) -> float:
  """Time forward pass and both gradients of `chunk` members, per step; infinite if too large.

  Inside a compiled loop, as in training. The first convolution of a network needs no gradient of
  its images; timing it nevertheless adds the same to all lowerings.
  """
  population = Population(chunk, chunk=chunk, devices=(device,))
  convolve = depthwise_conv if case.depthwise else conv

  def member(state: Any, constant: Any, shared: Any) -> Any:
    del constant, shared

    def step(_: Any, operands: Any) -> Any:
      x, kernel = operands
      run = lambda x, kernel: convolve(x, kernel, case.strides, case.padding, how)
      y, pullback = jax.vjp(run, x, kernel)
      dx, dkernel = pullback(y)
      return x + 1e-9 * dx, kernel + 1e-9 * dkernel

    return lax.fori_loop(0, STEPS, step, state), ()

  rng = np.random.default_rng(0)
  draw = lambda shape: rng.standard_normal((chunk, *shape), np.float32)
  program, times = population.map(member), []
  try:
    state = population.place((draw(case.image), draw(case.kernel)))
    for _ in range(REPEATS + 1):
      start = time.perf_counter()
      state, _ = jax.block_until_ready(program(state, {}, {}))
      times.append(time.perf_counter() - start)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return float("inf")
    raise
  return statistics.median(times[1:]) / STEPS
