"""SIGKILL in the middle of two stages, the same command again: bit-identical results."""

import numpy as np
import pytest
from support import sweeps

from jaxmu.store import checkpoint
from jaxmu.store.record import Record

STAGES = ("original", "retrained", "msg")
KILLED = ("original", "msg")  # retraining goes through the same lines as the original
EPOCHS = ("--config.unlearning.msg.num_epochs=12",)


# Half of two classes, two forget sets of other sizes for each seed, in three rounds.
ROUNDS = (
  *("--config.scenario.forget=classes", "--config.scenario.classes=1,2"),
  *("--config.scenario.share=0.5", "--config.scenario.draws=2", "--config.scenario.rounds=3"),
)


def test_killed_runs_end_bit_identical(tmp_path):
  killed(tmp_path, EPOCHS, KILLED, STAGES)


@pytest.mark.slow
def test_rounds_that_were_killed_end_bit_identical(tmp_path):
  stages = ("original", "retrained", "msg@1", "msg@2", "msg@3")
  killed(tmp_path, (*EPOCHS, *ROUNDS), ("retrained", "msg@3"), stages)


def killed(folder, overrides, kills, stages):
  """Run undisturbed and with kills; compare everything."""
  calm, rough = folder / "calm", folder / "rough"
  arguments = lambda folder: sweeps.arguments(folder, *overrides, methods="msg", epochs=12)
  assert sweeps.call(*arguments(calm)) == 0
  for stage in kills:
    sweeps.kill_within(stage, arguments(rough), rough)
  assert sweeps.call(*arguments(rough)) == 0
  a, b = (Record(sweeps.only_run(folder)) for folder in (calm, rough))
  for table in ("rows.parquet", "curves.parquet"):
    assert (a.path / table).read_bytes() == (b.path / table).read_bytes()
  for stage in stages:
    np.testing.assert_array_equal(a.logits(stage), b.logits(stage))
    weights = [next(r.path.glob(f"stages/{stage}/*/variables")) for r in (a, b)]
    assert checkpoint.describe(weights[0]).sha256 == checkpoint.describe(weights[1]).sha256
