"""Logits of somebody's models: surer of the samples that they were trained on."""

import numpy as np

SIZES = {"retain": 400, "forget": 300, "unseen": 320}
CLASSES = 5


def labels(seed=0, **sizes):
  """Return labels by set."""
  rng = np.random.default_rng([seed, 9])
  return {name: rng.integers(0, CLASSES, size) for name, size in {**SIZES, **sizes}.items()}


def logits(of, known, seeds=3, seed=0):
  """Return {set: [seeds, n, C]} of models that were trained on the sets `known`."""
  found = {}
  for place, (name, y) in enumerate(of.items()):
    rng = np.random.default_rng([seed, place])
    own = rng.normal(0, 1.5, (seeds, len(y), CLASSES)).astype(np.float32)
    own[:, np.arange(len(y)), y] += 1.5 + (2.5 if name in known else 0)
    found[name] = own
  return found


def clean(seeds=3, seed=0, **sizes):
  """Return arguments of `evaluate` for models that forgot as they should."""
  of = labels(seed, **sizes)
  known = {"original": ("retain", "forget"), "unlearned": ("retain",), "retrained": ("retain",)}
  models = {
    name: logits(of, sets, seeds, 10 * seed + k + 1) for k, (name, sets) in enumerate(known.items())
  }
  return {**models, **of}


def joined(given):
  """Return the same as logits of all samples beside `labels` and positions."""
  sets = [name for name in given if name in (*SIZES, "validation")]
  ends = np.cumsum([len(given[name]) for name in sets])
  positions = {name: np.arange(end - len(given[name]), end) for name, end in zip(sets, ends)}
  models = {
    name: np.concatenate([given[name][part] for part in sets], -2)
    for name in given
    if name not in sets
  }
  return {**models, "labels": np.concatenate([given[name] for name in sets]), **positions}
