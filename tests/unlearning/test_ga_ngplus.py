"""GA and NG+ against FT, against each other and against loops by hand (methods.md 2.1-2.4)."""

import dataclasses
import itertools
from functools import partial

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, layerwise, problems

from jaxmu import models
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training import Phase, schedules
from jaxmu.training.objectives import ascent
from jaxmu.unlearning import ft, ga, ngplus

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

SEEDS = (1,)
# 22 retain samples in batches of 8, 8 and 6; 10 forget samples in batches of 8 and 2.
HP = {
  "learning_rate": 0.05,
  "momentum": 0.9,
  "weight_decay": 0.01,
  "batch_size": 8,
  "num_epochs": 2,
}


@pytest.fixture(scope="module")
def data():
  x, y = problems.samples()
  return x.astype(np.float64), y


@pytest.fixture(scope="module")
def start():
  """Return initial weights with statistics that eval mode can be told from train mode by."""
  variables = problems.weights(SEEDS)
  stats = {"norm": {"mean": np.full((1, 4), 0.2), "var": np.full((1, 4), 1.5)}}
  return {"params": variables["params"], "batch_stats": stats}


def execute(method, data, start, hp, *, shuffle=True, same_sets=False):
  """Run without checking hyper-parameters, so that a rate may be negative."""
  hp = {**method.defaults, **hp}
  problem = problems.problem(1, x=data[0], y=data[1], shuffle=shuffle)
  if same_sets:
    problem = dataclasses.replace(
      problem, index={**problem.index, "retain": problem.index["forget"]}
    )
  outcome = runner.run(method, problem, start, hp=[hp], keys=member_keys(SEEDS))
  return problem.population.collect(outcome.variables), outcome


def variant(method, one_pass):
  """Return `method` with another pass as its only phase."""
  return dataclasses.replace(
    method, name="reference", phases=lambda options: (Phase("reference", (one_pass,)),)
  )


def close(found, wanted, rtol=1e-10):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)
  jax.tree.map(compare, found, wanted)


# GA


ONE_STEP = {**HP, "batch_size": 10, "num_epochs": 1, "weight_decay": 0.0}


def test_one_step_of_ga_is_the_ft_step_with_the_rate_turned_round(data, start):
  up, _ = execute(ga.METHOD, data, start, ONE_STEP)
  turned = {**ONE_STEP, "learning_rate": -ONE_STEP["learning_rate"]}
  down, _ = execute(ft.METHOD, data, start, turned, shuffle=False, same_sets=True)
  close(up, down)
  forward, _ = execute(ft.METHOD, data, start, ONE_STEP, shuffle=False, same_sets=True)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), up["params"], forward["params"])
  assert all(value > 1e-6 for value in jax.tree.leaves(moved))


def test_weight_decay_shrinks_the_weights_while_the_loss_rises(data, start):
  """theta <- theta - eta (-g + lambda theta): decay moves every leaf by -eta lambda theta."""
  plain, _ = execute(ga.METHOD, data, start, ONE_STEP)
  decayed, _ = execute(ga.METHOD, data, start, {**ONE_STEP, "weight_decay": 0.1})
  difference = jax.tree.map(np.subtract, decayed["params"], plain["params"])
  close(difference, jax.tree.map(lambda t: -0.05 * 0.1 * t, start["params"]), rtol=1e-9)


def test_ga_raises_the_loss_on_the_forget_set_at_a_constant_rate(data, start):
  legs = []
  problem = problems.problem(1, x=data[0], y=data[1])
  runner.run(
    ga.METHOD,
    problem,
    start,
    hp=[{**HP, "num_epochs": 5}],
    keys=member_keys(SEEDS),
    on_leg=legs.append,
  )
  reported = [leg.metrics.loss[0] @ [0.8, 0.2] for leg in legs]  # batches of 8 and 2
  assert reported[-1] < reported[0] - 0.5 < 0  # what falls is -CE
  for leg in legs:
    np.testing.assert_array_equal(leg.metrics.learning_rate, [[0.05, 0.05]])


# NG+


def test_alpha_one_is_fine_tuning_with_frozen_batch_norm_at_a_constant_rate(data, start):
  found, _ = execute(ngplus.METHOD, data, start, {**HP, "alpha": 1.0})
  (step,) = ft.METHOD.phases(HP)[0].passes
  frozen = step._replace(
    batch_norm="eval", schedule=lambda hp, n: schedules.constant(hp["learning_rate"])
  )
  wanted, _ = execute(variant(ft.METHOD, frozen), data, start, HP)
  close(found, wanted)
  assert problems.equal(found["batch_stats"], start["batch_stats"])


