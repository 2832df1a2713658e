"""Many models as one: the only module that knows about vmap, loops over members and devices.

A population is a pytree whose leaves have a leading axis of K members. `Population.map` turns a
function of ONE member into one compiled program over all of them:

    jit(donate) of shard_map over axis "models" of fori_loop over chunks of (vmap of) one member

The loop's trip count is an argument of the program, not a constant. So a population of one
compiles to the same loop body as a population of ten (XLA would inline a loop that it knows to run
once), which makes K members equal K single runs bit for bit at chunk 1; and a device that holds
fewer members than another simply stops earlier.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmu.engine import alike
from jaxmu.engine.executables import Executables
from jaxmu.engine.runtime import compiler_options, require_threefry
from jaxmu.errors import UserError

AXIS = "models"
Tree = Any  # a pytree of arrays, or of their shapes
MemberFn = Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


@dataclasses.dataclass(frozen=True)
class Population:
  """K members on D devices, `chunk` of them at a time on each.

  Attributes:
    size: number of members K.
    chunk: members that one device computes together (vmap); 1 runs them one after another.
    devices: the devices; defaults to all.
    room: least number of places; more than K where this is the last, smaller one of populations
      that share programs.

  Raises:
    UserError: for a non-positive size or chunk.
  """

  size: int
  chunk: int = 1
  devices: tuple[jax.Device, ...] = ()
  room: int = 0

  def __post_init__(self) -> None:
    if self.size < 1 or self.chunk < 1:
      raise UserError(
        f"population needs size and chunk >= 1, got size={self.size}, chunk={self.chunk}"
      )
    require_threefry()
    object.__setattr__(self, "devices", tuple(self.devices) or tuple(jax.devices()))

  @property
  def mesh(self) -> Mesh:
    return Mesh(np.asarray(self.devices), (AXIS,))

  @property
  def local(self) -> int:
    """Places for members on each device: a multiple of the chunk."""
    return self._each(max(self.size, self.room))

  @property
  def padded(self) -> int:
    return self.local * len(self.devices)

  @property
  def counts(self) -> np.ndarray:
    """Chunks that hold at least one real member, per device: int32 [D]."""
    own = self._each(self.size)
    left = self.size - own * np.arange(len(self.devices))
    return np.ceil(np.clip(left, 0, own) / self.chunk).astype(np.int32)

  def _each(self, members: int) -> int:
    """Share members out: how many the first devices hold, in whole chunks."""
    return math.ceil(members / len(self.devices) / self.chunk) * self.chunk

  def _positions(self) -> np.ndarray:
    """Give the place of every member, int [K]; free places lie behind each device's members."""
    device, number = np.divmod(np.arange(self.size), self._each(self.size))
    return device * self.local + number

  @property
  def frame(self) -> "Population":
    """The full population with the same places: what programs are compiled for."""
    return dataclasses.replace(self, size=self.padded, room=0)

  def place(self, tree: Tree) -> Tree:
    """Lay leaves [K, ...] out over the devices; free places repeat a member.

    Leaves that are laid out already pass through.
    """
    own = self._each(self.size)
    device, number = np.divmod(np.arange(self.padded), self.local)
    take = np.minimum(device * own + np.minimum(number, own - 1), self.size - 1)

    def put(leaf):
      whole = self._check(leaf)
      return jax.device_put(leaf if whole else leaf[take], self.sharding)

    return jax.tree.map(put, tree)

  def shapes(self, tree: Tree) -> Tree:
    """Describe what `place` would make of leaves [K, ...] or of their shapes; allocate nothing."""

    def describe(leaf):
      self._check(leaf)
      shape = (self.padded, *leaf.shape[1:])
      return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=self.sharding)

    return jax.tree.map(describe, tree)

  @property
  def sharding(self) -> NamedSharding:
    return NamedSharding(self.mesh, P(AXIS))

  def _check(self, leaf: Any) -> bool:
    """Tell whether a leaf is laid out already; refuse one that has another number of members."""
    if leaf.shape[0] not in (self.size, self.padded):
      raise UserError(f"population of {self.size} got a leaf of shape {leaf.shape}")
    return leaf.shape[0] == self.padded

  def share(self, tree: Tree) -> Tree:
    """Copy leaves without a member axis (data) to every device."""
    return jax.device_put(tree, NamedSharding(self.mesh, P()))

  def collect(self, tree: Tree) -> Tree:
    """Bring leaves [K, ...] to the host as NumPy arrays, free places left out."""
    if self._each(self.size) == self.local:
      return jax.tree.map(lambda leaf: np.asarray(leaf)[: self.size], tree)
    positions = self._positions()
    return jax.tree.map(lambda leaf: np.asarray(leaf)[positions], tree)

  def map(self, member_fn: MemberFn) -> "Program":
    """Compile `member_fn(state, constant, shared) -> (state, out)` of one member for all members.

    `state` is updated in place (its buffers are donated), `constant` is read per member, `shared`
    is the same for all members.
    """
    return Program(self, member_fn)


