"""Checkpoints: bit for bit back, whole or not at all, described without being read."""

import errno
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from absl import logging

from jaxmu.errors import CheckpointError
from jaxmu.store import checkpoint, private_names

RNG = np.random.default_rng(0)


class State(NamedTuple):
  params: dict
  momentum: list
  step: int
  done: bool
  rate: float


def tree():
  """Every kind of leaf and container that a population's state has."""
  kernel = RNG.normal(size=(3, 2, 2)).astype(np.float32)
  kernel[0, 0] = [np.nan, -0.0]
  return State(
    params={"head": {"kernel": kernel, "bias": np.float64([[1e-320], [np.inf], [0]])}},
    momentum=[jnp.arange(3), (np.array([True, False, True]), RNG.integers(0, 2**32, (3, 2), "u4"))],
    step=7,
    done=True,
    rate=0.1,
  )


def flat_bytes(found):
  return [(np.asarray(x).dtype, np.asarray(x).tobytes()) for x in jax.tree.leaves(found)]


@pytest.fixture
def path(tmp_path):
  return tmp_path / "state" / "original"


def test_round_trip_is_bit_identical(path):
  saved = tree()
  checkpoint.save(path, saved, {"seeds": (0, 1, 2), "epoch": np.int64(4)})
  found, metadata = checkpoint.load(path, like=saved)
  assert metadata == {"seeds": [0, 1, 2], "epoch": 4}
  assert jax.tree.structure(found) == jax.tree.structure(saved)
  assert flat_bytes(found) == flat_bytes(saved)
  assert (found.step, found.done, found.rate) == (7, True, 0.1) and found.done is True
  assert all(isinstance(x, np.ndarray | int | float) for x in jax.tree.leaves(found))


def test_without_a_structure_the_tree_is_dictionaries(path):
  saved = tree()
  checkpoint.save(path, saved, {})
  found, _ = checkpoint.load(path)
  assert found["step"].shape == () and found["step"] == 7
  np.testing.assert_array_equal(found["momentum"]["1"]["0"], [True, False, True])
  assert sorted(flat_bytes(found), key=str) == sorted(flat_bytes(saved), key=str)


def test_shape_structs_optimizer_states_and_other_dtypes(path):
  params = {"w": jnp.ones((2, 3), jnp.bfloat16), "none": np.zeros((0, 4), np.float16)}
  saved = {"params": params, "opt": optax.sgd(0.1, momentum=0.9).init(params), "empty": {}}
  checkpoint.save(path, saved, {})
  found, _ = checkpoint.load(path, like=jax.eval_shape(lambda: saved))
  assert jax.tree.structure(found) == jax.tree.structure(saved)
  assert found["params"]["w"].dtype == ml_dtypes.bfloat16
  assert found["params"]["none"].shape == (0, 4) and found["params"]["none"].dtype == np.float16
  assert flat_bytes(found) == flat_bytes(saved)
  assert checkpoint.describe(path).leaves["params/w"].nbytes == 12


def test_dictionaries_without_entries_are_there_again(path):
  """A network without BatchNorm has empty batch statistics, an optimizer may have no state."""
  layer = {"kernel": np.ones((2, 3), np.float32), "cache": {}}
  checkpoint.save(path, {"variables": {"params": layer, "batch_stats": {}}, "optimizers": {}}, {})
  found, _ = checkpoint.load(path)
  assert found["optimizers"] == found["variables"]["batch_stats"] == {}
  assert found["variables"]["params"].keys() == {"kernel", "cache"}
  named = set(checkpoint.describe(path).empty)
  assert named == {"optimizers", "variables/batch_stats", "variables/params/cache"}


def test_typed_keys_are_keys_again(path):
  keys = jax.random.split(jax.random.key(3), 4)
  checkpoint.save(path, {"key": keys}, {})
  for like in (keys, jax.eval_shape(lambda: keys)):
    found = checkpoint.load(path, like={"key": like})[0]["key"]
    np.testing.assert_array_equal(jax.random.normal(found[2]), jax.random.normal(keys[2]))
  assert checkpoint.load(path)[0]["key"].dtype == np.uint32


