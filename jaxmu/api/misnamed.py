"""Arguments by names that they have elsewhere: in other functions here, or in other libraries."""

from collections.abc import Collection

from jaxmu.errors import MethodError

_BEFORE = "the models to begin with are {}="
_UNSEEN = "unseen samples have no part in it, and are for jaxmu.evaluate and jaxmu.compare"
_HINTS = {
  "unlearn": {
    "original": _BEFORE.format("variables"),
    "params": "{'params': ..., 'batch_stats': ...} are variables=",
    "unseen": _UNSEEN,
    "test": _UNSEEN,
    "seed": "a seed is key=, those of several models are seeds=",
    "hyperparameters": "give each one by its name, as **hyperparameters",
  },
  "compare": {
    "variables": _BEFORE.format("original"),
    "test": "samples that no model saw are unseen=",
    "seed": "seeds are seeds=",
    "key": "seeds are seeds=, a number or a list",
    "training": 'retrained models\' are hyperparameters={"retrained": {...}}',
  },
  "tune": {
    "variables": _BEFORE.format("original"),
    "unseen": _UNSEEN + ", which judge what is chosen here; give validation= alone",
    "test": _UNSEEN + ", which judge what is chosen here; give validation= alone",
    "seed": "seeds are seeds=",
    "key": "seeds are seeds=, a number or a list",
    "hyperparameters": "they are drawn: ranges={name: (low, high), choices or value}",
  },
}


def refuse(function: str, given: Collection[str], known: Collection[str] = ()) -> None:
  """Raise `MethodError` where an argument has a name under which it is known elsewhere.

  Args:
    function: of the door.
    given: names of arguments that it does not have itself.
    known: those of them that mean something, such as hyper-parameters of a method.
  """
  for name, hint in _HINTS[function].items():
    if name in given and name not in known:
      raise MethodError(f"{function} has no argument '{name}': {hint}")
