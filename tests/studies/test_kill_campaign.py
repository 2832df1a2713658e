"""A part of bench/kill_campaign.py: random kills, alone and among three, end bit-identical."""

import runpy
from collections import Counter

import pytest
from support import sweeps

BENCH = sweeps.ROOT / "bench"


@pytest.fixture
def campaign(monkeypatch):
  monkeypatch.syspath_prepend(str(BENCH))  # its programs import one another
  monkeypatch.setenv("XDG_CACHE_HOME", "as it was")  # the campaign has a cache of its own
  return runpy.run_path(str(BENCH / "kill_campaign.py"))


@pytest.mark.slow
@pytest.mark.parametrize("study", ["benchmark", "ulira"])
def test_killed_and_terminated_processes_change_nothing(campaign, study, tmp_path, capsys):
  assert campaign["main"]([str(tmp_path), "--kills=4", "--terms=4", f"--studies={study}"]) == 0
  rounds = campaign["tally"](tmp_path)
  sent = Counter()
  for each in rounds:
    sent[each.signal] += each.signals.total()
  assert {each.processes for each in rounds} == {1, 3}
  assert sent["SIGKILL"] <= 4 and sent["SIGTERM"] <= 4 and sent.total() == 8
  assert campaign["table"](rounds) in capsys.readouterr().out


def test_rounds_are_counted_and_laid_out(campaign, tmp_path):
  kind = ("benchmark", 3, "SIGTERM")
  rounds = [
    campaign["Round"](*kind, Counter({"in a unit": 2}), Counter({"75": 2}), saved=1),
    campaign["Round"](
      *kind, Counter({"setting up": 1}), Counter({"75": 1}), faults=["other numbers"]
    ),
  ]
  (tmp_path / "rounds.jsonl").write_text(
    "".join(campaign["json"].dumps(vars(each)) + "\n" for each in rounds)
  )
  assert campaign["tally"](tmp_path) == rounds
  last = campaign["table"](rounds).splitlines()[-1]
  assert last == (
    "| SIGTERM | benchmark | 3 | 3 | 2 in a unit, 1 setting up | 3 75 | 1 | 0 | 2 | 1 | 1 |"
  )
