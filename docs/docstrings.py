"""The project's docstrings for mkdocstrings, which reads Google's sections a little more strictly.

- A paragraph that begins with `>>>` is shown as code; Markdown would take it for a quotation of a
  quotation of a quotation.
- `retain, forget: ...`, one line for arguments that are alike, is shown as one line for each.
"""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?:>>>|\.\.\.).*)*", re.M)
SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?:  .*)?\n?)*", re.M)
ALIKE = re.compile(r"^  (\w+(?:, \w+)+):(.*(?:\n    .*)*)", re.M)


class Docstrings(griffe.Extension):
  """Writes every docstring as mkdocstrings expects it."""

  def on_object(self, *, obj, loader, **kwargs):
    if obj.docstring:
      obj.docstring.value = SECTION.sub(
        lambda section: ALIKE.sub(_apart, section[0]),
        EXAMPLE.sub(lambda found: f"```python\n{found[0]}\n```", obj.docstring.value),
      )


def _apart(found: re.Match) -> str:
  return "\n".join(f"  {name}:{found[2]}" for name in found[1].split(", "))
