"""Per-example losses and the one reduction that all methods share (methods.md 0.1)."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Return -log p_y per example: logits [B, C], labels [B] -> [B]."""
  shifted = jax.nn.log_softmax(logits, axis=-1)
  # A one-hot product instead of a gather: its gradient is no scatter, which is slow on CPU.
  chosen = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  return -jnp.sum(shifted * chosen, axis=-1)


def divergence(
  teacher: jax.Array, student: jax.Array, temperature: jax.Array | float = 1.0
) -> jax.Array:
  """Return KL(p_t^T || p_s^T) per example, teacher first, in nats, no T^2 factor: [B, C] -> [B]."""
  # Not a quotient: XLA makes a product of it in programs for several devices only (jax 0.10), and
  # the last bit of the result would depend on their number.
  sharpness = 1 / temperature
  log_q = jax.nn.log_softmax(teacher * sharpness, axis=-1)
  log_p = jax.nn.log_softmax(student * sharpness, axis=-1)
  return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)


def entropy(logits: jax.Array) -> jax.Array:
  """Return H(softmax(logits)) per example, in nats: [B, C] -> [B]."""
  log_p = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def mean(values: jax.Array, weight: jax.Array | None = None) -> jax.Array:
  """Average [B] values; with weights [B], padded samples (weight 0) do not count."""
  if weight is None:
    return jnp.mean(values)
  weight = weight.astype(values.dtype)
  return jnp.sum(values * weight) / jnp.sum(weight)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Return 1 where the largest logit is the label, else 0: [B]."""
  return (jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(logits.dtype)
