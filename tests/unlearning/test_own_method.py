"""A method of a user's own: found by reference, checked, and taken by the Python interface."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from support.problems import equal

import jaxmu
from jaxmu import unlearning
from jaxmu.errors import MethodError
from jaxmu.unlearning import METHODS, own_method

MODULE = """
import dataclasses
from jaxmu.unlearning import ft
METHOD = dataclasses.replace(ft.METHOD, name="om_mine", title="Mine")
TAKEN = ft.METHOD
NUMBER = 3
"""
FT = METHODS["ft"]
WRONG = {
  "name of a path": ({"name": "a/b"}, "has the name 'a/b'; expected a letter"),
  "name of dots": ({"name": "a.b"}, "has the name 'a.b'"),
  "name of a round": ({"name": "a@1"}, "has the name 'a@1'"),
  "no text": ({"title": None}, "title is None; expected a text"),
  "sets": ({"needs": frozenset({"retain", "tests"})}, "needs 'tests'; expected sets out of forget"),
  "hyper": ({"hyper": {"rate": 0.1}}, "hyper-parameter 'rate' is 0.1; expected a jaxmu.training"),
  "phases": ({"phases": ()}, r"phases is \(\); expected a function"),
}


@pytest.fixture
def module(own_folder):
  (own_folder / "om_methods.py").write_text(MODULE)


def test_a_reference_is_a_method(module):
  assert unlearning.get("om_methods:METHOD").title == "Mine"
  assert "om_methods:METHOD" not in unlearning.every()


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("NUMBER", "NUMBER is 3; expected a value jaxmu.training.method.Method"),
    ("TAKEN", "TAKEN is called 'ft'; expected a name that no method of jaxmu has"),
    ("METHD", r"has no 'METHD'; did you mean 'METHOD'\?"),
  ],
)
def test_what_is_no_method_of_ones_own_is_refused(name, message, module):
  with pytest.raises(MethodError, match=message):
    unlearning.get(f"om_methods:{name}")


@pytest.mark.parametrize("name", WRONG)
def test_parts_of_wrong_types_are_refused(name):
  changes, message = WRONG[name]
  with pytest.raises(MethodError, match=message):
    own_method.checked(dataclasses.replace(FT, **changes), "method m:X")


def test_the_python_interface_takes_a_value_and_a_reference(module):
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(24, 5)).astype(np.float32), rng.integers(0, 3, 24)
  model = nn.Dense(3)
  variables = model.init(jax.random.key(0), x)
  run = lambda method: jaxmu.unlearn(
    method, model, variables, retain=(x, y), num_epochs=1, batch_size=24, details=True
  )
  value, reference = run(dataclasses.replace(FT, name="om_mine")), run("om_methods:METHOD")
  assert value.method == reference.method == "om_mine"
  assert equal(value.variables, reference.variables)
  assert equal(value.variables, run("ft").variables)
  assert not any(map(np.array_equal, *map(jax.tree.leaves, (variables, value.variables))))
