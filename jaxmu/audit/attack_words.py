"""The attacks of `audit.attacks.strongest` in words that say what the attacker looks at."""

import pandas as pd

SHORT = {
  "margin": "confidence",
  "entropy": "certainty",
  "modified_entropy": "both",
  "correctness": "right or wrong",
  "histogram": "bands",
}
WORDS = {
  "margin": "a threshold on the confidence in the label",
  "entropy": "a threshold on how certain the prediction is, whatever it says (entropy)",
  "modified_entropy": "a threshold on certainty and label together (modified entropy)",
  "correctness": "whether the prediction is right",
  "histogram": "bands of confidence that forgotten samples fill more than unseen ones",
}


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
  return WORDS.get(name, name) or "chosen on validation samples"
