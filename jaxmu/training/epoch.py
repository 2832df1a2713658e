"""One epoch of ONE model: a scan over equal batches and one step for the shorter last one."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmu.training.phase import Hp, Known, Pass, Phase
from jaxmu.training.task import Task, View

NEVER = -1
NO_LIMIT = 2**31 - 1  # of epochs
HOOK = 1_000  # folded into an epoch's key for its hooks; passes fold in their small numbers


class TrainState(NamedTuple):
  """Everything that changes while one model trains.

  Attributes:
    params, batch_stats: the network's variables.
    optimizers: slot -> optax state.
    failed_at: int32, first step of the phase with a non-finite loss, or -1. A failed model is
      frozen from the next epoch on.
    memory: what the phase's hooks carry from epoch to epoch.
  """

  params: Any
  batch_stats: Any
  optimizers: dict[str, Any]
  failed_at: jax.Array
  memory: Any = ()


class EpochMetrics(NamedTuple):
  """Per step of one epoch, all passes in order: loss, batch accuracy, learning rate, each [T].

  Steps that a pass left out (see `Pass.epochs`, `Pass.budget`) hold NaN.
  """

  loss: jax.Array
  accuracy: jax.Array
  learning_rate: jax.Array


def optimizer(p: Pass, hp: Hp, aux: Any, steps: int) -> optax.GradientTransformation:
  """Chain a pass's transform with its learning rate, applied last."""
  return optax.chain(p.transform(hp, aux), optax.scale_by_learning_rate(p.schedule(hp, steps)))


def start_phase(phase: Phase, params, batch_stats, failed_at, hp: Hp, aux: Any) -> TrainState:
  """Give a model fresh optimizer states, and its memory, for `phase`."""
  memory = () if phase.memory is None else phase.memory(params, aux, hp)
  known = _known(phase, aux, memory)
  slots = {p.slot: optimizer(p, hp, known, 1).init(params) for p in phase.passes}
  return TrainState(params, batch_stats, slots, failed_at, memory)


def run_epoch(
  phase: Phase,
  task: Task,
  view: View,
  state: TrainState,
  aux: Any,
  hp: Hp,
  order_key: jax.Array,
  key: jax.Array,
  epoch: jax.Array,
  until: jax.Array | int = NO_LIMIT,
) -> tuple[TrainState, EpochMetrics]:
  """Run epoch number `epoch` of a phase, or leave the state alone where it is not this model's.

  A model rests when it has fewer epochs than others of its population, or when it turned
  non-finite; its metrics of that epoch are NaN.

  Args:
    order_key: draws the batch order; members may share it.
    key: draws everything else (augmentation, labels, noise); differs between members.
    until: the model rests from this epoch on.
  """  # fmt: skip

  def run(state):
    before, parts = state.failed_at, []
    hook_keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, HOOK), epoch))
    state = _hook(phase.before, hook_keys[0], view, state, epoch, aux, hp)
    for i, p in enumerate(phase.passes):
      keys = [jax.random.fold_in(jax.random.fold_in(k, i), epoch) for k in (order_key, key)]
      known = _known(phase, aux, state.memory)
      if phase.fresh:
        state = state._replace(optimizers=_emptied(p, state, hp, known))
      state, metrics = _maybe(
        _lasts(p, epoch, hp), partial(_run_pass, p, task, view, known, hp, *keys), state
      )
      parts.append(metrics)
    state = _hook(phase.after, hook_keys[1], view, state, epoch, aux, hp)
    metrics = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    bad = ~jnp.isfinite(metrics.loss) & ~jnp.isnan(metrics.learning_rate)
    step = epoch * metrics.loss.shape[0] + jnp.argmax(bad)
    failed = jnp.where(jnp.any(bad) & (before == NEVER), step.astype(before.dtype), before)
    return state._replace(failed_at=failed), metrics

  mine = epoch < jnp.minimum(phase.epochs(hp), until)
  return _maybe(mine & (state.failed_at == NEVER), run, state)


def _maybe(condition, run, state):
  """Run `run(state) -> (state, metrics)` if `condition`; else keep the state, metrics NaN."""
  if condition is True:
    return run(state)
  run = jax.jit(run, inline=True)  # traced once, not again for the shapes
  shapes = jax.eval_shape(run, state)[1]
  idle = lambda state: (state, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes))
  return lax.cond(condition, run, idle, state)


def _known(phase, aux, memory):
  return aux if phase.memory is None else Known(aux, memory)


def _lasts(p, epoch, hp):
  return True if p.epochs is None else epoch < p.epochs(hp)


def _hook(hook, key, view, state, epoch, aux, hp):
  if hook is None:
    return state
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  params, memory = hook(key, view, variables, state.memory, epoch, aux, hp)
  return state._replace(params=params, memory=memory)


def _emptied(p, state, hp, known):
  """Give a pass's slot a fresh optimizer state that keeps the step count of its schedule."""
  *_, count = state.optimizers[p.slot]
  *fresh, _ = optimizer(p, hp, known, 1).init(state.params)
  return {**state.optimizers, p.slot: (*fresh, count)}


def _run_pass(p, task, view, aux, hp, order_key, key, state):
  batch_size = hp[p.batch_size]
  pad = task.pads(p.batch_norm) and view.uneven(p.stream, batch_size)
  order = view.order(p.stream, order_key, batch_size, pad=pad, shuffle=p.shuffle)
  n_full = jax.tree.leaves(order.full)[0].shape[0]
  n_steps = n_full + (order.rest is not None)
  step = _step(p, task, view, aux, hp, n_steps, key)
  outs = []
  if n_full:
    state, full = lax.scan(step, state, (jnp.arange(n_full), order.full))
    outs.append(full)
  if order.rest is not None:
    state, last = step(state, (jnp.asarray(n_full), order.rest))
    outs.append(jax.tree.map(lambda leaf: leaf[None], last))
  return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *outs)


def _step(p, task, view, aux, hp, n_steps, key):
  """Return (state, (number, samples)) -> (state, metrics): one optimizer step of one model."""
  update_rule = optimizer(p, hp, aux, n_steps)
  schedule = p.schedule(hp, n_steps)

  def step(state, numbered):
    if p.budget is None:
      return take(state, numbered)
    within = state.optimizers[p.slot][-1].count < p.budget(hp)
    return _maybe(within, lambda state: take(state, numbered), state)

  def take(state, numbered):
    number, samples = numbered
    train = (
      p.batch_norm(state.params, aux, hp) if callable(p.batch_norm) else p.batch_norm == "train"
    )
    step_key = jax.random.fold_in(key, number)
    batch = view.fetch(samples, jax.random.fold_in(step_key, 0), p.augment)
    dropout = jax.random.fold_in(step_key, 2)

    def forward(params, batch_stats, x, mask=None):
      return task.forward(params, batch_stats, x, train=train, mask=mask, key=dropout)

    loss_fn = lambda params: p.loss(
      forward, params, state.batch_stats, batch, aux, hp, jax.random.fold_in(step_key, 1)
    )
    (loss, report), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    opt_state = state.optimizers[p.slot]
    rate = schedule(opt_state[-1].count)
    updates, opt_state = update_rule.update(grads, opt_state, state.params)
    new = TrainState(
      optax.apply_updates(state.params, updates),
      report.batch_stats,
      {**state.optimizers, p.slot: opt_state},
      state.failed_at,
      state.memory,
    )
    # Accuracy and rate are reported in the loss's dtype, so that a scan stacks one kind of leaf.
    return new, EpochMetrics(loss, report.accuracy.astype(loss.dtype), rate.astype(loss.dtype))

  return step