def test_alpha_zero_is_gradient_ascent_with_frozen_batch_norm_on_the_cycled_stream(data, start):
  found, _ = execute(ngplus.METHOD, data, start, {**HP, "alpha": 0.0})
  on_forget = lambda params, stats, pair, step: ascent(params, stats, pair.forget, step)
  (step,) = ga.METHOD.phases(HP)[0].passes
  cycled = step._replace(stream="zip_cycle", loss=on_forget, batch_norm="eval")
  wanted, _ = execute(variant(ngplus.METHOD, cycled), data, start, {**HP, "alpha": 0.0})
  close(found, wanted)


@partial(jax.jit, static_argnames="train")
def gradient(params, stats, x, y, train):
  """Return mean cross-entropy, its gradient, logits and new statistics, without padding."""

  def loss(params):
    logits, new = models.forward(problems.TinyNet(), params, stats, x, train=train)
    chosen = logits[jnp.arange(len(y)), y]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen), (logits, new)

  return jax.value_and_grad(loss, has_aux=True)(params)


def naive_ngplus(data, start, alpha, anchor, train):
  """Two epochs in stored order; returns weights, statistics, (loss, retain accuracy) per step."""
  index = {name: places[0] for name, places in problems.index().items()}
  cut = lambda places: [places[i : i + 8] for i in range(0, len(places), 8)]
  params, stats = (jax.tree.map(lambda leaf: leaf[0], start[n]) for n in ("params", "batch_stats"))
  origin, buffer, reported = params, jax.tree.map(np.zeros_like, params), []
  for _ in range(2):
    for retain, forget in zip(cut(index["retain"]), itertools.cycle(cut(index["forget"]))):
      call = lambda places, stats, params=params: jax.device_get(
        gradient(params, stats, data[0][places], data[1][places], train)
      )
      (r, (logits, stats)), down = call(retain, stats)
      (f, (_, stats)), up = call(forget, stats)
      pull = jax.tree.map(np.subtract, params, origin)
      r = r + anchor / 2 * sum(np.sum(leaf**2) for leaf in jax.tree.leaves(pull))
      force = jax.tree.map(
        lambda d, q, u, p: alpha * (d + anchor * q) - (1 - alpha) * u + HP["weight_decay"] * p,
        down,
        pull,
        up,
        params,
      )
      buffer = jax.tree.map(lambda b, g: HP["momentum"] * b + g, buffer, force)
      params = jax.tree.map(lambda p, b: p - HP["learning_rate"] * b, params, buffer)
      accuracy = np.mean(np.argmax(logits, 1) == data[1][retain])
      reported.append((alpha * r - (1 - alpha) * f, accuracy))
  return params, stats, np.array(reported)


@pytest.mark.parametrize(("anchor", "bn_mode"), [(0.0, "eval"), (1.5, "eval"), (1.5, "train")])
def test_ngplus_equals_a_loop_over_unequal_batches(data, start, anchor, bn_mode):
  """The last retain batch has 6 samples, every second forget batch 2: means over real samples.

  In train mode the statistics move on the retain batch first, then on the forget batch.
  """
  problem, legs = problems.problem(1, x=data[0], y=data[1], shuffle=False), []
  hp = ngplus.METHOD.hyperparameters({**HP, "alpha": 0.7, "anchor": anchor, "bn_mode": bn_mode})
  outcome = runner.run(
    ngplus.METHOD, problem, start, hp=[hp], keys=member_keys(SEEDS), on_leg=legs.append
  )
  params, stats, reported = naive_ngplus(data, start, 0.7, anchor, bn_mode == "train")
  found = jax.tree.map(lambda leaf: leaf[0], problem.population.collect(outcome.variables))
  close(found, {"params": params, "batch_stats": stats})
  losses = np.concatenate([leg.metrics.loss[0] for leg in legs])
  accuracies = np.concatenate([leg.metrics.accuracy[0] for leg in legs])
  close(np.stack([losses, accuracies], 1), reported)


# Attention biases: the reference's network reads a copy of them, made when an epoch begins.


def with_biases(**given):
  """Run NG+ on a network with attention; returns (flat weights before, after, losses)."""
  start, fidelity = layerwise.weights(), given.pop("fidelity", "reference")
  found, legs = layerwise.run("ngplus", start, {**HP, **given}, fidelity=fidelity)
  before, after = (layerwise.member(tree["params"], 0) for tree in (start, found))
  flat = flax.traverse_util.flatten_dict
  return flat(before), flat(after), layerwise.reported(legs)[0]


def factors(steps):
  """Return what decay and momentum alone make of 1 after 0, 1, ... steps (methods.md 2.4)."""
  weight, buffer, found = 1.0, 0.0, [1.0]
  for _ in range(steps):
    buffer = HP["momentum"] * buffer + HP["weight_decay"] * weight
    weight -= HP["learning_rate"] * buffer
    found.append(weight)
  return found


