"""The vocabulary in which methods say how they train: `Pass` and `Phase`, both plain values."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from jaxmu.training.schedules import Schedule

Hp = Mapping[str, Any]  # hyper-parameter name -> Python number (static) or traced scalar


class Pass(NamedTuple):
  """One pass over a stream of batches, for ONE model.

  In a phase with memory, `aux` is `Known(aux, memory)` for loss, transform and batch_norm.

  Attributes:
    stream: which batches (`data.streams.STREAMS`).
    loss: (forward, params, batch_stats, batch, aux, hp, key) -> (scalar, Report); `forward` is
      the task's network with this pass's BatchNorm mode.
    transform: (hp, aux) -> the optimizer without its learning rate: masks, decay, momentum.
    schedule: (hp, steps per epoch) -> learning rate as a function of the optimizer's step count.
    batch_size: name of the hyper-parameter that holds B (static).
    batch_norm: "train" (batch statistics, running statistics move), "eval" (frozen), or
      (params, aux, hp) -> (module path -> bool, may be traced: train mode for this layer alone).
    augment: True applies the data set's augmentation.
    slot: passes with the same slot share one optimizer state.
    shuffle: False visits the samples in stored order.
    epochs: (hp) -> epochs that include this pass, counted from the first; None: all of them.
    budget: (hp) -> number of steps after which the pass does nothing more; None: no limit.
  """

  stream: str
  loss: Callable[..., tuple[Any, "Report"]]
  transform: Callable[[Hp, Any], optax.GradientTransformation]
  schedule: Callable[[Hp, int], Schedule]
  batch_size: str = "batch_size"
  batch_norm: str | Callable[..., Callable] = "train"
  augment: bool = False
  slot: str = "sgd"
  shuffle: bool = True
  epochs: Callable[[Hp], Any] | None = None
  budget: Callable[[Hp], Any] | None = None


class Phase(NamedTuple):
  """Epochs that each run the same passes in order; starts with fresh optimizer states.

  Attributes:
    name: shown in progress and curves.
    passes: what one epoch consists of.
    epochs: (hp) -> number of epochs; members of one population may differ.
    memory: (params, aux, hp) -> what the hooks carry from epoch to epoch; None: nothing.
    before, after: called at an epoch's two ends, (key, view, variables, memory, epoch, aux, hp) ->
      (params, memory); noise, choice of layers, records.
    fresh: True empties the optimizers' states before every epoch; schedules count on.
  """

  name: str
  passes: tuple[Pass, ...]
  epochs: Callable[[Hp], Any] = lambda hp: hp["num_epochs"]
  memory: Callable[..., Any] | None = None
  before: Callable[..., tuple[Any, Any]] | None = None
  after: Callable[..., tuple[Any, Any]] | None = None
  fresh: bool = False


class Known(NamedTuple):
  """What a pass knows in a phase with memory: `prepare`'s result, and what the hooks carry."""

  aux: Any
  memory: Any


class Report(NamedTuple):
  """What a loss reports besides its value: new BatchNorm statistics, accuracy on its batch."""

  batch_stats: Any
  accuracy: Any
