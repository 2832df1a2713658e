"""Whole runs of methods in float32: as near to the reference's results as plain sums come.

Training is not continuous in float32 (methods.md 0.2): an activation within rounding of zero
decides whether a ReLU passes its gradient, so one run says little about accuracy. Hence copies that
start within rounding of each other, computed as users get it and with plain sums of products. What
rounding costs a network without kinks is in tests/models/test_rounding.py.
"""

import numpy as np
import pytest
from support import golden_cases as cases

COPIES = 16
FACTOR = 10  # which the golden data's own description allows another float32 implementation


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.CASES)
def test_copies_end_as_near_as_with_plain_sums(case):
  plain = cases.distances(case, cases.run(case, np.float32, COPIES, lowering="canonical"))
  found = cases.run(case, np.float32, COPIES)
  cases.check_rates(found, 1e-6)
  own = cases.own_gaps(found)
  for measure, distances in cases.distances(case, found).items():
    near = max(cases.typical(plain[measure]), own[measure])
    assert cases.typical(distances) <= FACTOR * near, measure
