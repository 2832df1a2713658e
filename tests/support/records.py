"""Records of small groups whose every number says whose it is."""

import numpy as np

from jaxmu.store import checkpoint, files
from jaxmu.store.groups import Cost, CurveRow, Expected, GroupRecord, MemberRecord
from jaxmu.store.record import Record

SAMPLES, CLASSES = 5, 3
KEPT = ("logits.npy", "phi.npy", "correct.npy", "curves.parquet", "variables")


def expected(seeds, of="a"):
  """Return whom a study asks for; `of` tells settings apart."""
  return [Expected({"seed": seed}, f"{of}{seed}") for seed in seeds]


def logits(seeds, bonus=0.0):
  """Return logits [K, N, C] that name the seed, the sample and the class."""
  places = np.arange(SAMPLES * CLASSES).reshape(SAMPLES, CLASSES)
  return np.stack([100 * seed + places + bonus for seed in seeds]).astype(np.float32)


def variables(seeds):
  """Return variables, leaves [K, ...]."""
  kernel = np.stack([np.full((2, 3), seed) for seed in seeds]).astype(np.float32)
  return {"params": {"head": {"kernel": kernel}}, "batch_stats": {}}


def write(attempt, stage, seeds, bonus=0.0):
  """Write what a group of these seeds keeps into a folder."""
  found = logits(seeds, bonus)
  files.write_array(attempt / "logits.npy", found)
  files.write_array(attempt / "phi.npy", found[..., 0])
  files.write_array(attempt / "correct.npy", found[..., 0] % 7 < 3)
  rows = [
    CurveRow(k, phase, epoch, 4, seed + epoch / 8, 0.5, 0.1)
    for phase, epochs in (("warm-up", 1), ("train", 2))
    for epoch in range(1, epochs + 1)
    for k, seed in enumerate(seeds)
  ]
  files.write_table(attempt / "curves.parquet", [vars(row) for row in rows])
  checkpoint.save(attempt / "variables", variables(seeds), {"stage": stage})


def marker(stage, group, members, failure=""):
  """Return the marker of a group of expected members."""
  found = [
    MemberRecord(m.at, m.identity, failure, 3.5, {"RA": 0.5 + m.at["seed"] / 100}) for m in members
  ]
  cost = Cost(models=len(found), wall_s=2.0, compile_s=1.0, predict_s=0.5, passes=7.0, steps=12)
  return GroupRecord(stage, group, tuple(found), cost, {}, "somewhere")


def commit(record, stage, group, seeds, of="a", **options):
  """Make a finished group of the record; tell whether it was the first."""
  attempt = record.attempt(stage, group)
  write(attempt, stage, seeds, options.pop("bonus", 0.0))
  return record.commit(attempt, marker(stage, group, expected(seeds, of), **options))


def record(path, stage="ft", groups=((0, 1), (4, 2), (3,)), seeds=range(5), of="a"):
  """Return a record of these groups, of which the study asks for `seeds`."""
  made = Record(path)
  made.expect(stage, expected(seeds, of))
  made.write_expected()
  for each in groups:
    commit(made, stage, "-".join(map(str, each)), each, of)
  return made
