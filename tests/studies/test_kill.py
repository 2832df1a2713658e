"""SIGKILL in the middle of two stages, the same command again: bit-identical results."""

import numpy as np
from support import sweeps

from jaxmu.store import checkpoint
from jaxmu.store.record import Record

STAGES = ("original", "retrained", "msg")
KILLED = ("original", "msg")  # retraining goes through the same lines as the original
EPOCHS = ("--config.unlearning.msg.num_epochs=12",)


def test_killed_runs_end_bit_identical(tmp_path):
  calm, rough = tmp_path / "calm", tmp_path / "rough"
  arguments = lambda folder: sweeps.arguments(folder, *EPOCHS, methods="msg", epochs=12)
  assert sweeps.call(*arguments(calm)) == 0
  for stage in KILLED:
    sweeps.kill_within(stage, arguments(rough), rough)
  assert sweeps.call(*arguments(rough)) == 0
  a, b = (Record(sweeps.only_run(folder)) for folder in (calm, rough))
  for table in ("rows.parquet", "curves.parquet"):
    assert (a.path / table).read_bytes() == (b.path / table).read_bytes()
  for stage in STAGES:
    np.testing.assert_array_equal(a.logits(stage), b.logits(stage))
    weights = [next(r.path.glob(f"stages/{stage}/*/variables")) for r in (a, b)]
    assert checkpoint.describe(weights[0]).sha256 == checkpoint.describe(weights[1]).sha256
