"""One epoch of ONE model: a scan over equal batches and one step for the shorter last one."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmu.engine import keys
from jaxmu.engine.keys import Purpose
from jaxmu.training.phase import (
  NOT_HERE,
  Array,
  Count,
  Forward,
  Hook,
  Pass,
  Phase,
  Step,
  Tree,
)

NEVER = -1
NO_LIMIT = 2**31 - 1  # of epochs


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

  Steps that a pass left out (see `Pass.epochs`, `Pass.budget`) hold NaN, and so do those that only
  members with larger sets take.
  """

  loss: jax.Array
  accuracy: jax.Array
  learning_rate: jax.Array


def optimizer(p: Pass, step: Step, steps: Any) -> optax.GradientTransformation:
  """Chain a pass's transform with its learning rate, applied last."""
  rate = p.schedule(step.hp, steps)
  if p.optimizer is not None:
    return optax.chain(p.optimizer(step, rate), _counted())
  return optax.chain(p.transform(step), optax.scale_by_learning_rate(rate))


def _counted() -> optax.GradientTransformation:
  """Count steps where `optax.scale_by_learning_rate` does it otherwise, and change nothing."""

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    del params
    return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

  init = lambda params: optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))
  return optax.GradientTransformation(init, update)


def start_phase(
  phase: Phase, params: Tree, batch_stats: Tree, failed_at: jax.Array, step: Step
) -> TrainState:
  """Give a model fresh optimizer states, and its memory, for `phase`."""
  memory = () if phase.memory is None else phase.memory(params, step)
  known = step._replace(memory=memory)
  slots = {p.slot: optimizer(p, known, 1).init(params) for p in phase.passes}
  return TrainState(params, batch_stats, slots, failed_at, memory)


def run_epoch(
  phase: Phase,
  state: TrainState,
  step: Step,
  order_key: jax.Array,
  until: jax.Array | int = NO_LIMIT,
) -> tuple[TrainState, EpochMetrics]:
  """Run one epoch of a phase, or leave the state alone where it is not this model's.

  A model rests when it has fewer epochs than others of its population, or when it turned
  non-finite; its metrics of that epoch are NaN.

  Args:
    step: what the model knows; its `epoch` is the one to run, and its `key` draws everything but
      the batch order (augmentation, labels, noise): it differs between members.
    order_key: draws the batch order; members may share it.
    until: the model rests from this epoch on.
  """
  epoch = step.epoch

  def run(state: TrainState) -> tuple[TrainState, EpochMetrics]:
    before, parts = state.failed_at, []
    at_start, at_end = keys.of_hooks(step.key, epoch)
    state = _hook(phase.before, state, step._replace(key=at_start))
    for i, p in enumerate(phase.passes):
      own = step._replace(key=keys.of_pass(step.key, i, epoch), memory=state.memory)
      if phase.fresh:
        state = state._replace(optimizers=_emptied(p, state, own))
      run_pass = partial(_run_pass, p, own, keys.of_pass(order_key, i, epoch))
      state, metrics = _maybe(_lasts(p.epochs, epoch, step), run_pass, state)
      parts.append(metrics)
    state = _hook(phase.after, state, step._replace(key=at_end))
    metrics = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return state._replace(failed_at=_failed_at(before, metrics, epoch)), metrics

  mine = epoch < jnp.minimum(phase.epochs(step.hp), until)
  return _maybe(mine & (state.failed_at == NEVER), run, state)


def _failed_at(before: jax.Array, metrics: EpochMetrics, epoch: jax.Array | int) -> jax.Array:
  """Return the first step with a non-finite loss so far; steps left out have no rate either."""
  bad = ~jnp.isfinite(metrics.loss) & ~jnp.isnan(metrics.learning_rate)
  step = epoch * metrics.loss.shape[0] + jnp.argmax(bad).astype(before.dtype)
  return jnp.where(jnp.any(bad) & (before == NEVER), step, before)


