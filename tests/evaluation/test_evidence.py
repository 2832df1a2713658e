"""Evidence and report: written alike for alike inputs, and every change of them is found."""

import json

import numpy as np
import pytest
from support import own_models
from support.refusals import refused
from support.report_page import Page

from jaxmu.command import cli
from jaxmu.command import evaluate as program
from jaxmu.errors import DataError, StoreError
from jaxmu.evaluation import evaluate, verify
from jaxmu.evaluation import evidence_file as module
from jaxmu.store import files

GIVEN = own_models.clean(seeds=2, retain=80, forget=60, unseen=70)


@pytest.fixture(scope="module")
def found():
  return evaluate(**GIVEN, max_attack=0.7)


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
  folder = tmp_path_factory.mktemp("evidence")
  found.report(folder, title="Request 17")
  return folder


@pytest.fixture
def folder(written, tmp_path):
  for name in (module.EVIDENCE, module.ARRAYS):
    (tmp_path / name).write_bytes((written / name).read_bytes())
  return tmp_path


def edit(folder, change, seal):
  """Change evidence.json, with a new seal or without."""
  path = folder / module.EVIDENCE
  value = json.loads(path.read_text())
  digest = value.pop("sha256")
  change(value)
  if seal:
    files.write_sealed(path, value)
  else:
    path.write_text(json.dumps(value | {"sha256": digest}, indent=1) + "\n")


def test_it_verifies_itself(written):
  found = verify(written)
  assert found.sound and not found.notes and "verified" in str(found)
  assert verify(written / module.EVIDENCE) == found


def test_evidence_has_hashes_versions_thresholds_and_all_numbers(found, written):
  value = files.read_sealed(written / module.EVIDENCE)
  assert set(value["inputs"]) == {*GIVEN, "labels"}
  assert all(len(one["sha256"]) == 64 for one in value["inputs"].values())
  assert value["thresholds"]["max_attack"] == 0.7 and "numpy" in value["versions"]
  rows = value["results"]["rows"]
  assert (
    rows["unlearned 1"]["FA"]
    == found.rows.set_index(["method", "seed"]).loc[("unlearned", 1), "FA"]
  )
  assert len(value["results"]["attacks"]) == len(found.attacks)
  assert value["results"]["verdict"]["outcome"] == found.verdict.outcome
  assert "NaN" not in (written / module.EVIDENCE).read_text()


def test_equal_inputs_give_equal_bytes(found, written, tmp_path):
  for path in evaluate(**GIVEN, max_attack=0.7).report(tmp_path, title="Request 17"):
    assert path.read_bytes() == (written / path.name).read_bytes(), path.name


NUMBER = "rows: unlearned 0: FA: 0.25 in the file"


def set_number(value):
  value["results"]["rows"]["unlearned 0"]["FA"] = 0.25


def set_verdict(value):
  value["results"]["verdict"]["outcome"] = "passed with honours"


def drop_caution(value):
  value["results"]["cautions"].pop()


def set_hash(value):
  value["inputs"]["labels"]["sha256"] = "0" * 64


def ask_less(value):
  value["thresholds"]["max_attack"] = 0.99


@pytest.mark.parametrize(
  ("change", "line"),
  [
    (set_number, NUMBER),
    (set_verdict, 'verdict: outcome: "passed with honours" in the file'),
    (drop_caution, "cautions: "),
    (set_hash, "labels: SHA-256 000000000000 in the file"),
    (ask_less, "verdict: checks: Attack: asked: "),
  ],
)
@pytest.mark.parametrize("seal", [False, True])
def test_every_change_of_the_file_is_found(folder, change, line, seal):
  edit(folder, change, seal)
  found = verify(folder)
  assert any(one.startswith(line) for one in found.mismatches), found
  sealed = "evidence.json does not have its SHA-256" in str(found)
  assert sealed != seal and not found.sound and f"{len(found.mismatches)} mismatch" in str(found)


def test_another_version_breaks_the_seal_and_is_named(folder):
  edit(folder, lambda value: value["versions"].update(numpy="1.0"), seal=False)
  found = verify(folder)
  assert not found.sound and "numpy 1.0 in the file, " in found.notes[0]
  edit(folder, lambda value: None, seal=True)  # honestly written elsewhere: numbers still agree
  assert verify(folder).sound and "numpy 1.0 in the file, " in verify(folder).notes[0]


