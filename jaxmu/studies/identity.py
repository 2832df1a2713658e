"""The identity of a member: a hash of everything that decides its numbers.

Who has the same identity in another run has the same numbers, so a study grows in its place, a
changed method trains its own members only, and runs beside each other lend what they have.
"""

import functools
import hashlib
import json
from typing import Any

from jaxmu.data import Split
from jaxmu.execution.accounting import WHOLE
from jaxmu.settings import Settings
from jaxmu.settings.own_section import METHODS
from jaxmu.store import given_weights
from jaxmu.store.groups import At, Expected, text
from jaxmu.store.manifest import Manifest
from jaxmu.studies.study import Member, Stage

# What a member says itself, and what only says which members there are.
_OF_MEMBERS = ("study", "seeds", "methods", "unlearning", "scenario", "ulira", "search")


class Identities:
  """Identities of the members of a run; a stage comes after the one that it starts from."""

  def __init__(self, settings: Settings, manifest: Manifest | None):
    """Begin with what all members of a run share; without a manifest, identities are of no run."""
    chosen = {k: v for k, v in settings.identity().items() if k not in _OF_MEMBERS}
    self._own, self._files = settings.own, functools.cache(given_weights.sha256)
    made = {} if manifest is None else _made_with(manifest)
    self._shared = _hash({"settings": chosen} | made)
    self._known: dict[tuple[str, str], str] = {}
    self._sets: dict[int, tuple[Split, str]] = {}  # with the split, whose place stays taken

  def add(self, stage: Stage) -> tuple[Expected, ...]:
    """Return coordinates and identity of every member of a stage."""
    about = {
      "study": self._shared,
      "stage": stage.name,
      "method": stage.method.name,
      "keep": sorted(stage.keep),
      "order_seed": stage.order_seed,
      "samples": None if stage.samples is None else _bytes_hash(stage.samples.tobytes()),
    }
    if code := self._own.of(f"{METHODS}{stage.method.name}"):
      about |= {"code": code}
    if stage.widths:
      about |= {"widths": dict(stage.widths)}
    if stage.span != WHOLE:
      about |= {"span": list(stage.span), "stream": stage.stream}
    shared = _hash(about)
    return tuple(self._member(stage, shared, member) for member in stage.members)

  def _member(self, stage: Stage, shared: str, member: Member) -> Expected:
    parent = None if member.parent is None else self._parent(stage, member.parent)
    about = [shared, dict(member.hp), list(member.key), self._sha256(member.sets), parent]
    about += [self._files(member.given)] if member.given else []
    identity = _hash(about)
    self._known[stage.name, text(member.at)] = identity
    return Expected(dict(member.at), identity)

  def _parent(self, stage: Stage, at: At) -> str:
    return self._known[str(stage.parent), text(at)]

  def _sha256(self, sets: Split) -> str:
    if id(sets) not in self._sets:
      self._sets[id(sets)] = sets, sets.sha256
    return self._sets[id(sets)][1]


def _made_with(manifest: Manifest) -> dict[str, Any]:
  made = {
    "chunk": manifest.chunk,
    "lowering": dict(manifest.lowering),
    "platform": manifest.device.platform,
    "dataset": manifest.dataset.sha256,
    "versions": {name: manifest.version(name) for name in ("jaxmu", "jax")},
  }
  if transform := manifest.dataset.transform:
    made["transform"] = transform
  return made


def _hash(value: Any) -> str:
  return _bytes_hash(json.dumps(value, sort_keys=True).encode())


def _bytes_hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()
