"""CFW: where noise goes and when, class weights, and fine-tuning as its limit (methods.md 6.3)."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems, replays

from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training.task import Batch
from jaxmu.unlearning import cfw, get

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

HP = {**cfw.METHOD.defaults, "batch_size": 8}
KEY = jax.random.key(3)


class Embedded(nn.Module):
  """Only the trait counts: the first convolution lies inside a patch embedding."""

  stem_is_a_layer: ClassVar[bool] = False


@pytest.fixture(scope="module")
def start():
  return replays.alone(replays.start())


def prepare(start, key=KEY, module=None, draws=None, **hp):
  view = replays.view(["retain"], module, **(draws or {}))
  return cfw.prepare(start, contract.step({**HP, **hp}, view, key=key))


def changed(before, after):
  """Return the names of the modules whose kernel differs; all other leaves must be equal."""
  kernels = {n: np.array_equal(before[n].get("kernel"), after[n].get("kernel")) for n in before}
  for name, leaves in before.items():
    for leaf in set(leaves) - {"kernel"}:
      np.testing.assert_array_equal(leaves[leaf], after[name][leaf])
  return {name for name, same in kernels.items() if not same}


@pytest.mark.parametrize(
  ("options", "wanted"),
  [
    ({}, {"stem"}),
    ({"scope": "all_convs"}, {"stem", "stage1"}),
    ({"start_confuser_std": 0.0}, set()),
    ({"module": Embedded()}, set()),
    ({"module": Embedded(), "scope": "all_convs"}, {"stem", "stage1"}),
  ],
)
def test_noise_reaches_the_stem_kernel_alone_unless_asked_otherwise(start, options, wanted):
  variables, _ = prepare(start, **options)
  assert changed(start["params"], variables["params"]) == wanted
  assert problems.equal(variables["batch_stats"], start["batch_stats"])


def test_drawn_noise_is_standard_normal_times_the_deviation(start):
  before = start["params"]["stem"]["kernel"]
  draw = jax.jit(lambda key: prepare(start, key)[0]["params"]["stem"]["kernel"])
  drawn = [draw(key) for key in jax.random.split(KEY, 40)]
  xi = (np.stack(drawn) - before) / 0.6
  assert abs(xi.mean()) < 4 / np.sqrt(xi.size)
  assert abs(np.square(xi).mean() - 1) < 4 * np.sqrt(2 / xi.size)
  assert np.unique(xi).size == xi.size


def test_injected_noise_replaces_the_drawn_one(start):
  noise = np.random.default_rng(0).normal(size=(3, 3, 1, 4))
  variables, _ = prepare(start, draws={"noise0": noise})
  wanted = start["params"]["stem"]["kernel"] + 0.6 * noise
  np.testing.assert_allclose(variables["params"]["stem"]["kernel"], wanted, rtol=1e-15)
  everywhere = jax.tree.map(lambda leaf: np.full(leaf.shape, 2.0), start["params"])
  variables, _ = prepare(start, draws={"noise0": everywhere}, scope="all_convs")
  for name in ("stem", "stage1"):
    wanted = start["params"][name]["kernel"] + 1.2
    np.testing.assert_allclose(variables["params"][name]["kernel"], wanted, rtol=1e-15)


@pytest.mark.parametrize(
  ("scope", "message"),
  [
    ("stem", r"^cfw: noise0 must have shape \(3, 3, 1, 4\), got \(4, 1, 3, 3\)$"),
    ("all_convs", "^cfw: noise0 must be a tree like params, with leaves of the same shapes$"),
  ],
)
def test_noise_of_another_form_is_refused(start, scope, message):
  with pytest.raises(MethodError, match=message):
    prepare(start, draws={"noise0": np.zeros((4, 1, 3, 3))}, scope=scope)


def test_an_unknown_scope_is_refused():
  with pytest.raises(MethodError, match=r"^cfw: scope must be one of stem, all_convs, got 'all'$"):
    cfw.METHOD.hyperparameters({"scope": "all"})


def test_class_weights_are_balanced_over_the_classes_that_occur():
  labels = jnp.array([0, 0, 0, 2, 2, 3])
  found = cfw.balanced_weights(jnp.bincount(labels, length=5).astype(float), labels.size)
  np.testing.assert_allclose(found, [6 / (3 * 3), 0, 6 / (3 * 2), 6 / (3 * 1), 0])
  assert np.mean(found[labels]) == pytest.approx(1)


@pytest.mark.parametrize("per_sample", [False, True])
def test_loss_leaves_padding_out_and_weighs_as_asked(per_sample):
  rng = np.random.default_rng(1)
  logits, y, weights = rng.normal(size=(6, 3)), rng.integers(0, 3, 6), rng.uniform(0.5, 2, 3)
  batch = Batch(None, jnp.asarray(y), jnp.array([1, 1, 1, 1, 0, 0]))
  forward = lambda params, stats, x, weight: (jnp.asarray(logits), stats)
  known = contract.step({"per_sample": per_sample}, aux=jnp.asarray(weights), forward=forward)
  found, _ = cfw.loss(None, {}, batch, known)
  values = np.array([np.log(np.exp(z).sum()) - z[c] for z, c in zip(logits, y)])[:4]
  w = weights[y[:4]]
  assert float(found) == pytest.approx(
    np.mean(w * values) if per_sample else w.mean() * values.mean()
  )


HP_RUN = {"batch_size": 8, "learning_rate": 0.05, "final_confuser_std": 0.25}
SILENT = np.zeros((1, 3, 3, 1, 4))


def run(problem=None, noise0=SILENT, noise1=SILENT, name="cfw", epochs=3):
  """Run with injected noise; returns (variables, snapshots after every epoch, legs)."""
  method, snapshots, legs = get(name), [], []
  draws = {"noise0": noise0, "noise1": noise1} if name == "cfw" else {}
  hp = {k: v for k, v in {**HP_RUN, "num_epochs": epochs}.items() if k in method.defaults}

  def keep(leg):
    legs.append(leg)
    snapshots.append(leg.snapshot())

  outcome = runner.run(
    method,
    problem or replays.problem(),
    replays.start(),
    hp=[method.hyperparameters(hp)],
    keys=problems.member_keys([1]),
    draws=draws,
    on_leg=keep,
  )
  return replays.alone(outcome.variables), snapshots, legs


def test_equals_fine_tuning_without_noise_on_balanced_classes():
  """Two of the four classes occur, eleven times each, so that every weight is 1."""
  _, y = problems.samples()
  retain = problems.index()["retain"][0]
  y[retain] = np.arange(22) % 2
  balanced = replays.problem(y.copy())
  replays.close(run(balanced)[0], run(balanced, name="ft")[0])
  y[retain[:5]] = 2  # the control: weights between 11/15 and 22/15
  other = replays.problem(y)
  kernels = [run(other, name=name)[0]["params"]["stem"]["kernel"] for name in ("cfw", "ft")]
  assert not np.allclose(*kernels, rtol=1e-3)


def test_the_second_noise_comes_after_the_last_epoch_but_one_and_keeps_momentum():
  _, (first, second, _), _ = run(noise1=SILENT + 2.0)
  _, (quiet_first, quiet_second, _), _ = run()
  assert problems.equal(first.variables, quiet_first.variables)
  quiet, noisy = (replays.alone(s.variables["params"]) for s in (quiet_second, second))
  assert changed(quiet, noisy) == {"stem"}
  moved = noisy["stem"]["kernel"] - quiet["stem"]["kernel"]
  np.testing.assert_allclose(moved, 0.5, rtol=1e-12)
  assert problems.equal(second.optimizers, quiet_second.optimizers)


def test_a_single_epoch_gets_no_second_noise():
  assert problems.equal(run(noise1=SILENT + 2.0, epochs=1)[0], run(epochs=1)[0])
  assert not problems.equal(run(noise1=SILENT + 2.0, epochs=2)[0], run(epochs=2)[0])


def test_whole_run_equals_a_loop():
  """Noise, weighted epochs under a cosine, noise; batches of 8, 8 and 6."""
  noise = np.random.default_rng(4).normal(size=(2, 3, 3, 1, 4))
  found, _, legs = run(noise0=noise[:1], noise1=noise[1:])
  variables, (x, y) = replays.alone(replays.start()), replays.data()
  counts = np.bincount(y, minlength=4)
  weights = len(y) / (np.sum(counts > 0) * np.maximum(counts, 1))
  state = (variables["params"], variables["batch_stats"], replays.zeros(variables["params"]))
  state[0]["stem"]["kernel"] = state[0]["stem"]["kernel"] + 0.6 * noise[0]
  losses = []
  for epoch in range(3):
    rate = 0.05 * (1 + np.cos(np.pi * epoch / 3)) / 2
    state, more = replays.epoch(
      state, (x, y), weighted, rate=rate, momentum=0.9, decay=5e-4, extra=weights[y]
    )
    losses += more
    if epoch == 1:
      state[0]["stem"]["kernel"] = state[0]["stem"]["kernel"] + 0.25 * noise[1]
  np.testing.assert_allclose([v for leg in legs for v in leg.metrics.loss[0]], losses, rtol=1e-9)
  replays.close(found, {"params": state[0], "batch_stats": state[1]})


def weighted(logits, y, w):
  values = jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y]
  return jnp.mean(w) * jnp.mean(values)
