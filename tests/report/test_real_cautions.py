"""Warnings fire on a real run that was made to deserve them: nothing here is an invented table."""

import pytest
from support import sweeps

from jaxmu.report.benchmark.benchmark_data import from_run, judge
from jaxmu.store import Run

# Two seeds on one small split; GA destroys its models, FT moves no weight by as much as float32 can
# hold, SRL flattens losses, KDE reads validation data.
BAD = (
  *("--config.dataset=digits", "--config.data.forget_fraction=0.2", "--config.model.width=8"),
  *("--config.data.split_per_seed=false", "--config.data.subset_train=600"),
  *("--config.data.subset_test=200", "--config.unlearning.ga.learning_rate=0.05"),
  *("--config.unlearning.ft.learning_rate=1e-30", "--config.unlearning.kde.num_epochs=1"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  folder = tmp_path_factory.mktemp("bad")
  argv = sweeps.arguments(folder, *BAD, methods="ga,ft,kde,srl", epochs=40)
  assert sweeps.call(*argv) == 0
  run = Run.open(sweeps.only_run(folder))
  return judge(from_run(run)).cautions, (run.path / "report.md").read_text()


@pytest.mark.parametrize(
  ("code", "method"),
  [
    ("few_seeds", ""),
    ("one_split", ""),
    ("collapse", "ga"),
    ("unchanged", "ft"),
    ("attacks_disagree", "srl"),
    ("uses_validation", "kde"),
  ],
)
def test_what_deserves_a_warning_gets_it_in_the_report(found, code, method):
  cautions, text = found
  (caution,) = [c for c in cautions if (c.code, c.method) == (code, method)]
  assert f"- **{caution.title}** ({caution.level})." in text


def test_such_a_run_recommends_nothing(found):
  _, text = found
  first = text.split("## In short")[1].split("\n## ")[0]
  assert "No method can be recommended: 2 seeds cannot show what seeds move" in first
  assert "as it must" not in text and "| yes" not in first.replace("✓ yes", "")


def test_originals_that_hardly_learned_show_no_signal(tmp_path):
  assert sweeps.call(*sweeps.arguments(tmp_path, methods="ft")) == 0
  run = Run.open(sweeps.only_run(tmp_path))
  (caution,) = [c for c in judge(from_run(run)).cautions if c.code == "no_signal"]
  text = (run.path / "report.md").read_text()
  assert caution.level == "severe" and f"- **{caution.title}** (severe)." in text
  assert "MIA cannot separate the methods" in text and "Take " not in text
