"""The vocabulary in which methods say how they train: `Pass` and `Phase`, both plain values.

Everything is written for ONE model and pure, so that a population maps it (methods.md 0.3). What a
method's functions know besides their own arguments is one value, `Step`; the protocols below say
what each of them gets and returns.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import optax

from jaxmu.training.schedules import Schedule
from jaxmu.training.task import NOT_HERE, View

Array = jax.Array
Tree = Any  # a pytree of arrays: parameters, gradients, masks
Variables = Mapping[str, Tree]  # {"params", "batch_stats"}
Hp = Mapping[str, Any]  # hyper-parameter -> traced scalar; a Python number where work is counted
Options = Mapping[str, Any]  # what is static: batch sizes, options, "fidelity", "num_classes"


class Forward(Protocol):
  """The network in the BatchNorm mode of its pass."""

  def __call__(
    self, params: Tree, batch_stats: Tree, x: Array, weight: Array | None = None
  ) -> tuple[Array, Tree]:
    """Return logits [B, C] and new BatchNorm statistics; weight [B] is 0 for padded samples."""
    ...


class Step(NamedTuple):
  """What every function of a method knows: one model, at one moment of its run.

  Attributes:
    hp: hyper-parameters and what `derive` adds, traced: no `if` on them.
    options: what is static, where `if` is allowed: batch sizes, options, "fidelity", "num_classes".
    view: the data, of the declared sets only.
    key: this call's own randomness; an optimizer and the choice of BatchNorm modes have none.
    aux: what `prepare` returned besides the variables.
    memory: what the phase's hooks carry from epoch to epoch; () where there are none.
    epoch: int32, 0-based, of hooks only.
    forward: the network, of losses only.
  """

  hp: Hp
  options: Options
  view: View
  key: Array = NOT_HERE
  aux: Any = ()
  memory: Any = ()
  epoch: Array = NOT_HERE
  forward: Forward = NOT_HERE


class Report(NamedTuple):
  """What a loss reports besides its value: new BatchNorm statistics, accuracy on its batch."""

  batch_stats: Tree
  accuracy: Array


class Loss(Protocol):
  """A pass's objective."""

  def __call__(
    self, params: Tree, batch_stats: Tree, batch: Any, step: Step
  ) -> tuple[Array, Report]:
    """Return the loss of a `Batch`, or of a stream's `Pair` of them: a scalar, and what it reports.

    Logits come from `step.forward(params, batch_stats, batch.x, batch.weight)`; with
    `losses.mean(values, batch.weight)` padded samples do not count.
    """
    ...


class Transform(Protocol):
  """A pass's optimizer, without its learning rate."""

  def __call__(self, step: Step) -> optax.GradientTransformation:
    """Return the optimizer: masks, decay, momentum. The engine multiplies by -rate last."""
    ...


class Optimizer(Protocol):
  """A pass's optimizer, complete with its learning rate."""

  def __call__(self, step: Step, rate: Schedule) -> optax.GradientTransformation:
    """Return the optimizer, whose updates are added to the parameters as they are."""
    ...


class Rate(Protocol):
  """A pass's learning rate."""

  def __call__(self, hp: Hp, steps: int) -> Schedule:
    """Return the rate as a function of the optimizer's step count; an epoch has `steps` steps."""
    ...


class Count(Protocol):
  """A number of epochs, or of steps."""

  def __call__(self, hp: Hp) -> Any:
    """Return it: a Python number for Python numbers, traced for traced ones."""
    ...


class Modes(Protocol):
  """BatchNorm modes that differ from layer to layer."""

  def __call__(self, params: Tree, step: Step) -> Callable[[tuple[str, ...]], Any]:
    """Return a function of a layer's path: True, may be traced, for train mode."""
    ...


class Recall(Protocol):
  """What a phase's memory begins with."""

  def __call__(self, params: Tree, step: Step) -> Any:
    """Return the memory, a pytree of arrays."""
    ...


class Hook(Protocol):
  """What happens at one end of every epoch: noise, choice of layers, records."""

  def __call__(self, variables: Variables, step: Step) -> tuple[Tree, Any]:
    """Return (params, memory)."""
    ...


class Pass(NamedTuple):
  """One pass over a stream of batches, for ONE model.

  Attributes:
    stream: which batches (`data.streams.STREAMS`).
    batch_size: samples of a batch; of each set where batches come in pairs.
    loss: what is minimised.
    transform: the optimizer without its learning rate.
    schedule: the learning rate.
    batch_norm: "train" (batch statistics, running statistics move), "eval" (frozen), or `Modes`.
    augment: True applies the data set's augmentation.
    slot: passes with the same slot share one optimizer state.
    shuffle: False visits the samples in stored order.
    epochs: epochs that include this pass, counted from the first; None: all of them.
    budget: number of steps after which the pass does nothing more; None: no limit.
    optimizer: in place of `transform`, one that applies the rate itself.
  """

  stream: str
  batch_size: int
  loss: Loss
  transform: Transform
  schedule: Rate
  batch_norm: str | Modes = "train"
  augment: bool = False
  slot: str = "sgd"
  shuffle: bool = True
  epochs: Count | None = None
  budget: Count | None = None
  optimizer: Optimizer | None = None


class Phase(NamedTuple):
  """Epochs that each run the same passes in order; starts with fresh optimizer states.

  Attributes:
    name: shown in progress and curves.
    passes: what one epoch consists of.
    epochs: number of epochs; members of one population may differ.
    memory: what the hooks carry from epoch to epoch begins so; None: they carry nothing.
    before, after: called at an epoch's two ends.
    fresh: True empties the optimizers' states before every epoch; schedules count on.
  """

  name: str
  passes: tuple[Pass, ...]
  epochs: Count = lambda hp: hp["num_epochs"]
  memory: Recall | None = None
  before: Hook | None = None
  after: Hook | None = None
  fresh: bool = False
