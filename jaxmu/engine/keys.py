"""Where all random numbers of models come from: one tree of keys, and what is folded in where.

Each key is its parent's with one number folded in. A number that counts (phase, pass, epoch, step)
is folded in as it is; one that tells what a key is for is a `Purpose`. `/` stands for `fold_in`:

    seed                              one of `config.seeds`
    └ member                          = seed; in a shadow study seed / split / forget set
      ├ INITIAL_WEIGHTS               from here on flax folds in the names of modules
      └ stage                         member / number of the stage's name
        ├ PREPARE                     `Method.prepare` draws from it as it likes
        ├ ORDER / phase               anchors: `training.data_seed` / ORDER / phase
        │ └ pass / epoch              draws the order of a union
        │   └ RETAIN_ORDER, FORGET_ORDER
        ├ STEP / phase
        │ ├ HOOKS / epoch             split in two, for the hooks before and after
        │ └ pass / epoch / step
        │   ├ LOSS, DROPOUT
        │   └ SAMPLES
        │     └ CROP_OFFSETS, FLIPS
        └ REWIND                      `Method.rewind`

`jaxmu.unlearn(key=...)` gives the key of a stage. Siblings must differ, so a purpose is its level
and its number, and no two are equal. On two levels purposes stand beside other numbers. Stages have
32 bits of a hash of their names, which for all methods and anchors differ from each other and from
INITIAL_WEIGHTS (a test says so); passes count from 0 and end before HOOKS. In a shadow study the
key of split 7 is that of INITIAL_WEIGHTS, yet nothing is drawn from that key itself: a split goes
on with forget set and stage, weights go on with hashes of modules' names. The two parts of a pair
of retain and forget samples share the keys of their step.

Data are drawn before there are models, by NumPy and from seeds of their own: the door of
`jaxmu.data` stays free of jax.
"""

import enum
import hashlib

import jax


@enum.unique
class Purpose(enum.Enum):
  """What a key is for: the level of the tree that it stands on, and its number there."""

  INITIAL_WEIGHTS = "below a member", 7
  """A network's weights before any training; original and retrained models share them."""

  PREPARE = "below a stage", 0
  """What a method draws before its first phase: fresh weights, noise, subsets, labels."""
  ORDER = "below a stage", 1
  """The orders in which batches visit the data."""
  STEP = "below a stage", 2
  """Everything that is drawn while a phase runs, but for orders."""
  REWIND = "below a stage", 3
  """The choice of the epoch to go back to."""

  HOOKS = "below a phase", 1_000
  """What is drawn at an epoch's two ends."""

  SAMPLES = "below a step", 0
  """The augmentation of a batch."""
  LOSS = "below a step", 1
  """What a loss draws: labels, noise."""
  DROPOUT = "below a step", 2
  """Dropout and stochastic depth."""

  CROP_OFFSETS = "below the samples of a step", 0
  """Where each image is cropped."""
  FLIPS = "below the samples of a step", 1
  """Which images are mirrored."""

  RETAIN_ORDER = "below a pass of orders", 0
  """The order of the retain set, where it is no part of a union; and of any other single set."""
  FORGET_ORDER = "below a pass of orders", 1
  """The order of the forget set, where it is no part of a union."""

  @property
  def level(self) -> str:
    """The keys from which this purpose's are made; numbers differ within a level."""
    return self.value[0]

  @property
  def number(self) -> int:
    """What is folded in; it decides results, so it never changes."""
    return self.value[1]


def of(key: jax.Array, purpose: Purpose) -> jax.Array:
  """Return the key of one purpose below `key`."""
  return jax.random.fold_in(key, purpose.number)


def at(key: jax.Array, *numbers: int | jax.Array) -> jax.Array:
  """Fold numbers that count into a key, one level each: `at(key, epoch, step)`."""
  for number in numbers:
    key = jax.random.fold_in(key, number)
  return key


def stage_number(name: str) -> int:
  """Return what is folded into a member's key for a stage: 32 bits of a hash of its name.

  So a stage draws the same numbers whichever others a run has.
  """
  return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def of_pass(key: jax.Array, number: int, epoch: int | jax.Array) -> jax.Array:
  """Return the key of a phase's pass in one epoch; `key` is the phase's, for orders or for steps.

  Raises:
    ValueError: `number` is not below that of HOOKS, which stands on the same level.
  """
  if not 0 <= number < Purpose.HOOKS.number:
    raise ValueError(f"a pass has a number below {Purpose.HOOKS.number}, got {number}")
  return at(key, number, epoch)


def of_hooks(key: jax.Array, epoch: int | jax.Array) -> tuple[jax.Array, jax.Array]:
  """Return the keys of the hooks before and after an epoch; `key` is the phase's, for steps."""
  pair = jax.random.split(at(of(key, Purpose.HOOKS), epoch))
  return pair[0], pair[1]
