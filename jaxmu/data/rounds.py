"""What becomes of a request: cut into rounds, and what methods may read of the retain set."""

from dataclasses import replace

import numpy as np

from jaxmu.data.splits import Split

ACCESS_STREAM, ROUND_STREAM = 4, 6  # apart from other uses of the seed of a split


def divide(split: Split, rounds: int, seed: int, draw: int = 0) -> tuple[Split, ...]:
  """Cut a request into parts of equal size, give or take one, that are forgotten in turn.

  What a round retains is trained on by the retrained model of that round; what earlier rounds
  forgot is gone from every later part. The control stays.
  """
  if rounds == 1:
    return (split,)
  drawn = np.random.default_rng((seed, ROUND_STREAM, draw)).permutation(split.forget)
  parts = np.array_split(drawn, rounds)
  found = []
  for k, forget in enumerate(parts):
    earlier = np.concatenate([split.forget[:0], *parts[:k]])
    retain = np.concatenate([split.retain, *parts[k + 1 :]])
    train = np.concatenate([retain, forget])
    found.append(
      replace(split, train=train, retain=retain, forget=forget, earlier=earlier, first=parts[0])
    )
  return tuple(found)


def limit(split: Split, share: float, seed: int) -> Split:
  """Return a split of whose retain set methods may read a share, drawn at random; 0 hides it."""
  if share == 1:
    return split
  drawn = np.random.default_rng((seed, ACCESS_STREAM)).permutation(split.retain)
  return replace(split, access=drawn[: round(share * len(drawn))])
