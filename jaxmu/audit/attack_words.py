"""The attacks of `audit.attacks.strongest` in words that say what the attacker looks at."""

import pandas as pd

from jaxmu.audit.attacks.strongest import ATTACKS


def usual_attack(rows: pd.DataFrame, method: str) -> str:
  """Return the attack that was the strongest for most members of a method; "" where none was."""
  if "T_attack" not in rows:
    return ""
  names = rows.loc[(rows["method"] == method) & rows["finite"].astype(bool), "T_attack"]
  counts = names[names != ""].value_counts()
  return str(min(counts[counts == counts.max()].index)) if len(counts) else ""


def attack_used(rows: pd.DataFrame, method: str) -> str:
  """Say in words which attack was the strongest for most members of a method."""
  name = usual_attack(rows, method)
  known = ATTACKS.get(name)
  return known.words if known else name or "chosen on validation samples"


def attack_note(rows: pd.DataFrame, method: str) -> str:
  """Say the same in a word or two; "" where it is not known."""
  known = ATTACKS.get(usual_attack(rows, method))
  return known.short if known else ""
