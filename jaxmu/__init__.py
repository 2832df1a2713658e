"""jaxmu: machine unlearning in image classifiers, for populations of models.

>>> import jaxmu
>>> model, variables = jaxmu.models.build("resnet18", num_classes=10, image_size=32)
>>> unlearned = jaxmu.unlearn("msg", model, variables, retain=(x_r, y_r), forget=(x_f, y_f))
>>> logits = jaxmu.predict(model, unlearned, x)
>>> print(jaxmu.audit.audit(logits=logits, labels=y, forget=forget, unseen=unseen))
"""

import importlib

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "errors", "methods", "models", "predict", "unlearn"]

_LAZY = {
  "methods": "jaxmu.api",
  "predict": "jaxmu.api",
  "unlearn": "jaxmu.api",
}


def __getattr__(name: str):
  """Import on first use, so that `import jaxmu` and `--help` stay fast and start no device."""
  if name in _LAZY:
    return getattr(importlib.import_module(_LAZY[name]), name)
  if name in ("audit", "errors", "models"):
    return importlib.import_module(f"jaxmu.{name}")
  raise AttributeError(f"module 'jaxmu' has no attribute '{name}'")


def __dir__() -> list[str]:
  return sorted(__all__)
