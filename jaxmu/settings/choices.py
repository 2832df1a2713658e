"""Names that a config and a room above both know. They stand in the lowest room that needs them."""

BENCHMARK, ULIRA, SEARCH = "benchmark", "ulira", "search"  # kinds of study
# How a convolution can be computed; `kernels` has a function for each, but for XLA's own ("lax").
LOWERINGS = ("lax", "canonical", "taps", "mixed", "patches", "dense", "winograd")
# Rules by which forgotten samples are chosen.
REQUESTS = "random", "classes", "groups", "ranked", "listed"
RANDOM, CLASSES, GROUPS, RANKED, LISTED = REQUESTS
READS = {  # entries of `config.scenario` beside the rule itself
  RANDOM: (),
  CLASSES: ("classes", "share"),
  GROUPS: ("groups", "share"),
  RANKED: ("scores", "take"),
  LISTED: ("path",),
}
EACH = "each"  # of `scenario.classes`: one class after the other
SHADOWED = RANDOM, CLASSES, GROUPS  # rules that a study of shadow models takes
HIGHEST, LOWEST = ENDS = "highest", "lowest"
CONTROLS = {  # what the forgotten samples are compared with
  RANDOM: "all test samples",
  CLASSES: "test samples of these classes",
  GROUPS: "samples of groups that nobody trained on",
  RANKED: "as many samples of the same rank, which nobody trains on",
  LISTED: "the control samples of the list, which nobody trains on; without any, all test samples",
}
SEARCHED = {  # what they are compared with where a search chooses, which reads no test sample
  RANDOM: "all validation samples",
  CLASSES: "validation samples of these classes",
  GROUPS: "as many further groups, which leave training (where share is below 1, validation "
  "samples of the same groups)",
  RANKED: "a random half of these samples, which leaves training; the other half is forgotten",
  LISTED: "a random half of the list, which leaves training; the other half is forgotten",
}
TRACKERS = ("tensorboard", "wandb", "mlflow")
COMPUTE = ("float32", "bfloat16")  # of a network's forward and backward pass
FIDELITIES = ("default", "reference", "fixed")
# The Gaussians of the attack on shadow models.
FITS = ("normal", "robust", "median")
VARIANCES = ("sample", "fixed", "scaled")
# How a search draws configurations, from which ranges, and which one of them it chooses.
SAMPLERS = ("nsga3", "tpe", "random", "fixed")
SEARCH_RANGES = ("amended", "reference")
REFERENCE, ROBUST = RULES = "reference", "robust"
GIVEN = "given"  # what a config says itself, beside what these rules choose
