"""What MODULE:NAME names is found from the current directory, or told in one line."""

import pytest

from jaxmu.errors import ModelError
from jaxmu.own_code import references


def find(reference):
  return references.find(reference, "network", ModelError)


def refused(reference):
  with pytest.raises(ModelError) as error:
    find(reference)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_modules_of_the_current_directory_and_of_packages_there_are_found(own_folder):
  (own_folder / "rf_nets.py").write_text("class Small: pass\n")
  (own_folder / "rf_house" / "rooms").mkdir(parents=True)
  (own_folder / "rf_house" / "rooms" / "nets.py").write_text("LARGE = 3\n")
  assert find("rf_nets:Small").__name__ == "Small"
  assert find("rf_house.rooms.nets:LARGE") == 3


@pytest.mark.parametrize("reference", ["a:b:c", ":b", "a:", "a b:c", "../a:b", "a:b.c", "1a:b"])
def test_what_is_no_reference_is_refused(reference):
  assert "cannot be looked up; expected MODULE:NAME" in refused(reference)


def test_what_is_not_there_is_told(own_folder):
  (own_folder / "rf_there.py").write_text("import math\ndef Small(): pass\n")
  assert f"there is no module rf_not; expected one in {own_folder}" in refused("rf_not:Small")
  assert "there is no module rf_not; " in refused("rf_not.nets:Small")
  assert refused("rf_there:Smal") == (
    "network rf_there:Smal: module rf_there has no 'Smal'; did you mean 'Small'? known: Small"
  )


def test_of_many_names_the_close_ones_are_told(own_folder):
  names = [f"other{k}" for k in range(30)] + ["Small"]
  (own_folder / "rf_many.py").write_text("".join(f"def {name}(): pass\n" for name in names))
  assert refused("rf_many:Smal").endswith("did you mean 'Small'? known: Small")


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("import math\nimport rf_absent\n", "ModuleNotFoundError: No module named 'rf_absent'"),
    ("x = 1\nraise KeyError('k')\n", "KeyError: 'k'"),
    ("\nraise SystemExit(3)\n", "SystemExit: 3"),
    ("\ndef f(:\n", "SyntaxError: invalid syntax"),
  ],
)
def test_what_an_import_raises_is_told_with_its_line(text, told, own_folder):
  (own_folder / "rf_bad.py").write_text(text)
  assert refused("rf_bad:x") == (f"network rf_bad:x cannot be imported: {told} (rf_bad.py, line 2)")


def call(function):
  return references.call(function, "network m:f", ModelError, classes=3, size=8)


def test_a_function_gets_the_arguments_that_it_has():
  assert call(lambda classes: classes) == 3
  assert call(lambda size, more=5: (size, more)) == (8, 5)
  assert call(lambda **every: every) == {"classes": 3, "size": 8}
  assert call(lambda: "none") == "none"


@pytest.mark.parametrize("function", [lambda width: width, lambda classes, /: classes])
def test_a_function_that_wants_more_is_refused(function):
  with pytest.raises(ModelError, match=r"m:f wants an argument '(width|classes)'; expected only"):
    call(function)


def test_what_a_function_raises_is_told(own_folder):
  (own_folder / "rf_raises.py").write_text("def f(classes):\n  return 1 / (classes - 3)\n")
  with pytest.raises(ModelError, match=r"ZeroDivisionError: .* \(rf_raises.py, line 2\)"):
    call(find("rf_raises:f"))
