"""What the methods are, for people: the listing of `jaxmu methods` and of docs/methods.md."""

import textwrap
from collections.abc import Mapping
from typing import Any

from jaxmu.unlearning import METHODS, describe, every, get

SETS = {"retain": "retain", "forget": "forget", "val": "validation"}
WIDTH = 96
E_MAX = "E_max: a fifth of the original's training epochs, rounded up."


def overview() -> str:
  """Return one line per method: its names, the sets it touches, what of a network it acts on."""
  about = {name: describe(get(name)) for name in every()}
  wide = max(len(each["title"]) for each in about.values())
  longest = max(8, *map(len, about))

  def line(name: str, title: str, sets: str, parts: str) -> str:
    return f"{name:{longest}} {title:{wide}} {sets:27} {parts}".rstrip()

  lines = [line("name", "method", "touches", "acts on")]
  for name, each in about.items():
    lines.append(line(name, each["title"], touches(each), acts_on(each)))
  return "\n".join(lines)


def details(name: str) -> str:
  """Return everything about one method as text; MethodError for an unknown name."""
  about = describe(get(name))
  parts = [
    f"{name}: {about['title']}",
    _wrap(about["summary"]),
    _wrap(f"Source: {about['paper']}"),
    _wrap(f"Touches: {touches(about)}"),
    _wrap(f"Acts on: {_acts_on(about)}"),
    _wrap(f"Fidelity: {_fidelity(about)}"),
    "Hyper-parameters (default; searched in the reference; recommended range where it differs):",
    *(_wrap(f"{key} = {value}; {_range(about, key)}", "  ") for key, value in _defaults(about)),
  ]
  if about["ignored"]:
    parts.append(_wrap(f"Accepted and ignored, as in the reference: {', '.join(about['ignored'])}"))
  if about["oddities"]:
    parts.append(_wrap(f"Worth knowing: {about['oddities']}"))
  if about["draws"]:
    parts.append("Random draws that `randomness=` may replace:")
    parts += [_wrap(f"{key}: {form}", "  ") for key, form in about["draws"].items()]
  return "\n".join(parts)


def page() -> str:
  """Return docs/methods.md."""
  rows = [
    f"| [`{name}`](#{name}) | {get(name).title} | {touches(describe(get(name)))} | "
    f"{get(name).summary} |"
    for name in METHODS
  ]
  head = [
    "# Methods",
    "",
    "Made by `jaxmu methods --markdown`. Steps, formulas and departures from the reference",
    f"implementation: [fidelity.md](fidelity.md). {E_MAX}",
    "",
    "| name | method | touches | idea |",
    "|---|---|---|---|",
    *rows,
  ]
  return "\n".join([*head, *(_section(name) for name in METHODS)]) + "\n"


def touches(about: Mapping[str, Any]) -> str:
  """Name the sets that a method reads."""
  return ", ".join(text for name, text in SETS.items() if name in about["needs"])


def acts_on(about: Mapping[str, Any]) -> str:
  """Name what of a network a method acts on, "" where any will do."""
  return about["acts_on"].partition(", and ")[0]


def _acts_on(about: Mapping[str, Any]) -> str:
  wanted, _, left = about["acts_on"].partition(", and ")
  return f"{wanted}; without it, it {left}" if wanted else "any network"


def _section(name: str) -> str:
  about = describe(get(name))
  lines = [
    "",
    f"## {name}",
    "",
    f"**{about['title']}.** {about['summary']} Source: {about['paper']}.",
  ]
  lines += ["", f"Acts on: {_acts_on(about)}. Fidelity: {_fidelity(about)}.", ""]
  lines += ["| hyper-parameter | default | searched | recommended instead |", "|---|---|---|---|"]
  for key, value in _defaults(about):
    found = about["search"].get(key)
    searched = found["reference"] if found else _choices(about, key)
    better = found["fixed"] if found and found["fixed"] != found["reference"] else ""
    lines.append(f"| `{key}` | {value} | {searched} | {better} |")
  if about["ignored"]:
    names = ", ".join(f"`{each}`" for each in about["ignored"])
    lines += ["", f"Accepted and ignored, as in the reference: {names}."]
  if about["oddities"]:
    lines += ["", about["oddities"]]
  if about["draws"]:
    lines += ["", "Random draws that `randomness=` may replace:", ""]
    lines += [f"- `{key}`: {form}" for key, form in about["draws"].items()]
  return "\n".join(lines)


def _defaults(about):
  """Yield (name, default as text)."""
  for key, value in about["hyperparameters"].items():
    yield key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _fidelity(about) -> str:
  if len(about["fidelities"]) == 1:
    return "one level"
  other = next(level for level in about["fidelities"] if level != about["fidelity"])
  return f"{about['fidelity']} (default) or {other}"


def _range(about, key) -> str:
  found = about["search"].get(key)
  if found is None:
    return _choices(about, key)
  better = f"; {found['fixed']}" if found["fixed"] != found["reference"] else ""
  return found["reference"] + better


def _choices(about, key) -> str:
  known = about["choices"].get(key)
  return "one of " + ", ".join(map(str, known)) if known else "not searched"


def _wrap(text: str, indent: str = "") -> str:
  return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
