"""Flags of bin/report.py: what a method must reach, in place of what the run's config asks."""

import argparse
from typing import Any

from jaxmu.errors import SettingsError
from jaxmu.settings.entries import Field, declared
from jaxmu.settings.ranges import Unfit, fit
from jaxmu.settings.sections import ReportSettings


def add(parser: argparse.ArgumentParser) -> None:
  """Add a flag for every entry of `config.report`."""
  for field in declared(ReportSettings):
    assert field.entry
    parser.add_argument(_flag(field), type=float, metavar="X", help=field.entry.meaning)


def asked(args: argparse.Namespace) -> dict[str, Any]:
  """Return the entries that were given; SettingsError where one is outside its range."""
  found = {}
  for field in declared(ReportSettings):
    value = getattr(args, field.name)
    if value is None:
      continue
    assert field.entry
    try:
      found[field.name] = fit(value, field.kind, field.entry.within)
    except Unfit as error:
      raise SettingsError(f"{_flag(field)} is {value:g}; expected {error}") from None
  return found


def _flag(field: Field) -> str:
  return f"--{field.name.replace('_', '-')}"
