"""The store of scores: rows are appended, never mixed, and a kill leaves those that count."""

import numpy as np
import pytest

from jaxmu.errors import StoreError
from jaxmu.shadows.scores import Scores
from jaxmu.store import files
from jaxmu.store.records import ShadowCost

COST = ShadowCost(models=4, wall_s=2.0, compile_s=0.5, predict_s=0.25, passes=300.0)
MODELS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def rows(count, samples=5, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, samples)).astype(np.float32), rng.random((count, samples)) < 0.5


def filled(folder, models=MODELS, identity="a"):
  store = Scores(folder, "ft", 5, identity)
  phi, correct = rows(len(models))
  store.append(models, phi, correct, [""] * len(models), COST)
  return phi, correct


def test_rows_come_back_by_model_in_any_order(tmp_path):
  phi, correct = filled(tmp_path)
  store = Scores(tmp_path, "ft", 5, "a")
  assert store.models == MODELS and store.missing([(2, 0), (1, 1)]) == [(2, 0)]
  np.testing.assert_array_equal(store.phi(MODELS), phi)
  np.testing.assert_array_equal(store.correct(MODELS), correct)
  np.testing.assert_array_equal(store.phi([(1, 1), (0, 0), (0, 0)]), phi[[3, 0, 0]])
  assert isinstance(store.phi(MODELS[1:3]), np.memmap)
  assert store.correct(MODELS).dtype == bool


def test_rows_are_appended_and_costs_add_up(tmp_path):
  phi, _ = filled(tmp_path)
  before = (tmp_path / "ft.phi").read_bytes()
  store = Scores(tmp_path, "ft", 5, "a")
  more, right = rows(2, seed=1)
  store.append([(2, 0), (2, 1)], more, right, ["", "steps 3-4"], COST)
  assert (tmp_path / "ft.phi").read_bytes() == before + more.tobytes()
  again = Scores(tmp_path, "ft", 5, "a")
  np.testing.assert_array_equal(again.phi([(2, 1), (0, 1)]), [more[1], phi[1]])
  assert again.cost == ShadowCost(8, 4.0, 1.0, 0.5, 600.0)
  assert again.failed([(2, 0), (2, 1)]).tolist() == [False, True]


def test_rows_that_a_kill_left_unnamed_are_written_over(tmp_path):
  phi, _ = filled(tmp_path)
  with (tmp_path / "ft.phi").open("ab") as file:
    file.write(b"torn row")
  more, right = rows(1, seed=2)
  store = Scores(tmp_path, "ft", 5, "a")
  np.testing.assert_array_equal(store.phi(MODELS), phi)
  store.append([(2, 0)], more, right, [""], COST)
  assert (tmp_path / "ft.phi").read_bytes() == phi.tobytes() + more.tobytes()
  np.testing.assert_array_equal(store.phi([(2, 0)]), more)


def test_rows_of_another_recipe_or_pool_are_refused(tmp_path):
  filled(tmp_path)
  with pytest.raises(StoreError, match="must not be mixed"):
    Scores(tmp_path, "ft", 5, "b")
  with pytest.raises(StoreError, match="samples 5, now 6"):
    Scores(tmp_path, "ft", 6, "a")


def test_a_model_has_one_row_of_the_right_length(tmp_path):
  filled(tmp_path)
  store = Scores(tmp_path, "ft", 5, "a")
  with pytest.raises(StoreError, match=r"it has model \(1, 0\) already"):
    store.append([(1, 0)], *rows(1), [""], COST)
  with pytest.raises(StoreError, match="cannot append 1 models of 5 samples"):
    store.append([(3, 0)], *rows(1, samples=4), [""], COST)
  with pytest.raises(StoreError, match=r"has no model \(3, 0\)"):
    store.phi([(3, 0)])


def test_a_file_that_lost_rows_is_named(tmp_path):
  filled(tmp_path)
  path = tmp_path / "ft.correct"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(StoreError, match=r"ft\.correct is shorter than 20 bytes"):
    Scores(tmp_path, "ft", 5, "a")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ([], "it is a list, expected an object"),
    ({}, "'identity' is missing"),
    ({"failures": [""]}, "1 failures for 4 of 4 models"),
    ({"models": [[0, 0]] * 4}, "4 failures for 1 of 4 models"),
    ({"models": [[0], [1], [2], [3]]}, "'models.0' has 1 entries, expected 2"),
    ({"cost": {}}, "'cost.models' is missing"),
  ],
)
def test_an_index_of_another_form_is_one_line(tmp_path, change, message):
  filled(tmp_path)
  path = tmp_path / "ft.json"
  files.write_json(path, files.read_json(path) | change if change else change)
  with pytest.raises(StoreError) as error:
    Scores(tmp_path, "ft", 5, "a")
  advice = "delete it and run the same command again"
  assert str(error.value) == f"{path} is damaged ({message}); {advice}"
