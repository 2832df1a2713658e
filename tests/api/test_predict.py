"""Logits of users' own networks, and what `predict` refuses."""

import numpy as np
import pytest
from support.user_networks import Dropping, Stock, spoil

import jaxmu
from jaxmu.errors import DataError, ModelError


def test_predict_equals_the_network_in_eval_mode_for_any_batch_size(stock, sets):
  x = sets["retain"][0]
  stats = {"BatchNorm_0": {"mean": np.full(4, 0.3, "f"), "var": np.full(4, 2.0, "f")}}
  variables = {"params": stock["params"], "batch_stats": stats}
  wanted = Stock().apply(variables, x, train=False)
  for batch_size in (500, 22, 5):
    found = jaxmu.predict(Stock(), variables, x, batch_size=batch_size)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_predict_works_without_batch_statistics_and_dropout_is_off(dropping, sets):
  x = sets["retain"][0]
  wanted = Dropping().apply(dropping, x, deterministic=True)
  np.testing.assert_allclose(jaxmu.predict(Dropping(), dropping, x), wanted, atol=1e-5)


def test_predict_checks_what_it_is_given(stock, sets):
  x = sets["retain"][0]
  for arguments, error, message in (
    ((Stock(), {}, x), ModelError, r"^variables must be a mapping with 'params' .*, got \[\]$"),
    ((Stock, stock, x), ModelError, "^model must be an instance of flax.linen.Module"),
    ((Stock(), stock, x[0]), DataError, r"^x: images must have shape \[n >= 1, H, W, C\], got \(6"),
    ((Stock(), stock, spoil((x, None), 2, np.nan)[0]), DataError, "^x: 1 images hold NaN or inf"),
  ):
    with pytest.raises(error, match=message):
      jaxmu.predict(*arguments)
  with pytest.raises(DataError, match=r"^batch_size must be at least 1, got 0$"):
    jaxmu.predict(Stock(), stock, x, batch_size=0)