def test_description_reads_no_arrays(path):
  checkpoint.save(path, tree(), {"seeds": [0, 1, 2]})
  for entry in path.iterdir():
    if entry.name != checkpoint.METADATA:
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
  metadata, leaves, *_ = checkpoint.describe(path)
  assert metadata == {"seeds": [0, 1, 2]}
  assert leaves["params/head/kernel"] == ((3, 2, 2), "float32")
  assert leaves["params/head/kernel"].nbytes == 48
  assert leaves["step"] == ((), "int64")


@pytest.mark.parametrize("damage", ["metadata", "epoch", "arrays gone", "truncated", "flipped"])
def test_damage_is_one_line_that_says_what_to_do(path, damage):
  checkpoint.save(path, {"w": RNG.normal(size=(10, 1000))}, {"epoch": 4})
  largest = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  if damage == "metadata":
    (path / checkpoint.METADATA).write_text('{"meta')
  elif damage == "epoch":  # valid JSON, but not what was saved
    text = (path / checkpoint.METADATA).read_text()
    (path / checkpoint.METADATA).write_text(text.replace('"epoch": 4', '"epoch": 5'))
  elif damage == "arrays gone":
    shutil.rmtree(path / "state")
  else:
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
  with pytest.raises(CheckpointError, match="is damaged .*delete it and run") as error:  # noqa: RUF043
    checkpoint.load(path)
  assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_damage_is_found_before_orbax_reads(path, monkeypatch):
  """Reads that are under way when another one fails would complain later, from other threads."""
  import orbax.checkpoint.experimental.v1 as ocp

  checkpoint.save(path, {str(k): RNG.normal(size=(10, 1000)) for k in range(20)}, {})
  (damaged := next(path.rglob("d/*"))).write_bytes(damaged.read_bytes()[:-1])
  monkeypatch.setattr(ocp, "load", lambda path: pytest.fail("orbax opens a damaged checkpoint"))
  with pytest.raises(CheckpointError, match=f"{damaged.name} does not have its stored SHA-256"):
    checkpoint.load(path)


def test_an_absent_checkpoint_is_one_line(path):
  with pytest.raises(CheckpointError, match=f"no checkpoint at {path}; run the same command"):
    checkpoint.load(path)
  with pytest.raises(CheckpointError, match="no checkpoint at"):
    checkpoint.describe(path)


@pytest.mark.parametrize(
  "like, message",
  [
    ({"w": np.zeros((2, 4), np.float32)}, r"'w' is float32\[2, 3\], expected float32\[2, 4\]"),
    ({"w": np.zeros((2, 3))}, r"'w' is float32\[2, 3\], expected float64\[2, 3\]"),
    ({"w": np.zeros((2, 3), np.float32), "b": 1}, "'b' is not in it"),
    ({}, "'w' is unexpectedly in it"),
  ],
)
def test_another_tree_is_refused(path, like, message):
  checkpoint.save(path, {"w": np.zeros((2, 3), np.float32)}, {})
  with pytest.raises(CheckpointError, match=message):
    checkpoint.load(path, like=like)


def test_saving_replaces_and_sweeps_up_after_kills(path):
  checkpoint.save(path, {"w": np.zeros(3)}, {"epoch": 1})
  old = (".original.tmp", ".original.tmp.orbax-checkpoint-tmp", ".original.tmp-old")
  killed = [
    f".{name}.{private_names.host()}.{2**22 + 1}.0123456789ab" for name in ("original", "x")
  ]
  for leftover in (*old, *killed):
    (path.parent / leftover).mkdir()
    (path.parent / leftover / "junk").write_text("")
  checkpoint.save(path, {"v": np.ones(2)}, {"epoch": 2})
  found, metadata = checkpoint.load(path)
  assert list(found) == ["v"] and metadata == {"epoch": 2}
  assert [p.name for p in path.parent.iterdir()] == ["original"]


def test_unwritable_folder_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(CheckpointError, match=r"^cannot write .*/file/x: Not a directory$"):
    checkpoint.save(tmp_path / "file" / "x", {"w": np.zeros(2)}, {})


