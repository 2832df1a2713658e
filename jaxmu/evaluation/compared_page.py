"""The report of a comparison: a benchmark's, of a caller's own models."""

import pandas as pd

from jaxmu.evaluation.compared import Comparison
from jaxmu.report import benchmark
from jaxmu.report.benchmark import ReportData
from jaxmu.report.benchmark.benchmark_data import CURVE_COLUMNS
from jaxmu.report.blocks import Report
from jaxmu.report.source import (
  ReportedConfig,
  ReportedEvaluation,
  ReportedLabels,
  ReportedModel,
)


def compose(found: Comparison, title: str) -> Report:
  """Say what a comparison found, as blocks for a page and for texts."""
  behind, results = found.behind, found.audit.results
  data = ReportData(
    config=ReportedConfig(
      name=title,
      data=ReportedLabels(0.0),
      model=ReportedModel(behind.network, 0, ""),
      training=dict(found.hyperparameters.get("retrained", {})),
      evaluation=ReportedEvaluation(results.bootstrap),
      report=found.asked,
    ),
    manifest=behind.manifest,
    timings=behind.timings,
    rows=results.rows,
    intervals=results.intervals,
    differences=results.differences,
    curves=pd.DataFrame(list(behind.curves), columns=list(CURVE_COLUMNS)),
  )
  own = [caution for caution in found.cautions if caution not in found.audit.cautions]
  return benchmark.compose(data, own)
