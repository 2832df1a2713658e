"""`jaxmu.evaluate`: did it work?"""

from typing import Any

from jaxmu.errors import DataError, SettingsError, shown
from jaxmu.evaluation import inputs, result, verdict
from jaxmu.evaluation.result import Evaluation


def evaluate(
  *,
  original: Any,
  unlearned: Any,
  retain: Any,
  forget: Any,
  unseen: Any,
  retrained: Any = None,
  validation: Any = None,
  labels: Any = None,
  model: Any = None,
  data: Any = None,
  preprocess: Any = None,
  mean: Any = None,
  std: Any = None,
  memory_limit: int | None = None,
  max_attack: float | None = None,
  min_test_accuracy: float | None = None,
  max_forget_gap: float | None = None,
) -> Evaluation:
  """Judge unlearning by logits of the models, from any framework, or by a Flax model's variables.

  >>> parts = ("retain", "forget", "unseen")
  >>> found = jaxmu.evaluate(
  ...   original={part: original_logits[part] for part in parts},  # [n, C], or [K, n, C] of K seeds
  ...   unlearned={part: unlearned_logits[part] for part in parts},
  ...   retain=y_retain, forget=y_forget, unseen=y_unseen,  # labels [n]
  ... )
  >>> print(found)
  >>> found.report("deletion")

  All samples without augmentation, all models in eval mode. The metrics, attacks, intervals and
  warnings are those of a benchmark's report (`jaxmu.audit`), and what looks wrong in the inputs is
  warned of. Without `model` neither jax nor flax is imported.

  Args:
    original, unlearned, retrained: the models before and after unlearning, and ones trained without
      the forget set. Three forms: logits by set, {"retain": [n, C], "forget": ..., "unseen": ...};
      logits of all samples, [N, C], beside `labels`; variables, beside `model`. Of K seeds: logits
      [K, n, C], or a list of variables; the k-th of each belong together, and one serves all.
    retain, forget, unseen: samples that stay, that were to be forgotten, and that no model ever
      saw: labels int [n]; beside `labels` positions or masks, [n], or [K, n] where every seed has
      sets of its own; beside `model` pairs (x, y), or positions in `data`, as for `jaxmu.unlearn`.
    validation: further unseen samples, to choose the strongest attack with; else a part of
      `unseen` that does not measure it serves.
    labels: int [N] of all samples.
    model: a linen or nnx module, as for `jaxmu.unlearn`.
    data: beside `model` a pair (x, y) of all samples; x may be memory-mapped.
    preprocess, mean, std, memory_limit: how images become its input, as for `jaxmu.unlearn`.
    max_attack: most that the upper end of the strongest attack's interval may reach. Without it:
      not recognised, beyond what retraining leaves.
    min_test_accuracy: least accuracy on unseen samples. Without it: that of retrained models, less
      what another seed moves.
    max_forget_gap: most that forget accuracy may differ from retrained models'. Without it: what
      another seed moves.

  Raises:
    DataError: arrays of the wrong form, NaN or infinity, labels outside the classes, sets that
      overlap or are too small to be attacked (6 samples).
    ModelError: of variables and models, as `jaxmu.predict`.
    SettingsError: a threshold outside [0, 1), or max_forget_gap without retrained models.
  """
  asked = verdict.thresholds(
    {
      "max_attack": max_attack,
      "min_test_accuracy": min_test_accuracy,
      "max_forget_gap": max_forget_gap,
    }
  )
  models = {"original": original, "unlearned": unlearned, "retrained": retrained}
  models = {name: given for name, given in models.items() if given is not None}
  sets = {"retain": retain, "forget": forget, "unseen": unseen, "validation": validation}
  sets = {name: given for name, given in sets.items() if given is not None}
  for name in ("original", "unlearned", "retain", "forget", "unseen"):
    if name not in models | sets:
      raise DataError(f"{name} is missing, got {shown(None)}")
  if asked.max_forget_gap and "retrained" not in models:
    raise SettingsError("max_forget_gap compares with retrained models; expected retrained=")
  if model is not None and labels is not None:
    raise DataError("labels= is for logits; with model= the sets are pairs (x, y)")
  if data is not None and model is None:
    raise DataError("data= is for samples of which model= makes logits; expected model=")
  how = {"preprocess": preprocess, "mean": mean, "std": std, "memory_limit": memory_limit}
  if model is None and any(value is not None for value in how.values()):
    names = ", ".join(f"{name}=" for name in how)
    raise DataError(f"{names} are of images; expected model= beside them")
  if model is not None:
    from jaxmu.evaluation import of_model  # jax and flax, which logits do without

    given = of_model.read(model, models, sets, how, data)
  elif labels is not None:
    given = inputs.whole(models, labels, sets)
  else:
    given = inputs.by_set(models, sets)
  return result.measure(given, asked)
