"""What each sample is to each model: never seen, retained, or trained on and then forgotten."""

from collections.abc import Sequence

import numpy as np

from jaxmu.errors import DataError

NEVER, RETAINED, FORGOTTEN = 0, 1, 2  # spec extensions 8
EXCLUDED = -1  # this model says nothing about this sample
NAMES = {NEVER: "never seen", RETAINED: "retained", FORGOTTEN: "forgotten", EXCLUDED: "excluded"}


def role_matrix(
  retain: Sequence[np.ndarray], forget: Sequence[np.ndarray], samples: np.ndarray
) -> np.ndarray:
  """Return the roles of N samples in M models, int8 [M, N] (spec extensions 8).

  Args:
    retain: M index arrays into the data set.
    forget: M index arrays, likewise.
    samples: the indices that are attacked (the pool), int [N]; they give the columns.

  Raises:
    DataError: a model retains and forgets the same sample, or the lists differ in length.
  """
  if len(retain) != len(forget):
    raise DataError(
      f"{len(retain)} retain sets and {len(forget)} forget sets; expected one of each per model"
    )
  samples = np.asarray(samples)
  size = 1 + max((int(a.max()) for a in (samples, *retain, *forget) if len(a)), default=0)
  roles = np.empty((len(retain), len(samples)), np.int8)
  for model, (kept, dropped) in enumerate(zip(retain, forget)):
    of_all = np.full(size, NEVER, np.int8)
    of_all[kept] = RETAINED
    if (of_all[dropped] == RETAINED).any():
      raise DataError(f"model {model} both retains and forgets a sample; expected disjoint sets")
    of_all[dropped] = FORGOTTEN
    roles[model] = of_all[samples]
  return roles


def trained_roles(roles: np.ndarray) -> np.ndarray:
  """Return the roles in models that have not unlearned yet: forgotten samples are still retained.

  With `positive=RETAINED`, the attacks then ask the plain membership question, whose answer for the
  original models is the upper bound of spec evaluation 9.6 (iv).
  """
  return np.where(roles == FORGOTTEN, np.int8(RETAINED), roles)


def exclude(roles: np.ndarray, failed: np.ndarray) -> np.ndarray:
  """Return the roles with the models `failed` (bool [M]), such as diverged ones, left out."""
  return np.where(np.asarray(failed, bool)[:, None], np.int8(EXCLUDED), roles)


def ever_forgotten(roles: np.ndarray) -> np.ndarray:
  """Return the samples that any model forgot, int [n]: columns of the roles."""
  return np.flatnonzero((roles == FORGOTTEN).any(0))


def role_counts(roles: np.ndarray) -> dict[str, np.ndarray]:
  """Count, for every sample, the models of each role: name -> [N]. They add up to M."""
  return {name: (roles == role).sum(0) for role, name in NAMES.items()}
