"""Did it work? Models of one's own, judged by their logits, with a file that proves the numbers.

>>> found = jaxmu.evaluate(original=..., unlearned=..., retain=..., forget=..., unseen=...)
>>> print(found)
>>> found.report("report")  # a page, texts, and evidence that anybody can recompute
>>> print(jaxmu.compare(["ft", "msg"], model, original, retain=..., forget=..., unseen=...))
"""

from jaxmu.lazy import door

__all__ = ["Comparison", "Evaluation", "Verdict", "compare", "evaluate", "verify"]

__getattr__, __dir__ = door(
  __name__,
  {
    "Comparison": "jaxmu.evaluation.compared",
    "Evaluation": "jaxmu.evaluation.result",
    "Verdict": "jaxmu.evaluation.verdict",
    "compare": "jaxmu.evaluation.several_methods",
    "evaluate": "jaxmu.evaluation.entry",
    "verify": "jaxmu.evaluation.evidence_file",
  },
)
