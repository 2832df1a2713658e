"""Several methods beside each other, where the order is known: numbers, failures, reports."""

import numpy as np
import pytest
from flax import nnx
from support import memorising
from support.memorising import TRAINING, Mlp
from support.refusals import refused

import jaxmu
from jaxmu.errors import DataError, MethodError, ModelError
from jaxmu.evaluation import method_runs, verify

SETS = memorising.sets()
TRAINED = {name: SETS[name] for name in ("retain", "forget")}
SHOWN = {name: SETS[name] for name in ("retain", "forget", "unseen")}
HP = {
  "ft": {"learning_rate": 1e-30, "num_epochs": 1, "batch_size": 60},  # does nothing
  "euk": {"num_epochs": 20, "batch_size": 60},  # forgets, and learns less than it could
  "ga": {"learning_rate": 1e30, "num_epochs": 2, "batch_size": 60},  # overflows
}


@pytest.fixture(scope="module")
def models():
  given = {"model": Mlp(), "seeds": 2, **TRAINING}
  return jaxmu.train(**given, **TRAINED), jaxmu.retrain(**given, retain=SETS["retain"])


@pytest.fixture(scope="module")
def found(models):
  """KDE needs validation samples, which are not given."""
  originals, _ = models
  return jaxmu.compare(
    ["ft", "euk", "ga", "kde"],
    *(Mlp(), originals),
    **SHOWN,
    retrained="train",
    hyperparameters={**HP, "retrained": TRAINING},
  )


def test_a_method_that_does_nothing_is_recognised_as_the_original_is(found):
  summary = found.audit.summary
  strongest = {name: summary.cell(name, "T_strongest") for name in summary.order}
  assert strongest["ft"].mean == strongest["original"].mean and found["ft"].recognised
  assert strongest["euk"].mean < strongest["ft"].mean - 0.05
  assert summary.difference("ft", "euk", "T_strongest").above(0)
  codes = {(c.method, c.code) for c in found.cautions}
  assert ("ft", "unchanged") in codes and ("ga", "non_finite") in codes
  assert ("euk", "unlearning_warning") in codes  # it found no blocks, and no number says so


@pytest.mark.filterwarnings("ignore:euk :jaxmu.errors.UnlearningWarning")
def test_each_evaluation_is_that_of_evaluate(found, models):
  originals, retrained = models
  own = jaxmu.unlearn("euk", Mlp(), originals, **TRAINED, **HP["euk"])
  expected = jaxmu.evaluate(
    model=Mlp(), original=originals, unlearned=own, retrained=retrained, **SHOWN
  )
  one = found["euk"]
  assert one.rows.equals(expected.rows) and one.intervals.equals(expected.intervals)
  assert one.verdict == expected.verdict and one.cautions == expected.cautions
  work = found.rows.set_index(["method", "seed"])["passes"]
  assert work["retrained", 1] == 3 * 120 * 40 and work["ft", 0] == 3 * 120


def test_methods_that_fail_are_rows_with_the_reason(found):
  assert list(found.failures) == ["ga", "kde"]
  assert found.failures["kde"] == "MethodError: kde needs validation=(x, y), which was not given"
  assert found.failures["ga"].startswith("all models turned non-finite, the first in ascend: epoch")
  rows = found.rows[~found.rows["finite"].astype(bool)]
  assert list(zip(rows["method"], rows["seed"])) == [("ga", 0), ("ga", 1), ("kde", 0), ("kde", 1)]
  assert rows["failed_steps"].str.len().min() > 10 and rows["TA"].isna().all()
  refused(lambda: found["kde"], MethodError, "kde has no evaluation: MethodError: kde needs valid")
  refused(lambda: found["msg"], MethodError, "no method 'msg' was compared")


def test_nothing_is_recommended_where_the_inputs_look_wrong(models, tmp_path):
  """The originals in the place of retrained models; and far too few samples."""
  given = {"hyperparameters": {"ft": HP["ft"]}}
  found = jaxmu.compare("ft", Mlp(), models[0], **SHOWN, **given, retrained=models[0])
  words = "No method can be recommended: the inputs look wrong (The retrained model is no other mo"
  assert found.advice.startswith(words) and found["ft"].verdict.outcome == "undecided"
  found.report(tmp_path)
  assert words in (tmp_path / "report.md").read_text()
  few = {**SHOWN, "forget": tuple(part[:20] for part in SETS["forget"])}
  given |= {"retrained": models[1]}
  advice = lambda **asked: jaxmu.compare("ft", Mlp(), models[0], **few, **given, **asked).advice
  assert "with so few samples an attack that finds nothing shows nothing" in advice()
  assert "samples" not in advice(max_attack=0.9)


