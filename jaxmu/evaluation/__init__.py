"""Did it work? Models of one's own, judged by their logits, with a file that proves the numbers.

>>> found = jaxmu.evaluate(original=..., unlearned=..., retain=..., forget=..., unseen=...)
>>> print(found)
>>> found.report("report")  # a page, texts, and evidence that anybody can recompute
"""

from jaxmu.lazy import door

__all__ = ["Evaluation", "Verdict", "evaluate", "verify"]

__getattr__, __dir__ = door(
  __name__,
  {
    "Evaluation": "jaxmu.evaluation.result",
    "Verdict": "jaxmu.evaluation.verdict",
    "evaluate": "jaxmu.evaluation.entry",
    "verify": "jaxmu.evaluation.evidence_file",
  },
)
