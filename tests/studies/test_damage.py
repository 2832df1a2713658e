"""A part of bench/corruption_campaign.py: damaged runs are refused or mended, never believed."""

import runpy

import pytest
from support import sweeps

BENCH = sweeps.ROOT / "bench"
KINDS = ("config.json", "results.json", "phi.npy", "variables: metadata.json")
DAMAGES = ("one bit flipped", "another run's")


@pytest.fixture
def campaign(monkeypatch):
  monkeypatch.syspath_prepend(str(BENCH))  # its programs import one another
  return runpy.run_path(str(BENCH / "corruption_campaign.py"))


def words(cells):
  """Return what came of each damage, by kind; no cell may have a fault."""
  found = {}
  for cell in cells:
    assert not cell.faults, cell
    found.setdefault(cell.kind, []).append((cell.command, *cell.readers.values()))
  return found


def test_damaged_files_are_refused_or_made_anew(campaign, tmp_path):
  found = words(campaign["try_all"]("ulira", KINDS, DAMAGES, tmp_path, stopped=False))
  refused = "refused"
  assert found == {
    "config.json": [
      ("refused: deleted", refused, refused, refused),
      ("refused: deleted", refused, "same", "same"),
    ],
    "results.json": [("no matter", refused, "same", "same")] * 2,
    "phi.npy": [("refused: --repair", "same", "same", "same")] * 2,
    "variables: metadata.json": [("no matter (not read; --repair)", "same", refused, "same")] * 2,
  }


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("study", ["benchmark", "ulira"])
def test_every_kind_of_file_and_every_damage(campaign, study, stopped, tmp_path):
  kinds, damages = campaign["KINDS"], campaign["damage"].DAMAGES
  found = words(campaign["try_all"](study, list(kinds), list(damages), tmp_path, stopped))
  assert len(found) == (4 if stopped else {"benchmark": 17, "ulira": 18}[study])


def test_a_believed_file_would_be_seen(campaign, tmp_path):
  """The campaign itself: a program that shows other numbers, or leads nowhere, is a fault."""
  damage = campaign["damage"]
  said = lambda text, code=2: damage.Said(code, "", text)
  assert damage.refusal_faults(tmp_path, said(f"error: {tmp_path}/x is damaged")) == []
  assert damage.refusal_faults(tmp_path, said("error: something is damaged"))
  assert damage.refusal_faults(tmp_path, said("Traceback (most recent call last):\nKeyError: 1"))
  faults = []
  old, new = (
    damage.Said(0, f'{{"run": {run}, "checkpoints": [], "stages": []}}', "") for run in (1, 2)
  )
  assert damage.judged("inspect", tmp_path, new, old, faults) == "FAULT" and faults
  with pytest.raises(AssertionError, match="no advice"):
    damage.follow(tmp_path, [], said(f"error: {tmp_path}/x is damaged"))
