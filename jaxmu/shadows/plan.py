"""What a U-LiRA study will cost, and what of it is done, without touching data or a device."""

from pathlib import Path

from jaxmu.settings import Settings
from jaxmu.shadows.models import draw, models
from jaxmu.store import typed_json
from jaxmu.store.records import ScoresRecord
from jaxmu.studies.plan import (
  bytes_text,
  dimensions,
  duration,
  run_directory,
  stage_cost,
  work,
)
from jaxmu.unlearning import ANCHORS


def plan(settings: Settings, *, images_per_second: float | None = None) -> str:
  """Return a table: per stage models, those missing, steps, work, bytes and time.

  Args:
    images_per_second: training speed of the whole machine, all models together; None takes what
      was measured on two CPU cores.

  Raises:
    SettingsError: the data set's size is not known in advance (npz) or smaller than its subset,
      the speed is no speed, or the output folder cannot be one.
    DataError: the pool does not fit the data set, or is too small to be attacked.
  """
  train, _, _, _, classes = dimensions(settings)
  chosen = settings.ulira
  study = draw(settings, train)
  sizes = study.split(0, 0).sizes
  run = run_directory(settings)
  flops, weights, speed = work(settings, images_per_second)
  total = chosen.splits * chosen.forgets
  lines = [
    f"{settings.name}: U-LiRA study of {settings.model.name} ({weights:,} parameters, "
    f"{flops / 1e6:.1f} MFLOP an image) on {settings.dataset}",
    f"{chosen.splits} splits x {chosen.forgets} forget sets; pool of {len(study.pool):,}: "
    f"{sizes['retain']:,} retained, {sizes['forget']:,} forgotten, {sizes['test']:,} never seen "
    "in each model",
    f"a sample is forgotten in {0.05 * total:.1f} and never seen in {0.5 * total:.0f} of {total} "
    "models on average",
    f"run directory {run}",
    f"assumed speed: {speed:,.0f} training images/s over all models",
    "",
    f"{'stage':<12}{'models':>7}{'missing':>9}{'steps/model':>13}{'PFLOP':>10}{'scores':>10}"
    f"{'time':>9}",
  ]
  sums = [0, 0, 0.0, 0.0]
  for name in (*ANCHORS, *settings.methods):
    wanted = models(study, settings, name)
    missing = [model for model in wanted if model not in _done(run, name)]
    cost = stage_cost(settings, name, sizes, classes, flops, len(missing), speed)
    sums = [a + b for a, b in zip(sums, (len(wanted), len(missing), *cost[1:]))]
    lines.append(
      f"{name:<12}{len(wanted):>7}{len(missing):>9}{cost[0]:>13,}{cost[1]:>10.3f}"
      f"{bytes_text(5 * len(study.pool) * len(wanted)):>10}{duration(cost[2]):>9}"
    )
  originals = len(models(study, settings, "original"))
  lines += [
    f"{'total':<12}{sums[0]:>7}{sums[1]:>9}{'':>13}{sums[2]:>10.3f}{'':>10}{duration(sums[3]):>9}",
    f"checkpoints of {originals} originals: {bytes_text(4 * weights * originals)}",
  ]
  return "\n".join(lines)


def _done(run: Path, name: str) -> set[tuple[int, int]]:
  """Return the models that have scores."""
  index = run / "scores" / f"{name}.json"
  return set(typed_json.load(ScoresRecord, index).models) if index.is_file() else set()
