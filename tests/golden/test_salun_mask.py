"""SalUN's mask against the reference implementation's, entry by entry, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract
from support import golden_rules as rules

from jaxmu import models
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import salun


@pytest.mark.parametrize("fidelity", ["reference", "fixed"])
def test_the_mask_equals_the_references(fidelity):
  """With one forget batch both levels of fidelity coincide."""
  golden = rules.load("salun_b32")
  with jax.enable_x64(True):
    widen = lambda leaf: jnp.asarray(leaf, jnp.float64)
    variables = jax.tree.map(widen, models.from_torch("resnet18", rules.resnet18_weights()))
    x, y = rules.images("forget")
    arrays = Arrays(widen(x.transpose(0, 2, 3, 1)), jnp.asarray(y, jnp.int32))
    task = Task(models.make("resnet18", 10), 10, shuffle=False)
    view = View(task, arrays, {"forget": jnp.arange(len(y))}, {})
    hp = {"batch_size": 32, "threshold": 0.1, "threshold_rest": 0.0, "fidelity": fidelity}
    known = contract.step(hp, view, key=jax.random.key(0))
    as_numbers = lambda mask: mask.astype(jnp.float64)  # a state dict holds weights
    prepare = jax.jit(lambda v: jax.tree.map(as_numbers, salun.prepare(v, known)[1].mask))
    mask = models.to_torch("resnet18", {**variables, "params": prepare(variables)}, tensors=False)
  parts = [mask[name].reshape(-1) == 1 for name in golden["x/mask_names"]]
  assert [part.sum() for part in parts] == golden["x/mask_counts"].tolist()
  packed = np.packbits(np.concatenate(parts))
  np.testing.assert_array_equal(packed, golden["x/mask_packed"])
