"""Rules, rounds, forget sets and access in every combination: finite rows, or one line before."""

import itertools

import numpy as np
import pytest
from support import sweeps

from jaxmu.store import Run

# A method for each kind of sets that methods may read.
METHODS, BLIND = "ft,ga,scrub", "ga"
RULES = {
  "random": (),
  "classes": ("classes=1",),
  "groups": ("groups=3",),
  "ranked": ("scores=scores.npy",),
  "listed": ("path=listed.npz",),
}
ROUNDS, DRAWS, SHARES = (1, 2), (1, 2), (1, 0.5, 0)
DAILY = {("groups", 2, 2, 0.5), ("listed", 2, 1, 0.5)}
DAILY |= {("groups", 1, 1, 0), ("listed", 1, 2, 1)}  # refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Make images of four classes by twelve persons, scores, and a list with its control."""
  made, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
  groups = np.repeat(np.arange(14), 20)
  labels = np.tile(np.arange(4), 70)
  patterns = rng.integers(0, 256, (4, 8, 8))
  images = np.clip(patterns[labels] + rng.normal(0, 40, (280, 8, 8)), 0, 255).astype(np.uint8)
  np.savez(made / "data.npz", images=images, labels=labels, num_train=220, groups=groups)
  np.save(made / "scores.npy", rng.normal(size=280))
  np.savez(made / "listed.npz", forget=np.arange(0, 60, 2), control=np.arange(1, 60, 2))
  return made


def arguments(output, folder, rule, rounds, draws, share, methods):
  entries = (*RULES[rule], f"forget={rule}", f"rounds={rounds}", f"draws={draws}")
  entries = [one.replace("=", f"={folder}/") if ".np" in one else one for one in entries]
  return sweeps.arguments(
    output,
    "--config.dataset=npz",
    f"--config.data.path={folder / 'data.npz'}",
    "--config.data.split_per_seed=false",
    "--config.data.random_labels=0",
    "--config.data.forget_fraction=0.2",
    "--config.seeds=0",
    "--config.unlearning.scrub.sgda_num_epochs=2",
    "--config.unlearning.ga.num_epochs=1",
    *(f"--config.scenario.{one}" for one in (*entries, f"retain_share={share}")),
    methods=methods,
    epochs=1,
  )


def combinations():
  for one in itertools.product(RULES, ROUNDS, DRAWS, SHARES):
    yield pytest.param(*one, marks=() if one in DAILY else pytest.mark.slow)


@pytest.mark.parametrize(("rule", "rounds", "draws", "share"), list(combinations()))
def test_it_ends_with_finite_rows_or_is_refused_before_training(
  rule, rounds, draws, share, folder, tmp_path, capsys
):
  given = folder, rule, rounds, draws, share
  refused = [("ft, scrub cannot do without the retain set", share == 0)]
  refused += [("names the one set to be forgotten", rule == "listed" and draws == 2)]
  reasons = [words for words, applies in refused if applies]
  code = sweeps.call(*arguments(tmp_path, *given, METHODS))
  said = capsys.readouterr().err
  if reasons:
    assert code == 2 and said.count("\n") == 1 and any(words in said for words in reasons), said
    assert not list(tmp_path.iterdir())
    if len(refused) == len(reasons) or share:
      return
    methods = BLIND  # which can do without
    if (code := sweeps.call(*arguments(tmp_path, *given, methods))) == 2:
      assert "names the one set" in capsys.readouterr().err
      return
  else:
    methods = METHODS
  assert code == 0, said
  rows = Run.open(sweeps.only_run(tmp_path)).rows()
  names = ["original", "retrained", *methods.split(",")]
  assert len(rows) == len(names) * rounds * draws
  sound = rows[rows["method"].isin(names[:2])]
  assert sound["finite"].all()
  assert np.isfinite(sound[["RA", "FA", "TA", "T_MIA", "gap", "T_strongest"]]).all(axis=None)