def _maybe(condition: Any, run: Callable[..., Any], state: TrainState) -> Any:
  """Run `run(state) -> (state, metrics)` if `condition`; else keep the state, metrics NaN."""
  if condition is True:
    return run(state)
  run = jax.jit(run, inline=True)  # traced once, not again for the shapes
  shapes = jax.eval_shape(run, state)[1]
  idle = lambda state: (state, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes))
  return lax.cond(condition, run, idle, state)


def _lasts(epochs: Count | None, epoch: jax.Array | int, step: Step) -> Any:
  return True if epochs is None else epoch < epochs(step.hp)


def _hook(hook: Hook | None, state: TrainState, step: Step) -> TrainState:
  if hook is None:
    return state
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  params, memory = hook(variables, step._replace(memory=state.memory))
  return state._replace(params=params, memory=memory)


def _emptied(p: Pass, state: TrainState, step: Step) -> dict[str, Any]:
  """Give a pass's slot a fresh optimizer state that keeps the step count of its schedule."""
  *_, count = state.optimizers[p.slot]
  *fresh, _ = optimizer(p, step, 1).init(state.params)
  return {**state.optimizers, p.slot: (*fresh, count)}


def _run_pass(
  p: Pass, step: Step, order_key: jax.Array, state: TrainState
) -> tuple[TrainState, EpochMetrics]:
  view = step.view
  # A batch that is filled up is exact where BatchNorm can leave the filling out, and saves
  # compiling a second step for the shorter batch.
  pad = view.task.pads(p.batch_norm) and view.uneven(p.stream, p.batch_size)
  order = view.order(p.stream, order_key, p.batch_size, pad=pad, shuffle=p.shuffle)
  n_full = jax.tree.leaves(order.full)[0].shape[0]
  n_steps = view.steps(p.stream, p.batch_size) if view.ragged else n_full + (order.rest is not None)
  train_step = _train_step(p, step, n_steps)
  outs = []
  if n_full:
    state, full = lax.scan(train_step, state, (jnp.arange(n_full), order.full))
    outs.append(full)
  if order.rest is not None:
    state, last = train_step(state, (jnp.asarray(n_full), order.rest))
    outs.append(jax.tree.map(lambda leaf: leaf[None], last))
  return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *outs)


def _train_step(p: Pass, step: Step, n_steps: Any) -> Callable[..., Any]:
  """Return (state, (number, samples)) -> (state, metrics): one optimizer step of one model.

  Args:
    n_steps: of the model's own pass; an int, or traced where members differ.
  """
  own = n_steps.astype(jnp.int32) if step.view.ragged else n_steps  # as optax counts
  update_rule = optimizer(p, step, own)
  schedule = p.schedule(step.hp, own)

  def one(state: TrainState, numbered: Any) -> tuple[TrainState, EpochMetrics]:
    within: Any = True
    if step.view.ragged:
      within = numbered[0] < n_steps
    if p.budget is not None:
      within &= state.optimizers[p.slot][-1].count < p.budget(step.hp)
    return _maybe(within, lambda state: take(state, numbered), state)

  def take(state: TrainState, numbered: Any) -> tuple[TrainState, EpochMetrics]:
    number, samples = numbered
    step_key = keys.at(step.key, number)
    batch = step.view.fetch(samples, keys.of(step_key, Purpose.SAMPLES), p.augment)
    known = step._replace(
      key=keys.of(step_key, Purpose.LOSS),
      forward=_network(p, step, state.params, keys.of(step_key, Purpose.DROPOUT)),
    )
    loss_fn = lambda params: p.loss(params, state.batch_stats, batch, known)
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

  return one


def _network(p: Pass, step: Step, params: Tree, dropout: jax.Array) -> Forward:
  """Return the network in a pass's BatchNorm mode, with one step's dropout."""
  known = step._replace(key=NOT_HERE)
  train = p.batch_norm(params, known) if callable(p.batch_norm) else p.batch_norm == "train"

  def forward(
    params: Tree, batch_stats: Tree, x: Array, weight: Array | None = None
  ) -> tuple[Array, Tree]:
    return step.view.task.forward(params, batch_stats, x, train=train, mask=weight, key=dropout)

  return forward
