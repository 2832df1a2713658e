"""FF's Fisher diagonal and noise variance against the reference implementation, in float64."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from support import golden_rules as rules

from jaxmu import models
from jaxmu.training import Task, View
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ff


def test_fisher_diagonal_and_variance_equal_the_references():
  golden = rules.load("ff")
  hp = json.loads(str(golden["meta"]))["hp"]
  with jax.enable_x64(True):
    phi, spread = compute(hp["batch_size"], hp["alpha"])
  names = golden["param_names"].tolist()
  checks = (("phi_sum", phi, np.sum), ("phi_max", phi, np.max), ("var_sum", spread, np.sum))
  for key, tree, reduce in checks:
    got = [reduce(tree[name]) for name in names]
    np.testing.assert_allclose(got, golden[f"f64/x/{key}"], rtol=1e-11, err_msg=key)
  for key in ("conv1.weight", "bn1.weight", "fc.weight", "fc.bias"):
    np.testing.assert_allclose(phi[key], golden[f"f64/x/phi/{key}"], rtol=1e-9, atol=1e-20)


def compute(batch_size, alpha):
  """Return Phi and v on the golden retain set, by the names of PyTorch."""
  variables = models.from_torch("resnet18", rules.resnet18_weights())
  variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), variables)
  x, y = rules.images("retain")
  arrays = Arrays(jnp.asarray(x.transpose(0, 2, 3, 1), float), jnp.asarray(y))
  view = View(Task(models.make("resnet18", 10), 10), arrays, {"retain": jnp.arange(len(y))}, {})

  @jax.jit
  def both(variables):
    phi = ff.fisher(variables["params"], variables["batch_stats"], view, batch_size)
    return phi, ff.variance(phi, alpha, 10)

  named = lambda params: models.to_torch("resnet18", {**variables, "params": params}, tensors=False)
  return [named(tree) for tree in both(variables)]
