"""A table to be read: what a wrong call of the Python interface answers, in one line.

In data/misuses.txt stands a call after `>>> `, and under it the exception with its message, where a
last `...` is its rest; `taken` says that nothing was wrong. Nothing here compiles a model.
"""

import re
from pathlib import Path
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import problems
from support.user_networks import Stock, initial
from support.wrong_networks import ONE, STACK, Bit, Stack

import jaxmu
from jaxmu import models
from jaxmu.audit import audit, audit_scores
from jaxmu.errors import UnlearningWarning, UserError
from jaxmu.evaluation import verify
from jaxmu.execution import predictions, programs

TABLE = (Path(__file__).parent / "data" / "misuses.txt").read_text()
CASES = re.findall(r"^>>> (.+)\n(.+)$", TABLE, re.M)


class Taken(Exception):
  """A call got as far as compiling."""


class Tensor(NamedTuple):
  """A tensor of PyTorch that requires a gradient, as far as it is asked."""

  array: np.ndarray
  dtype = "torch.float32"

  def detach(self):
    return self

  def cpu(self):
    return self

  def numpy(self):
    return self.array


@pytest.fixture(scope="module")
def names():
  """Return what the calls of the table name."""
  x, y = problems.samples()
  model, rng = Stock(), np.random.default_rng(0)
  weights = initial(model, train=False)
  retain, forget, unseen = ((x[part], y[part]) for part in np.split(np.arange(38), [22, 32]))
  sets = {"retain": retain, "forget": forget, "unseen": unseen}
  every_logit = rng.normal(size=(len(y), 4))
  logits = dict(zip(sets, np.split(every_logit, [22, 32])))
  positions = {"retain": range(22), "forget": range(22, 32), "unseen": range(32, 38)}
  shape = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  resnet = jax.eval_shape(models.make("resnet18", 10).init, jax.random.key(0), shape)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), resnet)
  both = lambda given: {"original": given, "unlearned": given}
  return {
    **{name: getattr(jaxmu, name) for name in jaxmu.__all__ if name != "audit"},
    "np": np,
    "jnp": jnp,
    "jax": jax,
    "tree_map": jax.tree.map,
    "freeze": flax.core.freeze,
    "softmax": lambda logits: special.softmax(logits, -1),
    "audit": audit,
    "audit_scores": audit_scores,
    "verify": verify,
    "Tensor": Tensor,
    "x": x,
    "y": y,
    "retain": retain,
    "forget": forget,
    "unseen": unseen,
    "model": model,
    "weights": weights,
    "pixels": rng.integers(0, 256, x.shape).astype(np.uint8),
    "every_logit": every_logit,
    "Stack": Stack,
    "linear": STACK,
    "one_logit": ONE,
    "nnx_module": Bit(),
    "logits": logits,
    "state": models.to_torch("resnet18", zeros, tensors=False),
    "pairs": {"model": model, **both(weights), **sets},
    "by_set": both(logits) | {name: labels for name, (_, labels) in sets.items()},
    "whole": {**both(every_logit), "labels": y, **positions},
    "scores": rng.normal(size=(8, 20)),
    "roles": rng.integers(0, 3, (8, 20)),
    "splits": np.arange(8),
  }


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
  def late(*args, **options):
    raise Taken

  monkeypatch.setattr(programs, "build", late)
  monkeypatch.setattr(predictions, "logits", late)


def answer(call, names):
  """Return what a call answers, as the table has it; its type must be one that is promised."""
  with pytest.raises((UserError, UnlearningWarning, TypeError, Taken)) as caught:
    eval(call, {**names})
  if caught.type is Taken:
    return "taken"
  return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize(("call", "expected"), CASES, ids=[call for call, _ in CASES])
def test_a_misuse_is_one_line(call, expected, names, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  found, start = answer(call, names), expected.removesuffix("...")
  assert found.startswith(start) and (found == start or expected != start), found
  assert "\n" not in found and len(found) < 420, found
  assert not list(tmp_path.iterdir())


def test_every_line_of_the_table_is_read():
  told = [line for line in TABLE.splitlines() if line and not line.startswith("# ")]
  assert len(told) == 2 * len(CASES) and len({call for call, _ in CASES}) == len(CASES) > 80