BIASES = ("stage2_attention", "attention_biases")


def test_decay_and_momentum_alone_move_attention_biases_in_the_reference():
  """Their gradient is exactly zero, not none: six steps shrink them by a known factor."""
  before, after, _ = with_biases()
  close(after[BIASES], factors(6)[-1] * before[BIASES], rtol=1e-14)
  assert factors(6)[-1] < 1 - 1e-3
  others = [path for path in before if path != BIASES]
  assert not any(np.allclose(after[path], factors(6)[-1] * before[path]) for path in others)


def test_attention_biases_rest_without_decay_and_train_in_fixed():
  before, after, _ = with_biases(weight_decay=0.0)
  np.testing.assert_array_equal(after[BIASES], before[BIASES])
  before, after, _ = with_biases(weight_decay=0.0, fidelity="fixed")
  assert (np.abs(after[BIASES] - before[BIASES]) > 1e-6).all()


@pytest.mark.parametrize(
  ("fidelity", "bn_mode", "copied"),
  [("reference", "eval", 1), ("reference", "train", 0), ("fixed", "eval", 0)],
)
def test_only_the_references_eval_mode_reads_copies(fidelity, bn_mode, copied):
  params = layerwise.weights()["params"]
  known = contract.step({"fidelity": fidelity, "bn_mode": bn_mode})
  assert len(ngplus.copies(params, known)) == copied


def test_attention_biases_of_cfk_which_has_no_decay_stay():
  start = layerwise.weights()
  hp = {**layerwise.HP, "num_blocks": 2}
  found, _ = layerwise.run("cfk", start, hp)
  layer, name = BIASES
  np.testing.assert_array_equal(found["params"][layer][name], start["params"][layer][name])
  assert not problems.equal(found["params"]["stage2_dense"], start["params"]["stage2_dense"])


def naive_with_copies(read):
  """Follow NG+ on the network with attention, in stored order; returns (weights, losses).

  Args:
    read: step of the run -> the step whose biases the network reads.
  """
  start, (x, y) = layerwise.weights(), layerwise.samples()
  index = {name: places[0] for name, places in problems.index().items()}
  cut = lambda places: [places[i : i + 8] for i in range(0, len(places), 8)]
  params, stats = (layerwise.member(start[name], 0) for name in ("params", "batch_stats"))
  (layer, name), alpha, shrunk = BIASES, ngplus.METHOD.defaults["alpha"], factors(6)
  origin, buffer, losses = params[layer][name], jax.tree.map(np.zeros_like, params), []
  pairs = [*zip(cut(index["retain"]), itertools.cycle(cut(index["forget"])))] * 2
  for number, (retain, forget) in enumerate(pairs):
    seen = {**params, layer: {name: shrunk[read(number)] * origin}}
    call = lambda places, seen=seen: jax.device_get(
      layerwise.gradient(seen, stats, x[places], y[places], layerwise.Blocks(), False)
    )
    ((r, _), down), ((f, _), up) = call(retain), call(forget)
    losses.append(alpha * r - (1 - alpha) * f)
    force = jax.tree.map(lambda d, u: alpha * d - (1 - alpha) * u, down, up)
    force[layer] = {name: np.zeros_like(origin)}
    buffer = jax.tree.map(
      lambda b, g, p: HP["momentum"] * b + (g + HP["weight_decay"] * p), buffer, force, params
    )
    params = jax.tree.map(lambda p, b: p - HP["learning_rate"] * b, params, buffer)
  return flax.traverse_util.flatten_dict(params), np.array(losses)


def test_the_network_reads_the_biases_with_which_an_epoch_began():
  """Neither those of before the run, which never move, nor those of the step, which always do."""
  _, after, losses = with_biases()
  params, wanted = naive_with_copies(read=lambda step: step // 3 * 3)
  close(after, params)
  close(losses, wanted)
  for read in (lambda step: 0, lambda step: step):
    _, other = naive_with_copies(read)
    assert np.abs(losses - other).max() > 1e-6


def test_ngplus_refuses_an_unknown_mode():
  with pytest.raises(MethodError, match="ngplus: bn_mode must be one of eval, train, got 'both'"):
    ngplus.METHOD.hyperparameters({"bn_mode": "both"})


def test_work_counts_replayed_forget_samples(data, start):
  """Per epoch NG+ reads 22 retain and 8 + 2 + 8 forget samples, GA 10, FT 22; 3 passes each."""
  for method, samples in ((ngplus.METHOD, 22 + 18), (ga.METHOD, 10), (ft.METHOD, 22)):
    hp = {**HP, "alpha": 0.5} if method is ngplus.METHOD else HP
    _, outcome = execute(method, data, start, hp)
    assert outcome.passes == (2 * 3 * samples,)
