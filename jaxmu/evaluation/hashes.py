"""What identifies an array: its SHA-256 with type and shape."""

import hashlib
from typing import Any

import numpy as np

from jaxmu.data import rows


def digest(array: Any) -> dict[str, Any]:
  """Return sha256 (of values in C order, little-endian), dtype and shape of an array or rows."""
  found, little = hashlib.sha256(), array.dtype.newbyteorder("<")
  for block in rows.blocks(array) if array.ndim else [...]:
    found.update(np.ascontiguousarray(array[block]).astype(little, copy=False).tobytes())
  return {"sha256": found.hexdigest(), "dtype": array.dtype.name, "shape": list(array.shape)}