def test_it_prints_a_short_table(found):
  lines = str(found).splitlines()
  assert len(lines) < 22 and lines[0].startswith("2 seeds, 120 forgotten samples, 160 unseen; 95 %")
  assert "strongest attack" in lines[1] and "verdict" in lines[1]
  names = [line.split()[0] for line in lines[2:7]]
  assert names[:2] == ["Retrained", "Original"] and sorted(names[2:]) == ["EU-k", "FT", "GA"]
  assert any(line.startswith("KDE failed: MethodError: kde needs validation") for line in lines)
  assert "2 seeds cannot show what seeds move" in str(found)  # so nothing is recommended


def test_the_report_is_a_benchmarks_with_evidence_for_each_method(found, tmp_path):
  written = {str(path.relative_to(tmp_path)) for path in found.report(tmp_path, "Request 5")}
  assert {"report.html", "report.csv", "euk/report.md", "ft/evidence.json"} <= written
  assert verify(tmp_path / "euk").sound
  text = (tmp_path / "report.md").read_text()
  for words in ("# Request 5", "Mlp on data of one's own", "| EU-k", "kde needs validation", "RTE"):
    assert words in text


def test_one_lost_seed_does_not_spoil_the_others(models, monkeypatch):
  def unlearn(*args, **options):
    found = real(*args, **options)
    return [found[0], jaxmu.api.Unlearned(**vars(found[1]) | {"variables": None, "failure": "x"})]

  originals, retrained = models
  given = {"retrained": retrained, "hyperparameters": {"ft": HP["ft"]}}
  whole = jaxmu.compare("ft", Mlp(), originals, **SHOWN, **given)
  real = method_runs.api.unlearn
  monkeypatch.setattr(method_runs.api, "unlearn", unlearn)
  found = jaxmu.compare("ft", Mlp(), originals, **SHOWN, **given)
  assert not found.failures and found["ft"].given.seeds == 1
  assert list(found.rows.query("method == 'ft'")["finite"]) == [True, False]
  assert found["ft"].rows["T_MIA"].iloc[0] == whole["ft"].rows["T_MIA"].iloc[0]
  texts = {c.title: c.text for c in found["ft"].cautions}
  assert texts["Models are missing"].startswith("1 model of 2 turned non-finite")


def test_positions_in_all_samples_are_as_good_as_pairs(found, models):
  x, y = (np.concatenate(parts) for parts in zip(*SHOWN.values()))
  ends = np.cumsum([0, *(len(y) for _, y in SHOWN.values())])
  places = {name: range(*ends[k : k + 2]) for k, name in enumerate(SHOWN)}
  given = {"hyperparameters": {"ft": HP["ft"]}, "retrained": models[1]}
  own = jaxmu.compare("ft", Mlp(), models[0], data=(x, y), **places, **given)
  assert own["ft"].rows.equals(found["ft"].rows)
  assert own["ft"].given.images == found["ft"].given.images


def test_thresholds_pixels_and_one_original_for_all(models):
  """Stored as bytes, with mean and std: the same numbers up to how bytes are rounded."""
  scale = {"mean": 0.5, "std": 0.125}
  pixels = {
    name: (((x * 0.125 + 0.5).clip(0, 1) * 255).round().astype("uint8").reshape(-1, 4, 5, 1), y)
    for name, (x, y) in SHOWN.items()
  }

  class Flat(Mlp):
    def __call__(self, x, train=False):
      return super().__call__(x.reshape(len(x), -1), train)

  found = jaxmu.compare(
    ["ft"],
    *(Flat(), models[0][0]),
    **pixels,
    seeds=[4, 9],
    hyperparameters={"ft": HP["ft"]},
    max_attack=0.99,
    min_test_accuracy=0.2,
    **scale,
  )
  assert list(found.rows.query("method == 'ft'")["seed"]) == [4, 9]
  assert {"no_retrained", "one_original"} <= {c.code for c in found.cautions}
  checks = {c.name: k.met for c, k in zip(found["ft"].verdict.criteria, found["ft"].verdict.checks)}
  assert checks["Test accuracy"] and checks["Attack"]


