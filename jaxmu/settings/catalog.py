"""What a config may name: the registries of the rooms above, which settings may not import."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class HyperParameter(Protocol):
  """One hyper-parameter of a method, as its method declares it."""

  @property
  def default(self) -> Any:
    """Its value where a config says nothing."""
    ...

  @property
  def dead(self) -> bool:
    """Whether the reference accepts it and never reads it; so do we."""
    ...

  def read(self, given: Any) -> Any:
    """Return the clean value; raise `ranges.Unfit`, whose text says what was expected."""
    ...


@dataclass(frozen=True)
class Catalog:
  """Name what a config may ask for; `methods` maps each one to its hyper-parameters by name.

  `forget_sha256` reads a file of positions and returns what identifies them, `listed_sha256` those
  of a request, `scores_sha256` the numbers by which a request ranks samples, `weights_sha256` the
  weights to start from; `names_forget` tells whether a data file has such positions itself; `tuned`
  reads hyper-parameters by method, given `config.tuned`, data set and network. `own` reads
  references to a user's own code, by what it is ("models", "datasets", "methods" ...): it returns
  what is found, of methods a value with `name` and `hyper`, or raises a `UserError`.
  """

  studies: Collection[str]
  datasets: Collection[str]
  models: Collection[str]
  methods: Mapping[str, Mapping[str, HyperParameter]]
  forget_sha256: Callable[[str], str]
  scores_sha256: Callable[[str], str]
  listed_sha256: Callable[[str], str]
  names_forget: Callable[[str], bool]
  tuned: Callable[[str, str, str], Mapping[str, Mapping[str, Any]]]
  own: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
  weights_sha256: Callable[[str], str] = str
