"""Run a golden case with our methods, and measure how far it ends from the reference.

The case is run as a population: the first member starts where the reference starts, all others at
weights that differ by rounding, which shows how far apart equally valid float32 runs lie.
"""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmu import models
from jaxmu.engine.population import Population
from jaxmu.execution import predictions, runner
from jaxmu.training import Task
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get
from support import golden_rules as rules

CASES = {  # golden file -> registry name
  "original": "original",
  "retrained": "retrained",
  "ft": "ft",
  "ga": "ga",
  "srl": "srl",
  "ngp": "ngplus",
  "cfk1": "cfk",
  "euk1": "euk",
  "ff": "ff",
  "iu": "iu",
  "salun_b32": "salun",
  "scrub": "scrub",
  "fcs": "fcs",
  "msg": "msg",
  "cfw": "cfw",
  "ct": "ct",
  "kde": "kde",
  "vit_ft": "ft",
}
NETWORKS = {  # name in the golden files -> registry name, options, original model
  "resnet18": ("resnet18", {}, rules.resnet18_weights),
  "vit11m": ("tinyvit", {"drop_path": 0.0}, rules.tinyvit_weights),
}
FIDELITY = {"euk1": "reference"}  # all others the method's default
SETS = ("retain", "forget", "val", "test")
# Entries that never meet a pixel at 32 px: MSG resets an arbitrary choice of them.
TIED = tuple(f"layer4.{b}.conv{c}.weight" for b in (0, 1) for c in (1, 2))


def hyperparameters(method, hp):
  flat = {k: v for k, v in hp.items() if not isinstance(v, dict)}
  for group, settings in hp.items():
    if isinstance(settings, dict):
      prefix = "" if group == "optimizer" else f"{group}_"
      flat |= {prefix + k: v for k, v in settings.items()}
  return method.hyperparameters({k: flat[k] for k in method.defaults if k in flat})


def draws(name, params):
  if name == "original":
    return {"union_order": rules.union_order()}
  if name in ("srl", "salun"):
    labels = rules.load("data")["random_labels"]
    return {"union_order": rules.union_order(), "random_labels": labels}
  if name == "euk":
    return {"fresh": fresh(params, "/reset")}
  if name == "ff":
    noise = {n: rules.noise(n + "/noise", s) for n, s in rules.resnet18_shapes().items()}
    noise = {n: np.asarray(value, np.float32) for n, value in noise.items()}
    return {"noise": models.from_torch("resnet18", noise)["params"]}
  if name == "msg":
    return {"subset": np.arange(24), "fresh": fresh(params, "/msg")}
  if name == "kde":
    return {"fresh": fresh(params, "/kde")}
  if name == "cfw":
    noise = lambda draw: rules.noise(f"conv1.weight/{draw}", (64, 3, 7, 7)).astype(np.float32)
    return {draw: noise(draw).transpose(2, 3, 1, 0) for draw in ("noise0", "noise1")}
  return {}


def fresh(params, suffix):
  """Return a tree like params of the values that the rule gives to the names with a suffix."""
  new = {n: rules.tensor(n, s, n + suffix) for n, s in rules.resnet18_shapes().items()}
  new = models.from_torch("resnet18", new)["params"]
  return jax.tree.map(lambda new, old: np.asarray(new, old.dtype), new, params)


def samples(dtype, sizes=None):
  """Return all images [N, H, W, 3] and labels, and set -> positions [1, n]; the first `sizes`."""
  data = {name: rules.images(name) for name in SETS}
  if sizes is not None:
    data = {name: [array[: sizes[name]] for array in data[name]] for name in SETS}
  x = np.concatenate([data[n][0] for n in SETS]).transpose(0, 2, 3, 1).astype(dtype)
  y = np.concatenate([data[n][1] for n in SETS]).astype(np.int32)
  ends = np.cumsum([len(data[n][1]) for n in SETS])
  index = {n: np.arange(e - len(data[n][1]), e)[None] for n, e in zip(SETS, ends)}
  return x, y, index


class Run(NamedTuple):
  """What a golden case gave.

  Attributes:
    golden, meta: the reference's arrays and settings.
    logits: [K, N, C] in eval mode; `index` holds the positions [K, n] of every set.
    states: per copy, PyTorch's name -> array.
    legs: as `runner.run` reports them.
  """

  golden: dict[str, np.ndarray]
  meta: dict[str, Any]
  logits: np.ndarray
  index: dict[str, np.ndarray]
  states: list[dict[str, np.ndarray]]
  legs: list[runner.Leg]


def copies(variables, dtype, count):
  """Return `count` copies of a tree: all but the first off by what storing a number can cost."""
  rng, share = np.random.default_rng(0), float(np.finfo(dtype).epsneg)

  def copied(leaf):
    away = share * rng.standard_normal((count, *np.shape(leaf)))
    away[0] = 0
    return jnp.asarray(np.asarray(leaf, np.float64) * (1 + away), dtype)

  return jax.tree.map(copied, variables)


