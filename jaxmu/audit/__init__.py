"""Attacks, metrics and statistics on stored logits and scores: NumPy and SciPy, never jax.

>>> from jaxmu.audit import audit, audit_scores
>>> print(audit(logits=logits, labels=labels, forget=forget, unseen=unseen))
"""

import importlib

__all__ = ["Audit", "StudyAudit", "audit", "audit_scores"]

_LAZY = {
  "Audit": "jaxmu.audit.own_logits",
  "audit": "jaxmu.audit.own_logits",
  "StudyAudit": "jaxmu.audit.own_scores",
  "audit_scores": "jaxmu.audit.own_scores",
}


def __getattr__(name: str):
  """Import on first use: one attack should not import them all."""
  if name in _LAZY:
    return getattr(importlib.import_module(_LAZY[name]), name)
  raise AttributeError(f"module 'jaxmu.audit' has no attribute '{name}'")


def __dir__() -> list[str]:
  return sorted(__all__)
