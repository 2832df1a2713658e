"""Bad calls of both audits: each is refused in one line."""

import numpy as np
import pytest
from support.refusals import refused

from jaxmu.audit import audit, audit_scores
from jaxmu.errors import DataError

LOGITS = np.random.default_rng(0).normal(size=(30, 4)).astype("f")
LABELS = np.arange(30) % 4
AUDIT = {
  "logits none": ({"logits": None}, "unlearned logits: expected an array of numbers, got None"),
  "logits flat": (
    {"logits": LOGITS[0]},
    "unlearned logits must be floats of shape [N, C] or [K, N",
  ),
  "logits integer": ({"logits": LOGITS.astype(int)}, "must be floats of shape [N, C] or [K, N, C]"),
  "logits ragged": ({"logits": [[1.0, 2.0], [1.0]]}, "unlearned logits: list cannot be read as an"),
  "logits masked": ({"logits": np.ma.masked_less(LOGITS, 0)}, "masked array"),
  "logits one class": ({"logits": LOGITS[:, :1]}, "have one class; expected at least 2"),
  "labels none": ({"labels": None}, "labels: expected an array of numbers, got None"),
  "labels float": ({"labels": LABELS / 1}, "labels must be whole numbers, got float64"),
  "labels short": ({"labels": LABELS[:9]}, "must be [..., N, C] and [N]"),
  "labels beyond": ({"labels": LABELS + 2**40}, "labels must lie in 0..3"),
  "labels masked": ({"labels": np.ma.masked_equal(LABELS, 1)}, "masked array"),
  "forget text": ({"forget": "all"}, "forget must be indices or a mask"),
  "forget float": ({"forget": [0.5, 1.5]}, "forget must be indices or a mask, got float64"),
  "forget ragged": ({"forget": [[1], [2, 3]]}, "forget: list cannot be read as an array"),
  "forget beyond": ({"forget": [0, 2**40]}, "expected 0..29, as 30 samples have logits"),
  "forget twice": ({"forget": [0, 0, 1, 2, 3, 4, 5]}, "forget names a sample twice"),
  "forget few": ({"forget": [0]}, "at least 6"),
  "shared": ({"unseen": range(5, 20)}, "share 5 samples (the first is 5); expected disjoint sets"),
  "mask short": ({"unseen": np.ones(9, bool)}, "the unseen mask has shape (9,); expected (30,)"),
  "retrained of others": ({"retrained": LOGITS[:9]}, "retrained logits have shape (1, 9, 4)"),
}


@pytest.mark.parametrize("case", AUDIT)
def test_audit(case):
  change, message = AUDIT[case]
  given = {"logits": LOGITS, "labels": LABELS, "forget": range(10), "unseen": range(10, 30)}
  refused(lambda: audit(**given | change), DataError, message)


PHI = np.random.default_rng(0).normal(size=(8, 20))
ROLES = np.random.default_rng(1).integers(0, 3, (8, 20))
SCORES = {
  "phi none": ({"phi": None}, "unlearned scores: expected an array of numbers, got None"),
  "phi flat": ({"phi": PHI[0]}, "do not belong together; expected [M, N], [M, N] and [M]"),
  "phi nan": ({"phi": PHI * np.nan}, "finite"),
  "phi ragged": ({"phi": [[1.0], [1.0, 2.0]]}, "unlearned scores: list cannot be read as an array"),
  "phi text": ({"phi": PHI.astype(str)}, "unlearned scores must be numbers, got <U32 of shape"),
  "phi masked": ({"phi": np.ma.masked_less(PHI, 0)}, "masked array"),
  "roles of others": ({"roles": ROLES[:3]}, "do not belong together"),
  "roles unknown": ({"roles": ROLES + 7}, "roles holds 7..9; expected -1 excluded, 0 never seen"),
  "roles float": ({"roles": ROLES / 1}, "roles must be whole numbers, got float64"),
  "roles text": ({"roles": ROLES.astype(str)}, "roles must be whole numbers, got <U21"),
  "correct float": ({"correct": PHI}, "unlearned must be True or False, got float64"),
  "correct counts": ({"correct": ROLES}, "of unlearned must be True or False, got int64"),
  "splits text": ({"splits": np.array(list("abcdefgh"))}, "splits must be whole numbers, got <U1"),
  "nothing forgotten": ({"roles": ROLES * 0}, "no model has the role 'forgotten' for any sample"),
  "splits short": ({"splits": np.arange(3)}, "do not belong together"),
  "one split": ({"splits": np.zeros(8, int)}, "no sample was forgotten by enough models"),
  "fit": ({"fit": "nrmal"}, "fit must be one of normal, robust, median, got 'nrmal'"),
  "variance": ({"variance": None}, "variance must be one of auto, sample, fixed, scaled, got None"),
}


@pytest.mark.parametrize("case", SCORES)
def test_audit_scores(case):
  change, message = SCORES[case]
  given = {"phi": PHI, "roles": ROLES, "splits": np.arange(8)}
  refused(lambda: audit_scores(**given | change), DataError, message)


def test_whole_numbers_say_what_is_right_too():
  alone = audit_scores(PHI, ROLES, np.arange(8), correct=PHI > 0).exposure
  other = audit_scores(PHI, ROLES, np.arange(8), correct=(PHI > 0).astype(int)).exposure
  assert alone.equals(other)
