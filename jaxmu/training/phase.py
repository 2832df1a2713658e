"""The vocabulary in which methods say how they train: `Pass` and `Phase`, both plain values."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from jaxmu.training.schedules import Schedule

Hp = Mapping[str, Any]  # hyper-parameter name -> Python number (static) or traced scalar


class Pass(NamedTuple):
  """One pass over a stream of batches, for ONE model.

  Attributes:
    stream: which batches (`data.streams.STREAMS`).
    loss: (forward, params, batch_stats, batch, aux, hp, key) -> (scalar, Report); `forward` is
      the task's network with this pass's BatchNorm mode.
    transform: (hp, aux) -> the optimizer without its learning rate: masks, decay, momentum.
    schedule: (hp, steps per epoch) -> learning rate as a function of the optimizer's step count.
    batch_size: name of the hyper-parameter that holds B (static).
    batch_norm: "train" (batch statistics, running statistics move) or "eval" (frozen).
    augment: True applies the data set's augmentation.
    slot: passes with the same slot share one optimizer state.
  """

  stream: str
  loss: Callable[..., tuple[Any, "Report"]]
  transform: Callable[[Hp, Any], optax.GradientTransformation]
  schedule: Callable[[Hp, int], Schedule]
  batch_size: str = "batch_size"
  batch_norm: str = "train"
  augment: bool = False
  slot: str = "sgd"


class Phase(NamedTuple):
  """Epochs that each run the same passes in order; starts with fresh optimizer states.

  Attributes:
    name: shown in progress and curves.
    passes: what one epoch consists of.
    epochs: (hp) -> number of epochs; members of one population may differ.
  """

  name: str
  passes: tuple[Pass, ...]
  epochs: Callable[[Hp], Any] = lambda hp: hp["num_epochs"]


class Report(NamedTuple):
  """What a loss reports besides its value: new BatchNorm statistics, accuracy on its batch."""

  batch_stats: Any
  accuracy: Any
