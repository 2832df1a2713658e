"""How an entry of a config is declared: a type, a default, and in one marker all else about it.

>>> num_epochs: Annotated[int, Entry("epochs of all original models", within=EPOCHS)] = 182
"""

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from jaxmu.settings.ranges import Range, fit
from jaxmu.settings.readers import choose

REQUIRED = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Entry:
  """What is declared of an entry beside its type and its default.

  Attributes:
    meaning: for docs/configs.md, in Markdown.
    within: the interval of a number.
    choices: the texts that it may be.
    read: (given, what pydantic knows) -> the clean value, where type, `within` and `choices` do
      not say all; raises `Unfit` or `Refusal`.
    incidental: True where it changes where, how fast or how safely a run goes, or how it is
      summarised, but none of its numbers. All others decide which run directory is used.
  """

  meaning: str
  within: Range | None = None
  choices: tuple[str, ...] = ()
  read: Callable[[Any, ValidationInfo], Any] | None = None
  incidental: bool = False

  def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Let pydantic read the entry as it is declared here, with our words for what is wrong."""

    def read(given: Any, info: ValidationInfo) -> Any:
      if self.read:
        return self.read(given, info)
      return choose(given, self.choices) if self.choices else fit(given, kind, self.within)

    return core_schema.with_info_before_validator_function(read, handler(kind))


class Field(NamedTuple):
  """An entry with its name, or a section, which has no `entry` of its own."""

  name: str
  kind: Any
  entry: Entry | None
  default: Any


def declared(cls: type) -> Iterator[Field]:
  """Yield what a section declares, in order."""
  hints = typing.get_type_hints(cls, include_extras=True)
  for field in dataclasses.fields(cls):
    kind = hints[field.name]
    entry = next(iter(getattr(kind, "__metadata__", ())), None)
    yield Field(field.name, getattr(kind, "__origin__", kind), entry, field.default)
