"""Bad overrides and inputs: one clear line, exit code 2, and results that exist stay untouched."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import sweeps

from jaxmu.store import Run, files
from jaxmu.store.record import Record

CASES = {
  "unknown key": (["--config.trainng.num_epochs=3"], "config has no entry 'trainng'; did you mean"),
  "misspelt method": (["--config.methods=ft,mgs"], "unknown.*'mgs'; did you mean 'msg'"),
  "wrong type": (["--config.training.num_epochs=many"], "expected a whole number"),
  "negative size": (["--config.training.batch_size=-1"], "batch_size"),
  "unknown data set": (["--config.dataset=cifr10"], "cifr10.*did you mean 'cifar10'"),
  "absent data set": (
    ["--config.dataset=cifar10", "--config.data_dir=/nonexistent"],
    "python bin/prepare_data.py cifar10",
  ),
  "empty forget set": (["--config.data.forget_fraction=0"], "forget_fraction"),
  "no seeds": (["--config.seeds="], "seeds"),
  "unknown hyper-parameter": (["--config.unlearning.ft.lr=1"], "lr"),
  "unknown flag": (["--plann"], "unknown flag --plann; did you mean '--plan'"),
  "absent npz": (["--config.dataset=npz", "--config.data.path=/no.npz"], "does not exist"),
}


def refused(capsys, argv, pattern):
  assert sweeps.call(*argv) == 2
  said = capsys.readouterr().err.strip().splitlines()
  errors = [line for line in said if line.startswith("error: ")]
  assert len(errors) == 1, said
  assert not any("Traceback" in line for line in said)
  assert re.search(pattern, errors[0]), errors[0]


@pytest.mark.parametrize("case", CASES)
def test_bad_overrides_give_one_line(case, tmp_path, capsys):
  overrides, pattern = CASES[case]
  refused(capsys, sweeps.arguments(tmp_path, *overrides), pattern)
  assert list(tmp_path.iterdir()) == []


def arrays(tmp_path, **changed):
  rng = np.random.default_rng(0)
  content = {
    "images": rng.integers(0, 255, (60, 8, 8, 1), np.uint8),
    "labels": rng.integers(0, 3, 60),
    "num_train": 50,
  } | changed
  path = tmp_path / "mine.npz"
  np.savez(path, **content)
  return ["--config.dataset=npz", f"--config.data.path={path}"]


@pytest.mark.parametrize(
  ("changed", "pattern"),
  [
    ({"labels": np.full(60, -1)}, "label"),
    ({"labels": np.zeros(60, float)}, "label"),
    ({"images": np.arange(60 * 64).reshape(60, 64).astype(np.uint8)}, "shape"),
    ({}, "the forget set has 5 samples, the attack needs at least 6"),
    ({"images": np.zeros((59, 8, 8, 1), np.uint8)}, "label per image|length|images"),
    ({"images": np.full((60, 8, 8, 1), np.nan)}, "NaN|uint8"),
    ({"labels": np.zeros(60, int)}, "class"),
  ],
)
def test_bad_arrays_give_one_line(changed, pattern, tmp_path, capsys):
  out = tmp_path / "out"
  refused(capsys, sweeps.arguments(out, *arrays(tmp_path, **changed)), pattern)
  assert not out.exists()


def test_an_unwritable_folder(tmp_path, capsys):
  blocked = tmp_path / "file"
  blocked.write_text("not a folder")
  refused(
    capsys,
    sweeps.arguments(blocked),
    "is a file; give a folder that exists or can be made",
  )
  assert blocked.read_text() == "not a folder"


@pytest.fixture
def finished(tmp_path):
  assert sweeps.call(*sweeps.arguments(tmp_path, methods="ft")) == 0
  return Run.open(sweeps.only_run(tmp_path))


def test_a_corrupt_checkpoint_is_named_and_repaired(finished, tmp_path, capsys):
  rows = (finished.path / "rows.parquet").read_bytes()
  argv = sweeps.arguments(tmp_path, methods="ft")
  (state,) = finished.path.glob("stages/original/*/variables")
  victim = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  victim.unlink()
  victim.write_bytes(os.urandom(64))
  refused(capsys, argv, "checkpoint .*original.* is damaged .*same command with --repair")
  assert (finished.path / "rows.parquet").read_bytes() == rows
  assert sweeps.call(*sweeps.arguments(tmp_path, "--repair", methods="ft")) == 0
  said = capsys.readouterr().err
  assert f"deleted {state.parent}" in said and "original: 2 members done" in said
  assert "ft: done before" in said
  assert (finished.path / "rows.parquet").read_bytes() == rows


def test_changed_data_under_a_finished_run(finished, tmp_path, capsys):
  dataset = dataclasses.replace(finished.manifest.dataset, sha256="0" * 64)
  changed = dataclasses.replace(finished.manifest, dataset=dataset)
  files.write_sealed(finished.path / "manifest.json", changed)
  refused(capsys, sweeps.arguments(tmp_path, methods="ft"), "was made with another dataset")


def test_a_file_that_is_read_otherwise_under_a_finished_run(tmp_path, capsys):
  """Images and labels are the same; what a network sees of them is not."""
  labels = np.arange(200) % 3
  images = np.random.default_rng(1).integers(0, 255, (200, 8, 8, 1), np.uint8)
  same = {"images": images, "labels": labels, "num_train": 150, "std": [0.3]}
  more = ("--config.data.random_labels=0", "--config.data.forget_fraction=0.2")
  given = lambda **changed: sweeps.arguments(
    tmp_path / "out", *arrays(tmp_path, **same, **changed), *more, methods="ft"
  )
  assert sweeps.call(*given(mean=[0.4])) == 0
  assert sweeps.call(*given(mean=[0.4])) == 0
  now = r"\(read with mean 0\.4, std 0\.3, augmentation none.*, now with mean 0\.6, std 0\.3, "
  refused(capsys, given(mean=[0.6]), now)
  refused(capsys, given(mean=[0.4], augmentation="flip"), "now with .*augmentation flip")
  refused(capsys, given(mean=[0.4], classes=list("abcd")), "now with .* 4 classes")


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "members.json"])
def test_records_of_another_form_are_refused_and_made_again(name, finished, tmp_path, capsys):
  argv, path = sweeps.arguments(tmp_path, methods="ft"), finished.path / name
  rows = (finished.path / "rows.parquet").read_bytes()
  for content in ("[]", "{}"):
    path.write_text(content)
    refused(capsys, argv, rf"{path.name} is damaged \(.*delete it and run the same command again")
  path.unlink()
  assert sweeps.call(*argv) == 0
  assert (finished.path / "rows.parquet").read_bytes() == rows


def test_a_damaged_neighbour_is_not_borrowed_from(finished, tmp_path):
  for logits in finished.path.glob("stages/original/*/logits.npy"):
    logits.write_bytes(b"")
  changed = sweeps.arguments(tmp_path, "--config.unlearning.ft.num_epochs=1", methods="ft")
  assert sweeps.call(*changed) == 0
  other = next(p for p in Path(tmp_path).iterdir() if p.is_dir() and p != finished.path)
  lent = {
    stage: Record(other).groups(stage)[0].borrowed_from for stage in ("original", "retrained")
  }
  assert lent == {"original": "", "retrained": finished.path.name}


def test_a_group_that_was_deleted_is_made_again_alike(finished, tmp_path, capsys):
  rows = (finished.path / "rows.parquet").read_bytes()
  shutil.rmtree(finished.path / "stages" / "ft")
  assert sweeps.call(*sweeps.arguments(tmp_path, methods="ft")) == 0
  said = capsys.readouterr().err
  assert "original: done before" in said
  assert "ft: 2 members done in" in said
  assert (finished.path / "rows.parquet").read_bytes() == rows
