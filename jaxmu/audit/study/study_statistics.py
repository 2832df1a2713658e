"""What each number of a study means, its ideal value, and what it cannot tell."""

import math
from dataclasses import dataclass, replace

from jaxmu.audit.attacks.exposure import ABOVE
from jaxmu.audit.metric import AS_RETRAINED, Number
from jaxmu.audit.results import (
  FORGOTTEN,
  MODEL,
  PROTECTED,
  RETAINED,
  TRAINED,
  UPDATE,
  VULNERABLE,
)


@dataclass(frozen=True, eq=False)
class Statistic(Number):
  """A number of a study, as the tables of `questions` and `further_questions` hold it.

  Attributes:
    question: whose table it stands in.
    digits: decimals to show.
    chance: the value of an attacker who guesses.
    exposes: larger is worse.
  """

  question: str = FORGOTTEN
  digits: int = 3
  chance: float = math.nan
  exposes: bool = True


ACCURACY = Statistic(
  "accuracy",
  "U-LiRA",
  "0.5",
  "Accuracy of the per-sample attack: how often an attacker who knows, for this very sample, how "
  "models that forgot it and models that never saw it score it, tells a further model of one kind "
  "from the other. Mean over all samples and models, both kinds weighing the same.",
  "A mean over samples: most can be at one half while a few are certain. Read it with the columns "
  "to its right.",
  chance=0.5,
)
CONFIRMED = Statistic(
  "confirmed_worst",
  "Worst 1 %",
  "0.5",
  "Mean accuracy on the 1 % most exposed samples, those whose scores lie furthest apart between "
  "both kinds of models. One half of the splits selects them, the other measures, so that noise "
  "gives one half.",
  "Half of the splits makes a weaker attack: a careful lower estimate. The interval is about these "
  "samples, not about others like them.",
  chance=0.5,
)
POPULATION = Statistic(
  "population",
  "Population attack",
  "0.5",
  "Accuracy of an attack with one threshold on the loss for all samples, mean over models: what "
  "ordinary reports call MIA.",
  "Blind to samples whose loss changes but stays inside the crowd. At one half beside a U-LiRA "
  "above it, forgetting only looks complete.",
  chance=0.5,
)
HELD_OUT = Statistic(
  "accuracy_never",
  "Held-out accuracy",
  AS_RETRAINED,
  "Classification accuracy on pool samples that the model never saw: generalisation.",
  "Where it collapsed nothing is left to attack, and every number to its left is void.",
  MODEL,
  exposes=False,
)
METRICS = (
  ACCURACY,
  Statistic(
    "auc",
    "AUC",
    "0.5",
    "Area under the ROC curve of the same attack, pooled over samples and models.",
    "Dominated by the many samples in the middle; attackers care for the left end.",
    chance=0.5,
  ),
  Statistic(
    "tpr_at_0.1",
    "TPR at 10 % FPR",
    "0.1",
    "Share of forgotten cases that the attacker recognises while wrongly accusing fewer than 10 % "
    "of the cases that were never seen.",
    "Resolvable with few models, and no word about confident guesses: those are the next columns.",
    chance=0.1,
  ),
  Statistic(
    "tpr_at_0.01",
    "TPR at 1 % FPR",
    "0.01",
    "Share of forgotten cases that the attacker recognises while wrongly accusing fewer than 1 % "
    "of the cases that were never seen.",
    "One threshold for all samples; it does not say which samples these are.",
    chance=0.01,
  ),
  Statistic(
    "tpr_at_0.001",
    "TPR at 0.1 % FPR",
    "0.001",
    "The same with fewer than one wrong accusation in a thousand: confident guesses only.",
    "Rests on few cases: read the interval before the value.",
    digits=4,
    chance=0.001,
  ),
  Statistic(
    f"share_above_{ABOVE}",
    f"Samples above {ABOVE}",
    AS_RETRAINED,
    f"Share of samples whose own attack is right in more than {100 * ABOVE:g} % of the cases.",
    "Few models per sample make a sample's accuracy noisy, and noise alone lifts some above: the "
    "retrained models' share is what noise gives.",
  ),
  CONFIRMED,
  POPULATION,
  Statistic(
    "rmia_auc",
    "RMIA AUC",
    "0.5",
    "Area under the ROC curve of RMIA, which compares a sample's confidence with that of other "
    "samples, both relative to reference models.",
    "Stronger than U-LiRA with few models, weaker with many. A second opinion.",
    chance=0.5,
  ),
  Statistic(
    "klom_q95",
    "KLOM",
    AS_RETRAINED,
    "Divergence between the scores that the method's models and the retrained models give a "
    "forgotten sample, in nats; 95th percentile over samples. 0 is identical, 11.5 disjoint.",
    "Never 0 with finitely many models, even between retrained ones. Also large where a method "
    "changed every sample alike, forgotten or not.",
    digits=2,
  ),
  HELD_OUT,
)
AUC = METRICS[1]
TAILS = (CONFIRMED, *(one for one in METRICS if one.name in ("tpr_at_0.01", "tpr_at_0.001")))
FURTHER = (
  Statistic(
    "sample_mean", "Mean", "0.5", "mean of the samples' accuracies, each weighing the same"
  ),
  Statistic("sample_q50", "Median", "0.5", "half of the samples are attacked less often rightly"),
  Statistic("sample_q95", "95 %", AS_RETRAINED, "95th percentile of the samples' accuracies"),
  Statistic("sample_q99", "99 %", AS_RETRAINED, "99th percentile of the samples' accuracies"),
)
ACCURACIES = (
  Statistic("accuracy_retained", "Retained", AS_RETRAINED, "samples that stay", question=MODEL),
  Statistic("accuracy_forgotten", "Forgotten", AS_RETRAINED, "samples forgotten", question=MODEL),
  replace(HELD_OUT, label="Never seen", explanation="samples held out"),
)
CHANGES = (
  Statistic("change_mean", "Change", "0", "mean change of a sample's accuracy", digits=4),
  Statistic(
    "change_share_more", "More exposed", "", "share of samples attacked better than before"
  ),
  Statistic("change_share_less", "Less exposed", "", "share of samples attacked worse than before"),
  Statistic("change_net", "Net", "0", "more minus less exposed; 0 by chance", chance=0.0),
)
NET = replace(CHANGES[-1], question=RETAINED)
_OF_QUESTION = {  # the same attack, other samples
  "accuracy": "accuracy of the per-sample attack",
  "auc": "area under the ROC curve",
  "tpr_at_0.1": "recognised with 10 % false alarms",
  "tpr_at_0.01": "recognised with 1 % false alarms",
  "tpr_at_0.001": "recognised with 0.1 % false alarms",
}
_ATTACKS = tuple(
  replace(m, label="Accuracy" if m is ACCURACY else m.label, explanation=_OF_QUESTION[m.name])
  for m in METRICS
  if m.name in _OF_QUESTION
)
RETAIN_SIDE = tuple(replace(m, question=RETAINED) for m in (*_ATTACKS, *CHANGES))
UPPER_BOUND = tuple(replace(m, question=TRAINED) for m in _ATTACKS)
ATTACKERS = (
  replace(AUC, label="U-LiRA", explanation="Gaussians per sample, as in the main table"),
  Statistic(
    "kernel_auc", "Kernel densities", "0.5", "densities of any shape instead of Gaussians (RULI)"
  ),
  Statistic(
    "label_only_auc",
    "Labels alone",
    "0.5",
    "an attacker who sees only whether the predicted class is right",
  ),
  Statistic("rmia_auc", "RMIA", "0.5", "relative to other samples and reference models"),
)
UPDATES = (
  Statistic(
    "auc", "AUC, never seen", "0.5", "change of the score, forgotten against never seen", "", UPDATE
  ),
  Statistic("accuracy", "Accuracy, never seen", "0.5", "accuracy of the same attack", "", UPDATE),
  Statistic(
    "retained_auc",
    "AUC, retained",
    AS_RETRAINED,
    "change of the score, forgotten against retained",
    "",
    UPDATE,
  ),
)
_OF_STRATA = {
  "accuracy": "accuracy",
  "auc": "AUC",
  "tpr_at_0.01": "TPR at 1 %",
  "efficacy_auc": "efficacy AUC",
}
_GROUPS = {VULNERABLE: "Vulnerable", PROTECTED: "Protected"}
STRATA = tuple(
  Statistic(key, f"{group}: {words}", "", f"{words} on {group.lower()} samples", "", question)
  for question, group in _GROUPS.items()
  for key, words in _OF_STRATA.items()
)
BOUNDS = (
  Statistic("epsilon", "Epsilon, all", "0", "lower bound over all samples", digits=2),
  Statistic("epsilon_ceiling", "Ceiling, all", "", "the most that could have been shown", digits=2),
  Statistic(
    "epsilon", "Epsilon, vulnerable", "0", "lower bound over vulnerable samples", "", VULNERABLE, 2
  ),
  Statistic(
    "epsilon_ceiling",
    "Ceiling, vulnerable",
    "",
    "the most that could have been shown for them",
    "",
    VULNERABLE,
    2,
  ),
)
BOUND_NOTE = (
  "Whoever claims that a forgotten sample is as good as never seen, up to a factor exp(epsilon) in "
  "any probability (and delta 1e-5), is refuted below these values with 95 % confidence. Threshold "
  "and direction are chosen on one half of the splits, rates measured on the other. A bound of 0 "
  "refutes nothing and proves nothing; an attack without any error would reach the ceiling."
)
