"""Requests other than a random share, at the size of digits: a class, half of a class, persons.

An argument says who is forgotten:
  :class     all of digit 3 (retrained models never saw one)
  :subclass  half of the samples of digit 3
  :users     16 of 96 persons of `identities`; 24 unseen ones are what attacks compare with

The network and its training are those of configs/cnn_digits.py, with one split for all seeds, as
sets of a request have the size that the data give them, and with true labels. Hyper-parameters are
by hand and the same for all three: what deletes a class (EU-k) costs accuracy with persons.
Expected (docs/scenarios.md): retrained models know nothing of a class, most of its other half, and
take a forgotten person for a stranger.
Hardware: 2 CPU cores, half a minute to a minute and a half each.

python bin/sweep.py --config=configs/scenario_digits.py:class
python bin/sweep.py --config=configs/scenario_digits.py:class --config.scenario.classes=0,8
"""

import runpy
from pathlib import Path

import ml_collections

BASE = Path(__file__).with_name("cnn_digits.py")
SCENARIOS = {
  "class": {"forget": "classes", "classes": "3"},
  "subclass": {"forget": "classes", "classes": "3", "share": 0.5},
  "users": {"forget": "groups", "groups": 16},
}


def get_config(scenario: str = "class") -> ml_collections.ConfigDict:
  """Return the experiment with one of `SCENARIOS`."""
  if scenario not in SCENARIOS:
    raise ValueError(f"unknown argument '{scenario}'; expected one of {', '.join(SCENARIOS)}")
  config = runpy.run_path(str(BASE))["get_config"]()
  config.name = f"scenario_digits_{scenario}"
  config.dataset = "identities" if scenario == "users" else "digits"
  config.data.update({"split_per_seed": False, "random_labels": 0.0})
  config.scenario = SCENARIOS[scenario]
  config.seeds = (0, 1, 2, 3)
  config.methods = ("ft", "ngplus", "srl", "euk")
  config.tuned = ""
  config.unlearning = {
    "ft": {"learning_rate": 0.1, "num_epochs": 10, "batch_size": 64},
    "ngplus": {"learning_rate": 1e-3, "num_epochs": 10, "batch_size": 64, "alpha": 0.95},
    "srl": {"learning_rate": 0.01, "num_epochs": 6, "batch_size": 64},
    "euk": {"num_blocks": 2, "learning_rate": 0.1, "num_epochs": 10, "batch_size": 64},
  }
  return config
