"""One epoch of ONE model: a scan over equal batches and one step for the shorter last one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmu.training.phase import Hp, Pass, Phase
from jaxmu.training.task import Task, View

NEVER = -1


class TrainState(NamedTuple):
  """Everything that changes while one model trains.

  Attributes:
    params, batch_stats: the network's variables.
    optimizers: slot -> optax state.
    failed_at: int32, first step of the phase with a non-finite loss, or -1. A failed model is
      frozen from the next epoch on.
  """

  params: Any
  batch_stats: Any
  optimizers: dict[str, Any]
  failed_at: jax.Array


class EpochMetrics(NamedTuple):
  """Per step of one epoch, all passes in order: loss, batch accuracy, learning rate, each [T]."""

  loss: jax.Array
  accuracy: jax.Array
  learning_rate: jax.Array


def optimizer(p: Pass, hp: Hp, aux: Any, steps: int) -> optax.GradientTransformation:
  """Chain a pass's transform with its learning rate, applied last."""
  return optax.chain(p.transform(hp, aux), optax.scale_by_learning_rate(p.schedule(hp, steps)))


def start_phase(phase: Phase, params, batch_stats, failed_at, hp: Hp, aux: Any) -> TrainState:
  """Give a model fresh optimizer states for `phase`."""
  slots = {p.slot: optimizer(p, hp, aux, 1).init(params) for p in phase.passes}
  return TrainState(params, batch_stats, slots, failed_at)


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
) -> tuple[TrainState, EpochMetrics]:
  """Run epoch number `epoch` of a phase, or leave the state alone where it is not this model's.

  A model rests when it has fewer epochs than others of its population, or when it turned
  non-finite; its metrics of that epoch are NaN.

  Args:
    order_key: draws the batch order; members may share it.
    key: draws everything else (augmentation, labels, noise); differs between members.
  """  # fmt: skip

  def run(state):
    before, parts = state.failed_at, []
    for i, p in enumerate(phase.passes):
      keys = [jax.random.fold_in(jax.random.fold_in(k, i), epoch) for k in (order_key, key)]
      state, metrics = _run_pass(p, task, view, state, aux, hp, *keys)
      parts.append(metrics)
    metrics = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    bad = ~jnp.isfinite(metrics.loss)
    step = epoch * metrics.loss.shape[0] + jnp.argmax(bad)
    failed = jnp.where(jnp.any(bad) & (before == NEVER), step.astype(before.dtype), before)
    return state._replace(failed_at=failed), metrics

  active = (epoch < phase.epochs(hp)) & (state.failed_at == NEVER)
  shapes = jax.eval_shape(run, state)[1]
  idle = lambda state: (state, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes))
  return lax.cond(active, run, idle, state)


def _run_pass(p, task, view, state, aux, hp, order_key, key):
  order = view.order(p.stream, order_key, hp[p.batch_size])
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
  train = p.batch_norm == "train"

  def step(state, numbered):
    number, samples = numbered
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
    )
    # Accuracy and rate are reported in the loss's dtype, so that a scan stacks one kind of leaf.
    return new, EpochMetrics(loss, report.accuracy.astype(loss.dtype), rate.astype(loss.dtype))

  return step
