"""What each number means, its ideal value, and what it cannot tell."""

from typing import NamedTuple


class Metric(NamedTuple):
  """One metric in words."""

  key: str  # column of the rows
  label: str
  ideal: str
  short: str  # beneath the table
  limits: str  # what it cannot tell


METRICS = (
  Metric(
    "RA",
    "RA",
    "as retrained",
    "Retain accuracy: share of the samples that stay that are classified correctly.",
    "These are training samples: a high value shows fit, not quality.",
  ),
  Metric(
    "FA",
    "FA",
    "as retrained",
    "Forget accuracy: the same on the samples to be deleted.",
    "Retrained models still classify most of them, by generalising. Lower than retrained is "
    "damage, not better forgetting.",
  ),
  Metric(
    "TA",
    "TA",
    "as retrained",
    "Test accuracy: on test samples, which nothing has touched.",
    "An average: it can hide a class or a group that got worse.",
  ),
  Metric(
    "RetDev",
    "RetDev",
    "0",
    "Retention deviation: |RR−1| + |FR−1| + |TR−1|, where RR, FR and TR are retain, forget and "
    "test accuracy divided by those of the retrained model of the same seed.",
    "Compares accuracies only. Two models can agree in all three and still differ on every sample.",
  ),
  Metric(
    "T_strongest",
    "Strongest",
    "0.5",
    "Accuracy of the strongest of several attacks: thresholds, on either side, on confidence, on "
    "certainty (entropy), on both, on right or wrong, and bands of confidence. It is chosen on "
    "validation samples and measured on forget and test samples that had no part in the choice, so "
    "that trying several is paid for. The word beside the number says which one it was.",
    "Still one rule for all samples: single samples may be recognisable where this reads one half. "
    "Compare with the retrained models' value.",
  ),
  Metric(
    "T_MIA",
    "MIA",
    "0.5",
    "Membership inference (T-MIA): accuracy of a balanced attack that tells forget samples from "
    "test samples by one threshold on the loss, mean of ten random 90/10 splits.",
    "A weak population attack. At one half it does not prove that single samples are safe; "
    "per-sample attacks such as U-LiRA find more.",
  ),
  Metric(
    "Indisc",
    "Indisc",
    "1",
    "Indiscernibility: 1 − |2·MIA − 1|, from T-MIA, per seed. 1 means the attacker guesses; 0 "
    "means the attacker is always right or always wrong.",
    "Inherits everything that the attack misses. Noise alone keeps a perfect model below 1: "
    "compare with the retrained row.",
  ),
  Metric(
    "RTE_work",
    "RTE",
    "large",
    "Run-time efficiency: sample-passes of retraining divided by those of the method (a forward "
    "pass counts 1, a backward pass 2). Above 1 is cheaper than retraining.",
    "Counts arithmetic, not seconds, so it does not depend on the machine; memory traffic and "
    "the search for hyper-parameters are not in it.",
  ),
)
BY_KEY = {metric.key: metric for metric in METRICS}
DETAIL = (
  *("VA", "RR", "FR", "TR", "V_MIA", "T_AUC", "V_AUC"),
  *("T_margin", "T_entropy", "T_modified_entropy", "T_correctness", "T_histogram", "SVC_MIA"),
  *("SAPE_forget", "loss_forget", "loss_test"),
)
DISTANCES = (
  ("l2_original", "‖U − O‖", "Euclidean distance to the original model's parameters"),
  ("l2_retrained", "‖U − R‖", "Euclidean distance to the retrained model's parameters"),
  ("rel_original", "‖U − O‖ / ‖U‖", "the same, relative to the model's own norm"),
  ("rel_retrained", "‖U − R‖ / ‖U‖", "the same for the retrained model"),
  ("nl2_original", "normalised ‖U − O‖", "distance of the vectors scaled to length 1, 0 to 2"),
  ("nl2_retrained", "normalised ‖U − R‖", "the same for the retrained model"),
  ("norm", "‖U‖", "norm of the parameters"),
)
