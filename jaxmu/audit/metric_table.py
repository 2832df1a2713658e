"""The columns of rows.parquet as a table, for people: made from what the metrics declare."""

from jaxmu.audit.metrics import COORDINATES, IDENTITY, METRICS


def markdown() -> str:
  """Return the table of docs/runs.md.

  >>> python -c "from jaxmu.audit import metric_table; print(metric_table.markdown())"
  """
  return "\n".join(
    [
      "| column | meaning |",
      "|---|---|",
      *(f"| `{name}` | {title} |" for name, title in titles().items()),
    ]
  )


def titles() -> dict[str, str]:
  """Return what each column means."""
  return IDENTITY | COORDINATES | {metric.name: metric.title for metric in METRICS.values()}
