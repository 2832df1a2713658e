"""What a model cost, in work and not in seconds."""

from jaxmu.audit import formulas
from jaxmu.audit.metric import COST, MAIN, ROWS, Metric

RTE_WORK = Metric(
  *("RTE_work", "RTE", "large"),
  "Run-time efficiency: sample-passes of retraining divided by those of the method (a forward "
  "pass counts 1, a backward pass 2). Above 1 is cheaper than retraining.",
  "Counts arithmetic, not seconds, so it does not depend on the machine; memory traffic and "
  "the search for hyper-parameters are not in it.",
  title="sample-passes of retraining divided by those of this model",
  reads=ROWS,
  needs=("passes",),
  of=lambda new, reference: formulas.rte(new["passes"], reference["passes"]),
  tables={MAIN: 5},
  better="high",
)
PASSES = Metric(
  "passes",
  title="equivalent sample-passes that one member cost",
  reads=COST,
  of=lambda member: member.population.passes,
)
