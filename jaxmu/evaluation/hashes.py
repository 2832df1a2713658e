"""What identifies an array: its SHA-256 with type and shape."""

import hashlib
from typing import Any

import numpy as np


def digest(array: np.ndarray) -> dict[str, Any]:
  """Return sha256 (of the values in C order, little-endian), dtype and shape of an array."""
  array = np.ascontiguousarray(array)
  plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
  found = hashlib.sha256(plain.tobytes()).hexdigest()
  return {"sha256": found, "dtype": array.dtype.name, "shape": list(array.shape)}
