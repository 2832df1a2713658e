"""The rules of requests, for people: `jaxmu scenarios` and the table of docs/scenarios.md."""

import textwrap

from jaxmu.data.requests import RULES, Rule
from jaxmu.errors import SettingsError, closest
from jaxmu.settings.choices import SEARCHED

WIDTH = 96
WHATEVER = (
  "Whatever the rule: config.scenario.draws (forget sets of each seed), .rounds (parts that are "
  "forgotten one after another), .retain_share (of the retain set, that methods may read)"
)


def overview() -> str:
  """Return a line per rule: its name, and who is forgotten."""
  wide = max(map(len, RULES)) + 2
  lines = [f"{'rule':{wide}}who is forgotten"]
  wrapped = lambda name, rule: textwrap.fill(
    rule.summary, WIDTH, initial_indent=f"{name:{wide}}", subsequent_indent=" " * wide
  )
  lines += [wrapped(name, rule) for name, rule in RULES.items()]
  return "\n".join([*lines, "", textwrap.fill(WHATEVER, WIDTH)])


def details(name: str) -> str:
  """Return everything about one rule; SettingsError for an unknown name."""
  if name not in RULES:
    raise SettingsError(f"unknown rule '{name}'; {closest(name, RULES)}")
  rule = RULES[name]
  parts = {
    "Forgets": rule.summary,
    "Compared with": rule.control,
    "Compared in a search with": SEARCHED[name],
    "Reads": ", ".join(_entries(rule)) or "nothing else",
    "Needs of the data": ", ".join(rule.needs) or "nothing else",
  }
  lines = [f"config.scenario.forget={name}"]
  lines += [
    textwrap.fill(f"{what}: {words}", WIDTH, subsequent_indent="  ")
    for what, words in parts.items()
  ]
  return "\n".join(lines)


def table() -> str:
  """Return the rules as a table of Markdown."""
  rows = [
    f"| `{name}` | {rule.summary} | {rule.control} | {SEARCHED[name]} | "
    f"{', '.join(f'`{entry}`' for entry in rule.reads) or '–'} |"
    for name, rule in RULES.items()
  ]
  head = "| `scenario.forget` | who is forgotten | compared with | in a search | entries |"
  return "\n".join([head, "|---|---|---|---|---|", *rows])


def described() -> dict[str, dict[str, object]]:
  """Return the rules as JSON-ready values."""
  return {
    name: {
      "summary": rule.summary,
      "control": rule.control,
      "searched": SEARCHED[name],
      "reads": list(_entries(rule)),
      "needs": list(rule.needs),
    }
    for name, rule in RULES.items()
  }


def _entries(rule: Rule) -> tuple[str, ...]:
  return tuple(f"config.scenario.{entry}" for entry in rule.reads)
