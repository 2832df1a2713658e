"""Requests other than a random share, at the size of digits: classes, persons, lists, rounds.

An argument says who is forgotten, and how:
  :class     each digit in turn, ten forget sets of each of three seeds (retrained models never saw
             one of that digit)
  :subclass  half of the samples of digit 3
  :users     16 of 96 persons of `identities`; 24 unseen ones are what attacks compare with
  :worst     a random half of the most exposed tenths, by a study of configs/ulira_digits.py:
             --config.scenario.scores=checkpoints/ulira_digits-1a2b3c4d
  :listed    positions of your own: --config.scenario.path=FILE.npz
  :sequence  five requests of 4 %, one after another
  :access    a random share, by methods that may read a tenth of the retain set

The network and its training are those of configs/cnn_digits.py. The last four have its data, too,
in which a tenth of all labels are random, so that there is something to forget (:worst those of
configs/ulira_digits.py).
Hyper-parameters are by hand: what deletes a class (EU-k) costs accuracy with persons, and searched
for one request they may break models in a sequence (NG+).
Expected (docs/scenarios.md): retrained models know nothing of a class, most of its other half, and
take a forgotten person for a stranger.
Hardware: 2 CPU cores, one to five minutes each.

python bin/sweep.py --config=configs/scenario_digits.py:class
python bin/sweep.py --config=configs/scenario_digits.py:class --config.scenario.classes=0,8
python bin/sweep.py --config=configs/scenario_digits.py:sequence --config.scenario.rounds=10
"""

import runpy
from pathlib import Path

import ml_collections

BASE = Path(__file__).with_name("cnn_digits.py")
HAND = Path(__file__).with_name("search_digits.py")  # hyper-parameters by hand
SCENARIOS = {
  "class": {"forget": "classes", "classes": "each"},
  "subclass": {"forget": "classes", "classes": "3", "share": 0.5},
  "users": {"forget": "groups", "groups": 16},
  "worst": {"forget": "ranked"},
  "listed": {"forget": "listed"},
  "sequence": {"rounds": 5},
  "access": {"retain_share": 0.1},
}
CLEAN = ("class", "subclass", "users")  # true labels, and one split for all seeds
SEEDS = {"class": (0, 1, 2), "sequence": tuple(range(10))}
METHODS = {"sequence": ("ft", "ngplus", "scrub")}


def get_config(scenario: str = "class") -> ml_collections.ConfigDict:
  """Return the experiment with one of `SCENARIOS`."""
  if scenario not in SCENARIOS:
    raise ValueError(f"unknown argument '{scenario}'; expected one of {', '.join(SCENARIOS)}")
  config = runpy.run_path(str(BASE))["get_config"]()
  config.name = f"scenario_digits_{scenario}"
  config.dataset = "identities" if scenario == "users" else "digits"
  if scenario in CLEAN:
    config.data.update({"split_per_seed": False, "random_labels": 0.0})
  if scenario == "class":
    config.training.num_epochs = 30  # of the 60 for random labels, which no class needs
  if scenario in ("worst", "listed"):
    config.data.update({"split_per_seed": False, "forget_fraction": 0.1})
  if scenario == "worst":
    config.data.random_labels = 0.15  # the scores are of these labels
  config.scenario = SCENARIOS[scenario]
  config.seeds = SEEDS.get(scenario, (0, 1, 2, 3))
  config.methods = METHODS.get(scenario, ("ft", "ngplus", "srl", "euk"))
  config.tuned = ""
  config.unlearning = {
    "ft": {"learning_rate": 0.1, "num_epochs": 10, "batch_size": 64},
    "ngplus": {"learning_rate": 1e-3, "num_epochs": 10, "batch_size": 64, "alpha": 0.95},
    "srl": {"learning_rate": 0.01, "num_epochs": 6, "batch_size": 64},
    "euk": {"num_blocks": 2, "learning_rate": 0.1, "num_epochs": 10, "batch_size": 64},
    "scrub": runpy.run_path(str(HAND))["HAND"]["scrub"],
  }
  return config
