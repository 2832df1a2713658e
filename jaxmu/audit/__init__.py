"""Attacks, metrics and statistics on stored logits and scores: NumPy and SciPy, never jax.

>>> from jaxmu.audit import audit, audit_scores
>>> print(audit(logits=logits, labels=labels, forget=forget, unseen=unseen))
"""

from jaxmu.lazy import door

__all__ = ["METRICS", "Audit", "StudyAudit", "audit", "audit_scores"]

# On first use: one attack should not import them all.
__getattr__, __dir__ = door(
  __name__,
  {
    "METRICS": "jaxmu.audit.metrics",
    "Audit": "jaxmu.audit.own_logits",
    "audit": "jaxmu.audit.own_logits",
    "StudyAudit": "jaxmu.audit.own_scores",
    "audit_scores": "jaxmu.audit.own_scores",
  },
)
