"""How a mistake is answered: by one line, in the promised type."""

import pytest

from jaxmu.errors import UserError


def refused(call, error, message):
  """See a call raise exactly `error`, with a part of its message."""
  with pytest.raises(UserError) as caught:
    call()
  said = str(caught.value)
  assert type(caught.value) is error, said
  assert message in said, said
  assert "\n" not in said and len(said) < 400, said
