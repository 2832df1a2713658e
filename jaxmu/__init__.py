"""jaxmu: machine unlearning in image classifiers, for populations of models.

>>> import jaxmu
>>> model, variables = jaxmu.models.build("resnet18", num_classes=10, image_size=32)
>>> unlearned = jaxmu.unlearn("msg", model, variables, retain=(x_r, y_r), forget=(x_f, y_f))
>>> logits = jaxmu.predict(model, unlearned, x)
>>> print(jaxmu.evaluate(model=model, original=variables, unlearned=unlearned,
...                      retain=(x_r, y_r), forget=(x_f, y_f), unseen=(x_u, y_u)))
"""

from jaxmu.lazy import door

__version__ = "0.1.0"
__all__ = [
  "__version__",
  "audit",
  "compare",
  "errors",
  "evaluate",
  "methods",
  "models",
  "predict",
  "retrain",
  "train",
  "tune",
  "unlearn",
  "unlearn_requests",
]

# On first use, so that `import jaxmu` and `--help` stay fast and start no device.
__getattr__, _names = door(
  __name__,
  {
    "audit": "jaxmu.audit",
    "compare": "jaxmu.evaluation.several_methods",
    "errors": "jaxmu.errors",
    "evaluate": "jaxmu.evaluation.entry",
    "methods": "jaxmu.api",
    "models": "jaxmu.models",
    "predict": "jaxmu.api",
    "retrain": "jaxmu.api",
    "train": "jaxmu.api",
    "tune": "jaxmu.api.hyper_search",
    "unlearn": "jaxmu.api",
    "unlearn_requests": "jaxmu.api",
  },
)


def __dir__() -> list[str]:
  return sorted(["__version__", *_names()])
