"""Models from their first weights on: originals, and ones that never saw the forget set."""

from collections.abc import Sequence
from typing import Any

from jaxmu.api.calls import unlearn
from jaxmu.api.checked_call import Pair
from jaxmu.api.model import is_nnx
from jaxmu.errors import ModelError


def train(
  model: Any,
  variables: Any = None,
  *,
  data: Pair | None = None,
  retain: Any,
  forget: Any = None,
  seeds: int | Sequence[int] | None = None,
  **more,
) -> Any:
  """Train models on retain and forget set together: originals, several in one compiled program.

  >>> originals = jaxmu.train(model, retain=(x_r, y_r), forget=(x_f, y_f), seeds=5, num_epochs=30)

  Cross-entropy, SGD with momentum, a cosine; `learning_rate` (0.1), `momentum` (0.9),
  `weight_decay` (5e-4), `batch_size` (256) and `num_epochs` (182) are yours to choose.

  Args:
    variables: first weights, of one model or a list; None: the linen module draws them, each from
      its seed.
    retain, forget: pairs (x, y), or beside `data` positions in it or masks; without a forget set
      this is `jaxmu.retrain`.
    data: (x, y) of all samples, as for `jaxmu.unlearn`.
    seeds: as for `jaxmu.unlearn`; None: one model, whose `key` may be given.
    **more: everything else that `jaxmu.unlearn` takes.

  Returns:
    What `jaxmu.unlearn` does: one model, or a list of as many as there are seeds.

  Raises:
    ModelError: of an nnx module without variables: only its constructor draws first weights.

  And what `jaxmu.unlearn` does.
  """
  more |= {"data": data, "retain": retain, "seeds": seeds}
  if forget is None:
    return retrain(model, variables, **more)
  _refuse_used_weights(model, variables)
  return unlearn("original", model, variables, forget=forget, **more)


def retrain(
  model: Any,
  variables: Any = None,
  *,
  data: Pair | None = None,
  retain: Any,
  seeds: int | Sequence[int] | None = None,
  **more,
) -> Any:
  """Train models on the retain set alone: they never saw what others are to forget.

  >>> retrained = jaxmu.retrain(model, retain=(x_r, y_r), seeds=5, num_epochs=30, batch_size=64)

  What forgetting should look like: `jaxmu.evaluate(retrained=...)` compares with them. Of one seed
  they begin with the weights with which `jaxmu.train` does. Train them as the originals were: what
  was trained longer or shorter differs by more than the forget set.

  Args, results and errors are those of `jaxmu.train`.
  """
  _refuse_used_weights(model, variables)
  return unlearn("retrained", model, variables, data=data, retain=retain, seeds=seeds, **more)


def _refuse_used_weights(model: Any, variables: Any) -> None:
  """Refuse weights that an nnx module happens to have: they may know the forget set."""
  if variables is None and is_nnx(model):
    name = type(model).__name__
    raise ModelError(
      f"{name} is an nnx module, whose weights may be trained already; give fresh ones: "
      f"variables=nnx.state({name}(rngs=nnx.Rngs(seed))), or a list of them; jaxmu.compare and "
      "jaxmu.tune take what jaxmu.retrain makes of them as retrained="
    )
