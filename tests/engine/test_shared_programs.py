"""Processes as users start them: torn entries are mended, and one machine's programs serve others.

Each process compiles three tiny programs and says what jax's cache did.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmu.engine import runtime
from jaxmu.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import collections, json, os, warnings
from jaxmu.engine import runtime
with warnings.catch_warnings(record=True) as caught:
  warnings.simplefilter("always")
  runtime.configure(1)
  import jax, jax.monitoring
  events = collections.Counter()
  count = lambda event, **rest: events.update([event.rpartition("/")[2]])
  jax.monitoring.register_event_listener(count)
  for number in range(3):
    jax.jit(lambda x: x * number + 1)(1.0).block_until_ready()
folder = jax.config.jax_compilation_cache_dir
found = [events["cache_hits"], events["cache_misses"], [str(each.message) for each in caught]]
print(json.dumps([folder, *found]))
"""


def run(**settings):
  """Return a process's cache folder, hits, new entries, and warnings."""
  names = ("JAX_COMPILATION_CACHE_DIR", "JAXMU_SHARED_CACHE", "XDG_CACHE_HOME")
  inherited = {name: value for name, value in os.environ.items() if name not in names}
  environment = inherited | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | settings
  command = [sys.executable, "-c", PROGRAM]
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  folder, hits, misses, warnings = json.loads(done.stdout)
  return Path(folder), hits, misses, warnings + done.stderr.splitlines()


def test_torn_entries_are_compiled_again_once(tmp_path):
  place = {"XDG_CACHE_HOME": str(tmp_path)}
  folder, *found = run(**place)
  assert found == [0, 3, []] and folder.parent == tmp_path / "jaxmu" / "xla"
  entries = sorted(folder.glob("*-cache"))
  for path, size in zip(entries, (0, 100, entries[2].stat().st_size // 2)):
    path.write_bytes(path.read_bytes()[:size])
  assert run(**place) == (folder, 0, 3, [])
  assert run(**place) == (folder, 3, 0, [])


def test_another_machine_compiles_nothing(tmp_path):
  """Local folders lie elsewhere on each, as with a temporary folder for each job."""
  for name in ("one", "two"):
    (tmp_path / name).mkdir()
  shared = tmp_path / "shared"
  machine = lambda name: {"TMPDIR": str(tmp_path / name), "JAXMU_SHARED_CACHE": str(shared)}
  folder, *found = run(**machine("one"))
  assert found == [0, 3, []] and (tmp_path / "one") in folder.parents
  assert len(list((shared / folder.name).glob("*.crc32"))) == 3
  folder, *found = run(**machine("two"))
  assert found == [3, 0, []] and (tmp_path / "two") in folder.parents


def test_a_limit_of_the_cache_and_sharing_exclude_each_other(monkeypatch):
  import jax

  monkeypatch.setenv("JAXMU_SHARED_CACHE", "/nowhere")
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  before = jax.config.jax_compilation_cache_max_size
  jax.config.update("jax_compilation_cache_max_size", 10**9)
  try:
    with pytest.raises(UserError, match="JAX_COMPILATION_CACHE_MAX_SIZE are both set"):
      runtime._open_cache()
  finally:
    jax.config.update("jax_compilation_cache_max_size", before)


@pytest.mark.parametrize("given", ["", "gs://bucket/programs"])
def test_no_cache_and_object_stores_are_left_to_jax(monkeypatch, given):
  monkeypatch.setenv("JAXMU_SHARED_CACHE", "/nowhere")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", given)
  assert runtime._open_cache() == given
