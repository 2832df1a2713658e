"""A plan as a table for a terminal."""

from jaxmu.quantities import bytes_text, duration
from jaxmu.studies.plan import TO_DO, Plan, PlannedUnit


def render(plan: Plan) -> str:
  """Return a table: per stage models, those missing, units, steps, work, bytes and time left."""
  stages: dict[str, list[PlannedUnit]] = {}
  for unit in plan.units:
    stages.setdefault(unit.stage, []).append(unit)
  lines = [
    *plan.about,
    f"run directory {plan.folder}",
    f"assumed speed: {plan.speed:,.0f} training images/s over all models",
    "",
    f"{'stage':<12}{'models':>7}{'missing':>9}{'units':>7}{'steps/model':>13}{'PFLOP':>10}"
    f"{'kept':>10}{'time left':>11}",
    *(_line(name, units, units[0].steps) for name, units in stages.items()),
    _line("total", list(plan.units), None),
  ]
  return "\n".join(lines)


def _line(name: str, units: list[PlannedUnit], steps: int | None) -> str:
  left = [unit for unit in units if unit.state == TO_DO]
  members, missing = (sum(len(unit.members) for unit in some) for some in (units, left))
  each = "" if steps is None else f"{steps:,}"
  return (
    f"{name:<12}{members:>7}{missing:>9}{len(units):>7}{each:>13}"
    f"{sum(unit.pflop for unit in units):>10.3f}{bytes_text(sum(unit.bytes for unit in units)):>10}"
    f"{duration(sum(unit.seconds for unit in left)) if left else 'done':>11}"
  )