def test_what_is_done_is_kept_and_found_again(found, models, tmp_path, monkeypatch):
  given = {"model": Mlp(), "original": models[0], **SHOWN, "retrained": "train"}
  given |= {"hyperparameters": {**HP, "retrained": TRAINING}, "folder": tmp_path / "kept"}
  ran = []
  real = method_runs.run
  monkeypatch.setattr(method_runs, "run", lambda *args: ran.append(args[0]) or real(*args))
  jaxmu.compare(["ft", "ga", "kde"], **given | {"hyperparameters": without(given, "euk")})
  again = jaxmu.compare(["ft", "euk", "ga", "kde"], **given)
  assert ran == ["ft", "ga", "kde", "euk", "kde"]  # what failed is tried again
  assert again.rows.equals(found.rows) and again.cautions == found.cautions
  assert again.failures == found.failures
  torn = next((tmp_path / "kept").glob("ft-*.npz"))
  torn.write_bytes(torn.read_bytes()[:-9])
  other = {**given, "hyperparameters": {"ft": HP["ft"], "retrained": TRAINING}}
  assert jaxmu.compare("ft", **other)["ft"].rows.equals(found["ft"].rows) and ran[5:] == ["ft"]
  jaxmu.compare("ft", **other)
  other |= {"retrained": None, "hyperparameters": {"ft": HP["ft"]}}
  jaxmu.compare("ft", **other | {"original": models[0][::-1]})
  jaxmu.compare("ft", **other | {"shuffle": False})
  assert ran[5:] == ["ft", "ft", "ft"]  # other originals, other options


def without(given, name):
  return {method: own for method, own in given["hyperparameters"].items() if method != name}


WRONG = {
  "unknown method": ({"methods": ["mgs"]}, MethodError, "unknown method 'mgs'; did you mean 'msg'"),
  "no method": ({"methods": []}, MethodError, "methods must be names of jaxmu.methods(), got []"),
  "twice": ({"methods": ["ft", "ft"]}, MethodError, "methods: 'ft' is there twice"),
  "reference": ({"methods": ["original"]}, MethodError, "'original' is compared with in any case"),
  "hyper-parameter": (
    {"hyperparameters": {"ft": {"rate": 1}}},
    MethodError,
    "ft has no hyper-parameter 'rate'",
  ),
  "of another": (
    {"hyperparameters": {"msg": {}}},
    MethodError,
    "hyperparameters of 'msg', which is not compared",
  ),
  "argument": ({"learning_rate": 0.1}, MethodError, "compare has no argument 'learning_rate'; hyp"),
  "seeds": ({"seeds": 3}, MethodError, "original are 2 models, seeds 3; expected as many"),
  "no set": ({"unseen": None}, DataError, "unseen is missing, got None"),
  "overlap": ({"forget": SETS["retain"]}, DataError, "retain and forget share 120 of the 120"),
  "word": ({"retrained": "yes"}, DataError, "retrained must be variables, a list of them, or 'tra"),
  "few": ({"forget": tuple(part[:4] for part in SETS["forget"])}, DataError, "forget"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_end_before_any_method_runs(case, models, monkeypatch):
  def late(*args, **options):
    raise AssertionError("this ought to have been refused before")

  monkeypatch.setattr(method_runs, "run", late)
  change, error, words = WRONG[case]
  given = {"methods": ["ft"], "model": Mlp(), "original": models[0], **SHOWN}
  refused(lambda: jaxmu.compare(**given | change), error, words)


def test_nnx_models_are_compared_and_need_fresh_weights_to_retrain():
  class Net(nnx.Module):
    def __init__(self, rngs):
      self.one, self.two = nnx.Linear(20, 16, rngs=rngs), nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
      return self.two(nnx.relu(self.one(x)))

  net = Net(nnx.Rngs(0))
  found = jaxmu.compare("ft", net, **SHOWN, seeds=2, hyperparameters={"ft": {"num_epochs": 1}})
  assert not found.failures and found["ft"].given.seeds == 2
  refused(
    lambda: jaxmu.compare("ft", net, **SHOWN, seeds=2, retrained="train"),
    ModelError,
    "Net is an nnx module, whose weights may be trained already; give fresh ones",
  )
