"""Distances between parameters."""

from jaxmu.audit.metric import DISTANCES, PARAMETERS, Metric


def _distance(kind: str, other: str, title: str, label: str, explanation: str) -> Metric:
  return Metric(
    f"{kind}_{other}",
    label=label,
    explanation=explanation,
    title=title,
    reads=PARAMETERS,
    needs=(other,),
    of=lambda stage: stage.distances[other][kind],
    tables={DISTANCES: 0},
  )


L2_ORIGINAL = _distance(
  *("l2", "original", "Euclidean distance of the parameters to the original's"),
  *("‖U − O‖", "Euclidean distance to the original model's parameters"),
)
L2_RETRAINED = _distance(
  *("l2", "retrained", "Euclidean distance of the parameters to the retrained model's"),
  *("‖U − R‖", "Euclidean distance to the retrained model's parameters"),
)
REL_ORIGINAL = _distance(
  *("rel", "original", "`l2_original` divided by `norm`"),
  *("‖U − O‖ / ‖U‖", "the same, relative to the model's own norm"),
)
REL_RETRAINED = _distance(
  *("rel", "retrained", "`l2_retrained` divided by `norm`"),
  *("‖U − R‖ / ‖U‖", "the same for the retrained model"),
)
NL2_ORIGINAL = _distance(
  *("nl2", "original", "distance to the original after scaling both to length 1"),
  *("normalised ‖U − O‖", "distance of the vectors scaled to length 1, 0 to 2"),
)
NL2_RETRAINED = _distance(
  *("nl2", "retrained", "distance to the retrained model after scaling both to length 1"),
  *("normalised ‖U − R‖", "the same for the retrained model"),
)
NORM = Metric(
  "norm",
  label="‖U‖",
  explanation="norm of the parameters",
  title="Euclidean norm of the parameters",
  reads=PARAMETERS,
  of=lambda stage: stage.norm,
  tables={DISTANCES: 0},
)