def run(case, dtype, count=1, keep=lambda leg: leg, **network):
  """Run a case on `count` copies; `keep` sees every leg, `network` holds further fields."""
  golden = rules.load(case)
  method, meta = get(CASES[case]), json.loads(str(golden["meta"]))
  name, options, weights = NETWORKS[meta["model"]]
  variables = models.from_torch(name, weights())
  cast = lambda leaf: np.asarray(leaf, dtype)
  replaced = draws(CASES[case], jax.tree.map(cast, variables["params"]))
  repeated = lambda leaf: np.repeat(np.asarray(leaf)[None], count, 0)
  x, y, index = samples(dtype, meta["sizes"])
  index = {name: np.repeat(positions, count, 0) for name, positions in index.items()}
  population = Population(count, devices=tuple(jax.devices()[:count]))
  task = Task(models.make(name, 10, **options, **network), 10, shuffle=False)
  arrays = population.share(Arrays(jnp.asarray(x), jnp.asarray(y)))
  legs = []
  outcome = runner.run(
    method,
    runner.Problem(population, task, arrays, index),
    copies(variables, dtype, count),
    hp=[hyperparameters(method, meta["hp"])] * count,
    keys=jax.random.split(jax.random.key(0), count),
    fidelity=FIDELITY.get(case),
    draws=jax.tree.map(repeated, replaced),
    on_leg=lambda leg: legs.append(keep(leg)),
  )
  logits = predictions.logits(population, task, arrays, outcome.variables, len(y) // 4)
  final = population.collect(outcome.variables)
  member = lambda k: jax.tree.map(lambda leaf: leaf[k], final)
  state = lambda k: models.to_torch(name, member(k), tensors=False)
  return Run(golden, meta, logits, index, [state(k) for k in range(count)], legs)


def distances(case, found):
  """Return how far a run's copies are from the reference's float64 results.

  Arrays [K] by measure: largest absolute differences of logits and losses (losses only of methods
  that take steps), largest relative ones of the L2 norms of parameters and BatchNorm statistics.
  """
  golden, every = found.golden, range(len(found.logits))
  gap = lambda a, b: np.abs(np.asarray(a, np.float64) - b).max()
  skipped = TIED if case == "msg" else ()

  def norms(kind, state):
    names, wanted = golden[f"{kind}_names"], golden[f"f64/{kind}_l2"]
    length = lambda name: np.linalg.norm(np.asarray(state[name], np.float64))
    return max(
      abs(length(name) / value - 1) for name, value in zip(names, wanted) if name not in skipped
    )

  logits = lambda k, name: gap(found.logits[k][found.index[name][k]], golden[f"f64/logits_{name}"])
  measured = {
    "logits": [max(logits(k, name) for name in SETS) for k in every],
    "parameter norms": [norms("param", state) for state in found.states],
    "BatchNorm norms": [norms("bn", state) for state in found.states],
  }
  if golden["steps"]:
    rows = [steps(found, k)[0] for k in every]
    # The reference also lists losses of passes that only collect gradients, before the steps.
    measured["losses"] = [gap(row, golden["f64/loss_seq"][-len(row) :]) for row in rows]
  return {measure: np.array(values) for measure, values in measured.items()}


def typical(distances):
  """Return the geometric mean of the copies whose starts differ from the reference's.

  Distances are small without a change of sign and a thousand times larger with one: the mean in
  logarithms counts how often it happens, and a single copy decides nothing.
  """
  return np.exp(np.mean(np.log(distances[1:])))


def own_gaps(found):
  """Return the reference's own distances between its float32 and its float64 run, by measure."""
  known = found.meta["tolerance"]
  return {
    "logits": known["logits_max_abs"],
    "parameter norms": known["param_l2_max_rel"],
    "BatchNorm norms": known["bn_l2_max_rel"],
    "losses": known.get("loss_max_abs"),
  }


def steps(found, k=0):
  """Return a copy's losses and learning rates, one per optimizer step."""
  metrics = [leg.metrics for leg in found.legs if not leg.replay]  # none in FF and IU
  loss = np.concatenate([[], *(each.loss[k] for each in metrics)])
  rate = np.concatenate([[], *(each.learning_rate[k] for each in metrics)])
  taken = ~np.isnan(rate)  # SCRUB leaves passes out
  return loss[taken], rate[taken]


def check_rates(found, tolerance):
  """Compare the number of optimizer steps and the learning rate of each."""
  rate = steps(found)[1]
  assert len(rate) == int(found.golden["steps"])
  if len(rate):
    np.testing.assert_allclose(rate, found.golden["lr_seq"], rtol=tolerance)