FULL = [
  OSError(errno.ENOSPC, "No space left on device", "/some/file"),
  ValueError("RESOURCE_EXHAUSTED: Error writing 'a/c/0' ...\nmore lines"),
  ValueError("Failed writing: '/x' [OS error 28: ENOSPC No space left on device]"),
]


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_disk_that_fills_up_is_one_line(path, monkeypatch, error):
  checkpoint.save(path, {"w": np.zeros(2)}, {"epoch": 1})

  def fail(folder, leaves):
    (folder / "half").mkdir(parents=True)
    raise error

  monkeypatch.setattr(checkpoint, "_save_arrays", fail)
  with pytest.raises(CheckpointError) as raised:
    checkpoint.save(path, {"w": np.ones(2)}, {"epoch": 2})
  assert str(raised.value) == f"cannot write {path}: No space left on device"
  assert checkpoint.load(path)[1] == {"epoch": 1}
  assert [p.name for p in path.parent.iterdir()] == ["original"]


def test_other_mistakes_of_a_writer_are_not_taken_for_a_full_disk(path, monkeypatch):
  def fail(folder, leaves):
    raise ValueError("unsupported type")

  monkeypatch.setattr(checkpoint, "_save_arrays", fail)
  with pytest.raises(ValueError, match="unsupported type"):
    checkpoint.save(path, {"w": np.ones(2)}, {})


FILL = """
import sys, numpy as np
from jaxmu.errors import CheckpointError
from jaxmu.store import checkpoint
checkpoint._check_space = lambda folder, nbytes: None  # as where a quota, not the disk, is full
try:
  checkpoint.save(sys.argv[1], {"w": np.random.default_rng(0).normal(size=30_000)}, {})
except CheckpointError as error:
  sys.exit(str(error))
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
  """A real one: orbax, whose threads would write tracebacks of their own."""
  mount = ["mount", "-t", "tmpfs", "-o", "size=150k", "none", str(tmp_path)]
  if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("a small file system can be mounted by root alone")
  try:
    with pytest.raises(CheckpointError, match="No space left on device"):  # before orbax starts
      checkpoint.save(tmp_path / "x", {"w": np.zeros(30_000)}, {})
    command = [sys.executable, "-c", FILL, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"cannot write {tmp_path}/x: No space left on device\n"
    assert list(tmp_path.iterdir()) == []
  finally:
    subprocess.run(["umount", str(tmp_path)], check=True)


RACER = """
import sys, numpy as np
from jaxmu.store import checkpoint
path, k = sys.argv[1], int(sys.argv[2])
checkpoint.save(path, {"w": np.full(100, k)}, {"k": k})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
  checkpoint.save(path, {"w": np.full(100, k)}, {"k": k})
"""


def test_two_writers_of_one_checkpoint_leave_a_whole_one(path):
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  command = [sys.executable, "-c", RACER, str(path)]
  writers = [subprocess.Popen([*command, str(k)], **pipes) for k in (1, 2)]
  for writer in writers:
    assert writer.stdout.readline() == "ready\n"
  for writer in writers:
    writer.communicate("go\n", timeout=300)
  assert [writer.returncode for writer in writers] == [0, 0]
  found, metadata = checkpoint.load(path)
  assert (found["w"] == metadata["k"]).all()
  assert [p.name for p in path.parent.iterdir()] == ["original"]


def test_log_level_is_put_back(path):
  before = logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  try:
    checkpoint.save(path, {"w": np.zeros(2)}, {})
    checkpoint.load(path)
    assert logging.get_verbosity() == logging.INFO
  finally:
    logging.set_verbosity(before)


TWO_DEVICES = """
import sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxmu.store import checkpoint
source, target = sys.argv[1:]
mesh = Mesh(np.array(jax.devices()), ("models",))
values, _ = checkpoint.load(source)
assert len(jax.devices()) == 2
sharded = jax.device_put(values["w"], NamedSharding(mesh, P("models")))
copied = jax.device_put(values["w"], NamedSharding(mesh, P()))
checkpoint.save(target, {"sharded": sharded, "copied": copied}, {})
"""


def test_restores_whatever_the_sharding(tmp_path):
  values = RNG.normal(size=(4, 5)).astype(np.float32)
  checkpoint.save(tmp_path / "one", {"w": jnp.asarray(values)}, {})
  command = [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "one"), str(tmp_path / "two")]
  subprocess.run(command, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
  found, _ = checkpoint.load(tmp_path / "two")
  np.testing.assert_array_equal(found["sharded"], values)
  np.testing.assert_array_equal(found["copied"], values)
