"""`jaxmu status` and bin/inspect.py --status: one run, several, what to do next, how quickly."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

from support import manifests, records

from jaxmu.command import cli, console, status_text
from jaxmu.store import Run, files, status, unit_attempts
from jaxmu.store.groups import ALIVE, SignOfLife
from jaxmu.store.record import Record

ROOT = Path(__file__).parents[2]


def made(folder, name="x", study="benchmark", platform="gpu", seeds=range(4)):
  """Return a run whose originals are done."""
  found = manifests.manifest(("original", "ft"), seeds=tuple(seeds))
  found = dataclasses.replace(found, device=dataclasses.replace(found.device, platform=platform))
  run = Run.create(folder, name, "0", {"study": study, "model": {"name": "cnn"}}, found)
  record = Record(run.path)
  for stage in ("original", "ft"):
    record.expect(stage, records.expected(seeds))
  record.write_expected()
  finish(run, "original", seeds)
  return run


def finish(run, stage, seeds):
  record, name = Record(run.path), f"{seeds[0]}-{seeds[-1]}"
  cost = dataclasses.replace(records.marker(stage, name, []).cost, wall_s=7200.0)
  marker = dataclasses.replace(records.marker(stage, name, records.expected(seeds)), cost=cost)
  record.commit(record.attempt(stage, name), marker)


def begin(run, stage, seeds, error=None):
  legs = Record(run.path).legs(stage, "-".join(map(str, seeds)))
  try:
    with unit_attempts.noted(legs, [{"seed": seed} for seed in seeds]):
      sign = SignOfLife("far", 7, time.time(), "train", 3, 12, len(seeds), 0.5)
      files.write_json(legs / ALIVE, sign)
      if error:
        raise error
  except ValueError:
    pass


def ask(capsys, *words):
  code = cli.run(console.main, console.flags(), ["status", *map(str, words)])
  return code, *capsys.readouterr()


def test_a_run_in_work(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("SLURM_JOB_ID", "71")
  run = made(tmp_path)
  finish(run, "ft", (0,))
  begin(run, "ft", (1, 2))
  begin(run, "ft", (3,), ValueError("no such kernel"))
  code, out, err = ask(capsys, run.path)
  assert (code, err) == (0, "")
  lines = out.splitlines()
  assert lines[0] == "run x-0: 5 of 8 members done"
  rows = {line.split()[0]: line.split()[1:] for line in lines[1:] if line}
  counts = ["members", "done", "running", "stale", "failed", "waiting"]
  assert rows["stage"][:6] == counts
  assert rows["original"] == ["4", "4", "0", "0", "0", "0", "0", "1", "2.0", "h", "done"]
  # Of three members, 2 h each, two have a quarter behind them.
  assert rows["ft"] == ["4", "1", "2", "0", "1", "0", "0", "1", "2.0", "h", "5.0", "h"]
  assert rows["total"] == ["8", "5", "2", "0", "1", "0", "0", "2", "4.0", "h", "5.0", "h"]
  assert "GPU time: 4.0 h spent, about 5.0 h left (5.0 h with what runs now)" in lines
  assert "units: 2 done, 1 running, 0 stale, 1 failed, 0 stopped" in lines
  assert "job 71" in out and "train: epoch 3 of 12" in out
  assert "ft/3 failed in attempt 1: ValueError: no such kernel" in lines
  assert "run the same command again" not in out


def test_a_run_on_which_nobody_works_and_one_that_is_done(tmp_path, capsys):
  run = made(tmp_path, platform="cpu")
  _, out, _ = ask(capsys, run.path)
  assert out.splitlines()[-1] == "no process works on it; run the same command again to go on"
  assert "CPU time: 2.0 h spent; what is left is known once a unit of each method is" in out
  finish(run, "ft", range(4))
  _, out, _ = ask(capsys, run.path)
  assert "CPU time: 4.0 h spent\n" in out
  assert out.splitlines()[-1] == "tables and report are still to be written of x-0"
  with run.writing_results():
    run.write_rows([{"method": "ft", "seed": 0}])
  assert "no process" not in ask(capsys, run.path)[1] and "written" not in ask(capsys, run.path)[1]


def test_a_search_may_ask_for_more(tmp_path, capsys):
  run = made(tmp_path, study="search")
  finish(run, "ft", range(4))
  assert "a search asks for more members once it has seen" in ask(capsys, run.path)[1]


def test_several_runs_are_a_line_each(tmp_path, capsys):
  first, second = made(tmp_path, "x"), made(tmp_path, "y", platform="cpu")
  finish(first, "ft", (0, 1))
  begin(second, "ft", (2,))
  for words in ([tmp_path], [first.path, second.path], [first.path, tmp_path]):
    code, out, _ = ask(capsys, *words)
    lines = out.splitlines()
    assert code == 0 and lines[0] == "2 runs: 10 of 16 members done"
    assert [line.split()[0] for line in lines[1:5]] == ["run", "x-0", "y-0", "total"]
    assert lines[2].split()[1:] == ["8", "6", "0", "0", "0", "2", "0", "2", "4.0", "h", "2.0", "h"]
    assert "time of devices: 6.0 h spent, about 2.0 h left (2.0 h with what runs now), " in out
    assert "without ft, of which no unit is finished" in out and "\ny-0/ft/2 " in out


def test_json_has_runs_stages_units_and_sums(tmp_path, capsys):
  run = made(tmp_path)
  begin(run, "ft", (2,))
  _, out, _ = ask(capsys, run.path, "--json")
  found = json.loads(out)
  assert found == json.loads(json.dumps(status_text.to_dict(status_text.of_paths([run.path]))))
  (one,) = found["runs"]
  assert one["name"] == "x-0" and one["units"][0]["state"] == "running"
  assert found["total"]["members"] == one["total"]["members"] == 8
  assert [stage["done"] for stage in one["stages"]] == [4, 0]


def test_mistakes_are_one_line(tmp_path, capsys):
  assert ask(capsys)[::2] == (
    2,
    "error: no run given; expected jaxmu status RUN, or a folder that holds runs\n",
  )
  assert ask(capsys, tmp_path)[2].startswith(f"error: {tmp_path} is neither a run (it has no ")
  assert "--markdown prints a whole table of docs/" in ask(capsys, tmp_path, "--markdown")[2]


QUICK = """
import sys, time
before = time.process_time()
from jaxmu.command import cli, console
assert cli.run(console.main, console.flags(), ["status", sys.argv[1]]) == 0
loaded = {"jax", "flax", "pandas", "pyarrow", "orbax", "sklearn"} & set(sys.modules)
assert not loaded, loaded
print(time.process_time() - before)
"""


def test_a_thousand_units_take_less_than_two_seconds(tmp_path):
  """Of processor time; half of the members that the whole benchmark has in as many units."""
  run = made(tmp_path, seeds=range(1012 * 32))
  template = json.loads(next(run.path.glob("stages/original/*/marker.json")).read_text())
  for unit in range(1012):
    folder = run.path / "stages" / "ft" / f"unit-{unit}"
    folder.mkdir(parents=True)
    members = template["members"][32 * unit : 32 * (unit + 1)]
    marker = template | {"stage": "ft", "group": folder.name, "members": members}
    (folder / "marker.json").write_text(json.dumps(marker))
  environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
  command = [sys.executable, "-c", QUICK, run.path]
  found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
  assert found.returncode == 0, found.stderr
  lines = found.stdout.splitlines()
  assert lines[0] == f"run x-0: {2 * 1012 * 32} of {2 * 1012 * 32} members done"
  assert float(lines[-1]) < 2
  assert status.status(run.path).stages[1].units == 1012