def member_keys(seeds: Sequence[int]) -> jax.Array:
  """Make one typed key per seed, [K]."""
  return jax.vmap(jax.random.key)(jnp.asarray(seeds))


def folded_keys(paths: Sequence[Sequence[int]]) -> jax.Array:
  """Make typed keys [K]: each of a seed, with the numbers behind it folded in one by one.

  Paths may have different lengths: a shorter one is done before the others.
  """
  found = member_keys([path[0] for path in paths])
  for level in range(1, max(map(len, paths))):
    numbers = [path[level] if level < len(path) else 0 for path in paths]
    longer = jnp.array([level < len(path) for path in paths])
    found = jnp.where(longer, jax.vmap(jax.random.fold_in)(found, jnp.asarray(numbers)), found)
  return found


def fold_keys(keys: jax.Array, number: int) -> jax.Array:
  """Fold `number` into every key of [K]."""
  return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


class Program:
  """A compiled function over a population; compilation is timed and never part of a run's time."""

  def __init__(self, population: Population, member_fn: MemberFn) -> None:
    self.population = population
    self.traces = 0
    self._compiled = Executables()
    self._placed: dict[Population, jax.Array] = {}
    self._member_fn = member_fn

  def compile(self, state: Tree, constant: Tree, shared: Tree) -> jax.stages.Compiled:
    """Return the executable for these shapes, compiling it at the first call.

    Arrays and their descriptions (`Population.shapes`) find the same executable.
    """
    arguments = (self._counts(self.population), state, constant, shared)

    def make():
      options = compiler_options(nbytes((state, constant)) // self.population.padded)
      return alike.compile_once(self._over_members().lower(*arguments), options)

    return self._compiled.find(_signature(state, constant, shared), make)

  def is_compiled(self, state: Tree, constant: Tree, shared: Tree) -> bool:
    """Tell whether `compile` would find an executable for these shapes."""
    return _signature(state, constant, shared) in self._compiled

  @property
  def compile_seconds(self) -> float:
    """Seconds that the calling thread has waited for compilation, its own or another's."""
    return self._compiled.waited.seconds

  def _counted(self, state: Tree, constant: Tree, shared: Tree) -> tuple[Tree, Tree]:
    self.traces += 1
    return self._member_fn(state, constant, shared)

  def _over_members(self) -> jax.stages.Wrapped:
    """Return the jitted function, a new one each time: jax keeps what it made of it alive."""
    population = self.population
    over_chunks = lambda count, state, constant, shared: _loop(
      self._counted, population.chunk, count[0], state, constant, shared
    )
    sharded = jax.shard_map(
      over_chunks,
      mesh=population.mesh,
      in_specs=(P(AXIS), P(AXIS), P(AXIS), P()),
      out_specs=P(AXIS),
      check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=(1,))

  def _counts(self, population: Population) -> jax.Array:
    if population not in self._placed:
      self._placed[population] = jax.device_put(population.counts, population.sharding)
    return self._placed[population]

  def __call__(
    self, state: Tree, constant: Tree, shared: Tree, population: Population | None = None
  ) -> tuple[Tree, Tree]:
    """Run all members: leaves [K, ...] as `Population.place` lays them out; donates `state`.

    Args:
      population: whose members these are, where it has the same places as the program's own but
        fewer members.
    """
    executable = self.compile(state, constant, shared)
    return executable(self._counts(population or self.population), state, constant, shared)


def _signature(*arguments: Tree) -> Any:
  leaves, tree = jax.tree.flatten(arguments)
  shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
  return tree, shapes, jnp.result_type(float)  # x64 is a setting of the thread's own


def nbytes(tree: Tree) -> int:
  """Add up the bytes of arrays or of their descriptions, over all devices."""
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _loop(
  member_fn: MemberFn, chunk: int, count: jax.Array, state: Tree, constant: Tree, shared: Tree
) -> tuple[Tree, Tree]:
  """Apply `member_fn` to `count` chunks of the local members; leaves are [local, ...]."""

  def chunk_of(tree, i):
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, i * chunk, chunk), tree)

  def apply(state, constant):
    if chunk > 1:
      return jax.vmap(member_fn, in_axes=(0, 0, None))(state, constant, shared)
    alone = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
    stacked = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)
    return stacked(member_fn(alone(state), alone(constant), shared))

  def write(tree, part, i):
    return jax.tree.map(
      lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, i * chunk, 0), tree, part
    )

  apply = jax.jit(apply, inline=True)  # traced once, not again for the shapes
  places = jax.tree.leaves((state, constant))[0].shape[0]
  _, out_shapes = jax.eval_shape(apply, chunk_of(state, 0), chunk_of(constant, 0))
  outs = jax.tree.map(lambda s: jnp.zeros((places, *s.shape[1:]), s.dtype), out_shapes)

  def body(i, carry):
    state, outs = carry
    new_state, new_outs = apply(chunk_of(state, i), chunk_of(constant, i))
    return write(state, new_state, i), write(outs, new_outs, i)

  return lax.fori_loop(0, count, body, (state, outs))
