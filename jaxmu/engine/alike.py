"""Programs that are alike after lowering are compiled once, whichever methods they come from.

Fine-tuning's epoch is the retrained model's, many methods prepare nothing: jax traces them apart,
and the text that XLA is given is the same. Whoever comes second waits for a compilation under way
and takes its executable. Where only the arguments' names differ, it compiles after the first, which
the persistent compilation cache then answers.
"""

import hashlib
import threading
import weakref
from collections.abc import Hashable, Mapping
from typing import Any

import jax

_kept: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_turns: dict[str, threading.Lock] = {}  # what XLA is given, hashed -> one compilation at a time


def compile_once(lowered: jax.stages.Lowered, options: Mapping[str, Any] | None) -> Any:
  """Return the executable of a lowered program, that of an equal one where it is still in use.

  Args:
    options: the compiler's; None for its own.

  Raises:
    What XLA raises; the next thread that waits for the same program then tries it again.
  """
  text = _digest(lowered, options)
  with _turns.setdefault(text, threading.Lock()):
    calling = _calling(lowered)
    if calling is None:
      return _compile(lowered, options)
    key = (text, *calling)
    found = _kept.get(key)
    if found is None:
      found = _kept[key] = _compile(lowered, options)
    return found


def _compile(lowered: jax.stages.Lowered, options: Mapping[str, Any] | None) -> Any:
  return lowered.compile(compiler_options=None if options is None else dict(options))


def _digest(lowered: jax.stages.Lowered, options: Mapping[str, Any] | None) -> str:
  """Hash what XLA is given beside its flags, which are the process's."""
  devices = [str(device) for device in _devices(lowered)]
  rest = repr((sorted((options or {}).items()), devices)).encode()
  return hashlib.sha256(lowered.as_text().encode() + rest).hexdigest()


def _devices(lowered: jax.stages.Lowered) -> list[jax.Device]:
  """List the devices in the order of their partitions; none where jax does not tell."""
  known = getattr(getattr(lowered, "_lowering", None), "_device_list", None)
  return [] if known is None else list(known)


def _calling(lowered: jax.stages.Lowered) -> tuple[Hashable, ...] | None:
  """Return how the executable is called, which its text does not say; None where jax hides it.

  jax leaves out arguments that a program does not read: programs of one text may read different
  ones. It has no public name for those that are kept (seen in jax 0.8 to 0.10). What holds
  constants or calls back into Python is never taken for another.
  """
  inner = getattr(lowered, "_lowering", None)
  known = getattr(inner, "compile_args", {})
  kept, callbacks = known.get("kept_var_idx"), known.get("host_callbacks")
  if kept is None or callbacks or known.get("keepalive") or not _devices(lowered):
    return None
  if getattr(inner, "const_args", True):
    return None
  types = repr((lowered.args_info, lowered.out_info))  # with whether they are weak
  return lowered.in_tree, lowered.out_tree, tuple(sorted(kept)), types
