"""Names of installed packages: found through entry points, listed, and refused where two clash."""

import pytest

from jaxmu import data, models, unlearning
from jaxmu.command import cli, console
from jaxmu.errors import DataError, MethodError, SettingsError
from jaxmu.own_code import names
from jaxmu.settings import Settings
from jaxmu.studies import catalog

MODULE = """
import flax.linen as nn
import numpy as np
from jaxmu.training import hyper
from jaxmu.training.method import Method

class Net(nn.Module):
  num_classes: int
  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.num_classes)(x.reshape(len(x), -1))

def load():
  return np.arange(54, dtype=np.uint8).reshape(9, 2, 3), np.arange(9) % 2, 6

def method(name):
  return Method(name=name, label="Nm", title="A plug-in", summary="None.", paper="None",
                needs=frozenset({"retain"}), hyper=hyper.training(0.1), phases=lambda options: ())

METHOD, OTHER = method("nm_method"), method("nm_other")
"""
POINTS = {
  "models": {"nm_net": "nm_plugin:Net"},
  "datasets": {"nm_data": "nm_plugin:load"},
  "methods": {"nm_method": "nm_plugin:METHOD", "nm_wrong": "nm_plugin:OTHER"},
}
CONFIG = {"name": "x", "dataset": "nm_data", "model": {"name": "nm_net"}, "seeds": 0}


@pytest.fixture
def package(own_folder, monkeypatch):
  """Make what `pip install` makes of a package with entry points; return its folder."""

  def install(name, points, module=MODULE):
    (own_folder / f"{name}.py").write_text(module)
    info = own_folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [
      f"[jaxmu.{kind}]\n" + "".join(f"{key} = {value}\n" for key, value in some.items())
      for kind, some in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    names.installed.cache_clear()

  monkeypatch.syspath_prepend(own_folder)
  yield install
  names.installed.cache_clear()


def test_installed_names_are_names_everywhere(package, capsys):
  package("nm_plugin", POINTS)
  found = Settings.from_config(CONFIG | {"methods": "ft,nm_method"}, catalog())
  assert found.unlearning["nm_method"]["learning_rate"] == 0.1
  assert {one.partition("=")[0] for one in found.own.sha256} == {
    *("dataset", "model.name", "methods.nm_method")
  }
  assert Settings.from_config(found.to_dict(), catalog()) == found
  assert data.load_for(found).images.shape == (9, 2, 3, 1)
  assert type(models.of_settings(found, 2, image=(2, 3, 1))).__name__ == "Net"
  assert unlearning.chosen(found, "nm_method").title == "A plug-in"


def test_installed_methods_are_listed(package, capsys):
  points = {"methods": {"nm_method": POINTS["methods"]["nm_method"]}}
  package("nm_plugin", points)
  assert cli.run(console.main, console.flags(), ["methods"]) == 0
  assert "A plug-in" in capsys.readouterr().out
  assert cli.run(console.main, console.flags(), ["methods", "nm_method"]) == 0
  assert capsys.readouterr().out.startswith("nm_method: A plug-in")


def test_installed_data_sets_are_listed(package, capsys):
  package("nm_plugin", POINTS)
  assert cli.run(console.main, console.flags(), ["datasets"]) == 0
  assert (
    "nm_data          of package nm_plugin; sizes are those that it gives"
    in capsys.readouterr().out
  )


def test_lists_of_known_names_have_them(package):
  package("nm_plugin", POINTS)
  for changes, known in (
    ({"methods": "nm_methd"}, "'nm_methd'; did you mean 'nm_method'?"),
    ({"methods": "ft", "dataset": "nm_dta"}, "'nm_dta'; did you mean 'nm_data'?"),
    ({"methods": "ft", "model": {"name": "nm_nt"}}, "'nm_nt'; did you mean 'nm_net'?"),
  ):
    with pytest.raises(SettingsError, match=known.replace("?", r"\?")):
      Settings.from_config(CONFIG | changes, catalog())
  with pytest.raises(DataError, match=r"did you mean 'nm_data'\?"):
    data.load("nm_dta")
  with pytest.raises(MethodError, match=r"did you mean 'nm_method'\?"):
    unlearning.get("nm_methd")


def test_a_name_with_two_owners_is_refused(package):
  package("nm_plugin", POINTS)
  package("nm_second", {"models": {"nm_net": "nm_second:Net"}, "methods": {"ft": "nm_second:F"}})
  with pytest.raises(SettingsError, match="network 'nm_net' is one of nm_plugin, nm_second; exp"):
    Settings.from_config(CONFIG | {"methods": "ga"}, catalog())
  with pytest.raises(SettingsError, match="method 'ft' is one of jaxmu, nm_second; expected one"):
    Settings.from_config(CONFIG | {"methods": "ft", "model": {"name": "cnn"}}, catalog())


def test_a_method_that_is_called_otherwise_than_its_package_says_is_refused(package):
  package("nm_plugin", POINTS)
  with pytest.raises(
    MethodError, match="nm_plugin:OTHER is called 'nm_other'; expected 'nm_wrong'"
  ):
    unlearning.get("nm_wrong")