def test_a_changed_array_is_found_and_so_are_its_numbers(folder):
  path = folder / module.ARRAYS
  arrays = dict(np.load(path))
  arrays["unlearned"] = np.roll(arrays["unlearned"], 1, axis=-1)
  np.savez(path, **arrays)
  lines = verify(folder).mismatches
  assert lines[0].startswith("unlearned: SHA-256 ") and any(
    "rows: unlearned 0: FA" in one for one in lines
  )


@pytest.mark.parametrize("name", ["retrained", "forget", "labels"])
def test_an_absent_array_is_found(folder, name):
  path = folder / module.ARRAYS
  np.savez(path, **{key: array for key, array in np.load(path).items() if key != name})
  assert f"{name}: not in evidence.npz" in verify(folder).mismatches


def test_what_is_no_evidence_is_refused(folder, tmp_path):
  refused(lambda: verify(tmp_path / "none.json"), StoreError, "none.json does not exist")
  edit(folder, lambda value: value.pop("results"), seal=True)
  refused(lambda: verify(folder), StoreError, "is no evidence of an evaluation")
  (folder / module.EVIDENCE).write_text("[")
  refused(lambda: verify(folder), StoreError, "damaged")


def test_sets_of_every_seed_verify(tmp_path):
  own = own_models.joined(GIVEN)
  turned = {name: np.stack([own[name], np.roll(own[name], 1)]) for name in own_models.SIZES}
  evaluate(**own | turned).report(tmp_path)
  assert verify(tmp_path).sound


def test_the_report_says_what_was_found(found, written):
  text = (written / "report.md").read_text()
  assert text.startswith("# Request 17\n") and "✓" in text and "| Unlearned |" in text
  for caution in found.cautions:
    assert f"- **{caution.title}** ({caution.level})." in text
  digest = files.read_json(written / module.EVIDENCE)["inputs"]["forget"]["sha256"]
  page = (written / "report.html").read_text()
  assert digest in text and digest in page and "What was evaluated" in page
  assert "nan" not in text and Page(page).named("svg") and not Page(page).named("script")


def call(*argv):
  return cli.run(program.main, program.flags(), list(map(str, argv)))


def test_the_command_prints_reports_and_verifies(written, folder, tmp_path, capsys):
  assert call(written / module.EVIDENCE, "--verify") == 0
  assert capsys.readouterr().out == "verified: all hashes and numbers agree\n"
  edit(folder, set_number, seal=True)
  assert call(folder, "--verify") == 1
  assert NUMBER in capsys.readouterr().out
  parts = {
    f"{m}/{part}": array
    for m in ("original", "unlearned", "retrained")
    for part, array in GIVEN[m].items()
  }
  labels = {f"labels/{part}": GIVEN[part] for part in own_models.SIZES}
  np.savez(tmp_path / "logits.npz", **parts, **labels)
  for path in (tmp_path / "logits.npz", written / module.ARRAYS):
    assert call(path, "--max-attack=0.7", "--report", tmp_path / path.stem) == 0
    out = capsys.readouterr().out
    assert "Verdict: " in out and out.endswith("evidence.npz\n")
    assert (tmp_path / path.stem / module.EVIDENCE).read_bytes() == (
      written / module.EVIDENCE
    ).read_bytes()


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    (
      {"original/retain": np.zeros((3, 2)), "unlerned/retain": np.zeros((3, 2))},
      "which is not read; did you mean 'unlearned/retain'?",
    ),
    ({"original": np.zeros((3, 2))}, "holds no unlearned"),
    ({"orginal": np.zeros((3, 2))}, "did you mean 'original'?"),
  ],
)
def test_files_of_another_form_are_refused(arrays, message, tmp_path):
  refused(lambda: program.arguments(arrays, "logits.npz"), DataError, message)
  np.savez(tmp_path / "logits.npz", **arrays)
  assert call(tmp_path / "logits.npz") == 2


def test_an_absent_file_is_one_line(tmp_path, capsys):
  assert call(tmp_path / "none.npz") == 2
  assert capsys.readouterr().err.endswith(
    "none.npz does not exist; give the path of an .npz file\n"
  )
