"""Roles: every model is exactly one thing to every sample."""

import numpy as np
import pytest

from jaxmu.audit.attacks.roles import (
  EXCLUDED,
  FORGOTTEN,
  NEVER,
  RETAINED,
  exclude,
  role_counts,
  role_matrix,
  trained_roles,
)
from jaxmu.errors import DataError

RETAIN = [np.array([7, 3, 5]), np.array([9, 5])]
FORGET = [np.array([9]), np.array([3, 7])]
SAMPLES = np.array([3, 4, 5, 7, 9])
ROLES = [
  [RETAINED, NEVER, RETAINED, RETAINED, FORGOTTEN],
  [FORGOTTEN, NEVER, RETAINED, FORGOTTEN, RETAINED],
]


def test_roles_by_hand():
  roles = role_matrix(RETAIN, FORGET, SAMPLES)
  assert roles.dtype == np.int8
  np.testing.assert_array_equal(roles, ROLES)


def test_columns_follow_the_samples_and_others_are_ignored():
  roles = role_matrix(RETAIN, FORGET, np.array([9, 100, 3]))
  np.testing.assert_array_equal(roles, [[FORGOTTEN, NEVER, RETAINED], [RETAINED, NEVER, FORGOTTEN]])


def test_counts_add_up_to_the_models():
  roles = exclude(np.repeat(np.array(ROLES, np.int8), 3, 0), np.arange(6) == 4)
  counts = role_counts(roles)
  np.testing.assert_array_equal(sum(counts.values()), 6)
  np.testing.assert_array_equal(counts["forgotten"], [2, 0, 0, 2, 3])
  np.testing.assert_array_equal(counts["never seen"], [0, 5, 0, 0, 0])
  np.testing.assert_array_equal(counts["excluded"], 1)


def test_before_unlearning_forgotten_samples_are_retained():
  roles = np.array([[EXCLUDED, NEVER, RETAINED, FORGOTTEN]], np.int8)
  np.testing.assert_array_equal(trained_roles(roles), [[EXCLUDED, NEVER, RETAINED, RETAINED]])
  assert trained_roles(roles).dtype == np.int8


def test_a_sample_cannot_be_both():
  with pytest.raises(DataError, match="model 1 both retains and forgets a sample"):
    role_matrix(RETAIN, [FORGET[0], np.array([9])], SAMPLES)


def test_every_model_needs_both_sets():
  with pytest.raises(DataError, match="2 retain sets and 1 forget sets"):
    role_matrix(RETAIN, FORGET[:1], SAMPLES)
