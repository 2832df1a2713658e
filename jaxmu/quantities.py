"""Quantities in words: times and bytes with a fitting unit."""


def duration(seconds: float) -> str:
  """Write a time with a unit: seconds below two minutes, then minutes, then hours."""
  if seconds < 120:
    return f"{seconds:.0f} s"
  return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bytes_text(count: float) -> str:
  """Write a number of bytes with a unit."""
  for unit in ("B", "kB", "MB", "GB"):
    if count < 1000:
      return f"{count:.0f} {unit}"
    count /= 1000
  return f"{count:.1f} TB"
