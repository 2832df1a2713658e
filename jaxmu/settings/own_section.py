"""Code of a user's own that a config names: methods by references, and hashes of the source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Protocol

from pydantic import ValidationInfo
from pydantic.dataclasses import dataclass

from jaxmu.errors import SettingsError, shown
from jaxmu.own_code import names
from jaxmu.own_code.sources import source_sha256
from jaxmu.settings import readers
from jaxmu.settings.catalog import Catalog, HyperParameter
from jaxmu.settings.entries import Entry
from jaxmu.settings.ranges import Unfit
from jaxmu.settings.recipe_section import RecipeSettings
from jaxmu.settings.refusals import missing_section
from jaxmu.settings.sections import STRICT, ModelSettings

RECIPE = {"optimizer": "optimizers", "loss": "losses", "augment": "augmentations"}
METHODS = "methods."  # begins an entry of `sha256` that is a method's, and so none of all members'


def _texts(given: Any, info: ValidationInfo) -> tuple[str, ...]:
  del info
  found = readers.pieces(given)
  if not all(isinstance(one, str) for one in found):
    raise Unfit("texts, apart by commas")
  return tuple(found)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OwnSettings:
  """What a config knows of code of a user's own ([own code](own_code.md))."""

  methods: Annotated[
    tuple[str, ...],
    Entry(
      "methods of your own, `MODULE:NAME`, which `methods` and `unlearning` may then call by their "
      "names; those that `methods` gives as `MODULE:NAME` are added",
      read=_texts,
      incidental=True,
    ),
  ] = ()
  sha256: Annotated[
    tuple[str, ...],
    Entry(
      "SHA-256 of the source of your own code, an `ENTRY=SHA256` for each entry that names some: "
      "found when a config is read. Where it is given, other source is refused",
      read=_texts,
    ),
  ] = ()

  def of(self, entry: str) -> str:
    """Return the SHA-256 of the code that an entry names, "" where that is none of a user's own."""
    return dict(one.rpartition("=")[::2] for one in self.sha256).get(entry, "")

  @property
  def shared(self) -> list[str]:
    """What of `sha256` belongs to all members of a study: each method's is its members' alone."""
    return [one for one in self.sha256 if not one.startswith(METHODS)]


class Methods(Mapping[str, Mapping[str, HyperParameter]]):
  """Hyper-parameters of the methods that a config may name: jaxmu's, own ones, installed ones."""

  def __init__(self, catalog: Catalog):
    self._catalog, self._own = catalog, dict[str, tuple[str, Mapping[str, HyperParameter]]]()

  def add(self, reference: str) -> str:
    """Read a method of a user's own; return its name.

    Raises:
      MethodError, SettingsError: there is none, or another one has its name.
    """
    found = self._catalog.own["methods"](reference)
    before, _ = self._own.setdefault(found.name, (reference, found.hyper))
    if before != reference:
      raise SettingsError(
        f"methods {before} and {reference} are both called '{found.name}'; expected a name for each"
      )
    return str(found.name)

  def reference(self, name: str) -> str | None:
    """Return the reference of a method that is no method of jaxmu's."""
    return self._own[name][0] if name in self._own else self._installed(name)

  def __getitem__(self, name: str) -> Mapping[str, HyperParameter]:
    if name not in self._own and (reference := self._installed(name)):
      self.add(reference)
    return self._own[name][1] if name in self._own else self._catalog.methods[name]

  def __iter__(self) -> Iterator[str]:
    further = names.installed("methods") if self._takes else ()
    return iter(dict.fromkeys((*self._catalog.methods, *self._own, *further)))

  def __len__(self) -> int:
    return sum(1 for _ in self)

  def _installed(self, name: str) -> str | None:
    return names.named("methods", name, self._catalog.methods) if self._takes else None

  @property
  def _takes(self) -> bool:
    return "methods" in self._catalog.own


def read_methods(
  config: Mapping[Any, Any], catalog: Catalog
) -> tuple[dict[Any, Any], Catalog, Methods]:
  """Return a config that calls its own methods by their names, and a catalog that knows them.

  Raises:
    MethodError, SettingsError: one is no method, or cannot be found.
  """
  known, plain = Methods(catalog), dict(config)
  catalog = replace(catalog, methods=known)
  if "methods" not in catalog.own:
    return plain, catalog, known
  own = plain.get("own", {})
  if not isinstance(own, Mapping):
    raise missing_section("config.own", own)
  references = readers.pieces(own.get("methods", ()))
  for given in references:
    if not names.is_reference(given):
      raise SettingsError(f"config.own.methods has {shown(given)}; expected MODULE:NAME")
    known.add(given)
  name = lambda given: known.add(given) if names.is_reference(given) else given
  chosen, hyper = plain.get("methods"), plain.get("unlearning")
  if isinstance(chosen, str | tuple | list):
    pieces = readers.pieces(chosen)
    if found := [one for one in pieces if names.is_reference(one)]:
      plain["methods"] = tuple(map(name, pieces))
      references += found
  if isinstance(hyper, Mapping):
    plain["unlearning"] = {name(key): value for key, value in hyper.items()}
    references += [key for key in hyper if names.is_reference(key)]
  if references:
    plain["own"] = {**own, "methods": tuple(dict.fromkeys(references))}
  return plain, catalog, known


class Entries(Protocol):
  """The entries that may name code of a user's own, of `Settings`."""

  @property
  def dataset(self) -> str: ...
  @property
  def model(self) -> ModelSettings: ...
  @property
  def recipe(self) -> RecipeSettings: ...
  @property
  def methods(self) -> tuple[str, ...]: ...
  @property
  def own(self) -> OwnSettings: ...


def with_sums(settings: Entries, catalog: Catalog, methods: Methods) -> OwnSettings:
  """Return the section with the SHA-256 of all code of a user's own.

  Raises:
    SettingsError: the config speaks of other source.
  """
  found = {}
  for entry, reference in _references(settings, catalog, methods):
    if reference is not None:
      found[entry] = source_sha256(reference)
      given = settings.own.of(entry)
      if given not in ("", found[entry]):
        raise SettingsError(
          f"config.own.sha256 has {given[:12]}... for {entry}, but the source of {reference} has "
          f"{found[entry][:12]}...: restore it, or leave the entry out to take it as it is"
        )
  sums: Sequence[str] = [f"{entry}={value}" for entry, value in sorted(found.items())]
  return replace(settings.own, sha256=tuple(sums))


def _references(
  settings: Entries, catalog: Catalog, methods: Methods
) -> Iterator[tuple[str, str | None]]:
  if "datasets" in catalog.own:
    yield "dataset", names.named("datasets", settings.dataset, catalog.datasets)
  if "models" in catalog.own:
    yield "model.name", names.named("models", settings.model.name, catalog.models)
  for entry, kind in RECIPE.items():
    if kind in catalog.own:
      yield f"recipe.{entry}", getattr(settings.recipe, entry) or None
  for name in settings.methods:
    yield f"{METHODS}{name}", methods.reference(name)
