"""The sections of a config: every entry with its type, default, range and meaning.

Defaults are the reference's recipe (spec data_models 7). The table in docs/configs.md is made from
here.
"""

from typing import Annotated

from pydantic.dataclasses import dataclass

from jaxmu.settings.choices import (
  COMPUTE,
  LOWERINGS,
)
from jaxmu.settings.entries import Entry
from jaxmu.settings.ranges import (
  BELOW_ONE,
  CHUNK,
  DEVICES,
  EPOCHS,
  MEMBERS,
  NOT_NEGATIVE,
  OPEN_UNIT,
  POSITIONS,
  POSITIVE,
  RESAMPLES,
  SAMPLES,
  SEED,
  WIDTH,
)
from jaxmu.settings.readers import auto_or, file_path, known, sha256

# Schemas are made at the first config, not at import: half of the time, and --help needs none.
STRICT = {"extra": "forbid", "defer_build": True}
PINNED = ", ".join(f"`{name}`" for name in LOWERINGS)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSettings:
  """Which samples are used, how they are split, and whether training augments them."""

  path: Annotated[
    str,
    Entry(
      "file of data set `npz` ([format](#your-own-data)), or folder of `utkface` (empty: "
      "`UTKFace` in `data_dir`); for no other data set",
      read=file_path,
    ),
  ] = ""
  subset_train: Annotated[
    int,
    Entry(
      "keep this many samples of the official training part; 0 keeps all. A smaller subset lies "
      "within a larger one",
      within=POSITIONS,
    ),
  ] = 0
  subset_test: Annotated[int, Entry("the same for the test part", within=POSITIONS)] = 0
  val_fraction: Annotated[
    float,
    Entry(
      "share of the training part that becomes the validation set, rounded up", within=OPEN_UNIT
    ),
  ] = 0.15
  forget_fraction: Annotated[
    float,
    Entry("share of what then remains that becomes the forget set, rounded up", within=OPEN_UNIT),
  ] = 0.10
  forget: Annotated[
    str,
    Entry(
      "file of the positions to forget, in place of a drawn forget set "
      "([format](#a-forget-set-of-ones-own)); `forget_fraction` is then not read",
      read=file_path,
      incidental=True,
    ),
  ] = ""
  forget_sha256: Annotated[
    str,
    Entry(
      "SHA-256 of the sorted positions in `forget`: found when a config is read. Where it is "
      "given, a file of others is refused",
      read=sha256,
    ),
  ] = ""
  split_seed: Annotated[
    int,
    Entry("seed of the split; 123 with the fractions above is the paper's split", within=SEED),
  ] = 123
  split_per_seed: Annotated[
    bool,
    Entry(
      "draw all parts anew for each seed, the test part too "
      "([why](evaluation.md#one-split-or-one-per-seed)). With `forget`, only the validation set"
    ),
  ] = False
  random_labels: Annotated[
    float,
    Entry(
      "share of all samples that get a uniformly random label ([why](evaluation.md#random-labels))",
      within=BELOW_ONE,
    ),
  ] = 0.0
  random_label_seed: Annotated[int, Entry("seed of these labels", within=SEED)] = 123
  augment: Annotated[
    bool,
    Entry(
      "false switches the data set's augmentation off. Only original and retrained training augment"
    ),
  ] = True


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSettings:
  """Which network, and how its convolutions are computed."""

  name: Annotated[
    str, Entry("{models}, or [your own](own_code.md#a-network)", read=known("models"))
  ]
  width: Annotated[int, Entry("channels of the first layer; read by `cnn` only", within=WIDTH)] = 32
  lowering: Annotated[
    str,
    Entry(
      "how convolutions are computed: `auto` (by rule on CPUs, measured elsewhere), `measured`, or "
      f"one of {PINNED} for all ([performance](performance.md#convolutions))",
      choices=("auto", "measured", *LOWERINGS),
    ),
  ] = "auto"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSettings:
  """How original and retrained models are trained."""

  num_epochs: Annotated[int, Entry("epochs of original and retrained models", within=EPOCHS)] = 182
  batch_size: Annotated[int, Entry("their batch size", within=SAMPLES)] = 256
  learning_rate: Annotated[
    float, Entry("at the start; cosine per epoch down to nearly 0", within=POSITIVE)
  ] = 0.1
  momentum: Annotated[float, Entry("heavy-ball, below 1", within=BELOW_ONE)] = 0.9
  weight_decay: Annotated[float, Entry("coupled (L2), on every parameter", within=NOT_NEGATIVE)] = (
    5e-4
  )
  data_seed: Annotated[
    int,
    Entry(
      "batch order of original and retrained training, the same for all seeds, as in the reference",
      within=SEED,
    ),
  ] = 123


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PopulationSettings:
  """How members share the machine, and in which numbers their networks are computed."""

  chunk: Annotated[
    int | str,
    Entry(
      "members that a device computes together (`vmap`): a whole number, or `auto` (CPU: 1; else "
      "measured once per network, batch, device and jax version)",
      read=auto_or(CHUNK),
    ),
  ] = "auto"
  devices: Annotated[
    int,
    Entry(
      "how many devices to use; 0 takes all. CPU cores count as devices",
      within=DEVICES,
      incidental=True,
    ),
  ] = 0
  members_at_once: Annotated[
    int | str,
    Entry(
      "largest number of members that are trained together, at most 64: a whole number, or `auto` "
      "(what fits by prediction; [units](engine.md#units))",
      read=auto_or(MEMBERS),
      incidental=True,
    ),
  ] = "auto"
  compute: Annotated[
    str,
    Entry(
      "`float32`, or `bfloat16` for the network's forward and backward pass alone "
      "([bfloat16](engine.md#bfloat16))",
      choices=COMPUTE,
    ),
  ] = "float32"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluationSettings:
  """How predictions are made and intervals are computed."""

  batch_size: Annotated[int, Entry("samples per step when logits are computed", within=SAMPLES)] = (
    500
  )
  bootstrap: Annotated[
    int,
    Entry(
      "resamples of the seeds, for the intervals over seeds alone in `report.csv`",
      within=RESAMPLES,
      incidental=True,
    ),
  ] = 2000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReportSettings:
  """What a method must reach to be recommended; no number of the results depends on it."""

  max_attack: Annotated[
    float,
    Entry(
      "most that the strongest attack (U-LiRA in its study) may reach, upper end of its interval; "
      "0: no more than on retrained models",
      within=BELOW_ONE,
      incidental=True,
    ),
  ] = 0.0
  min_test_accuracy: Annotated[
    float,
    Entry(
      "least test accuracy; 0: that of retrained models, less what another seed moves",
      within=BELOW_ONE,
      incidental=True,
    ),
  ] = 0.0
  max_forget_gap: Annotated[
    float,
    Entry(
      "most that forget accuracy may differ from that of retrained models; 0: what another seed "
      "moves",
      within=BELOW_ONE,
      incidental=True,
    ),
  ] = 0.0
  min_speedup: Annotated[
    float,
    Entry(
      "least number of times that it is cheaper than retraining",
      within=NOT_NEGATIVE,
      incidental=True,
    ),
  ] = 1.0
