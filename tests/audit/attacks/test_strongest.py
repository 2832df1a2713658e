"""The strongest attack: rules against naive loops, chance on noise, what one threshold misses."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxmu.audit.attacks import strongest as module
from jaxmu.audit.attacks.population_mia import population_mia
from jaxmu.audit.attacks.population_scores import population_scores
from jaxmu.audit.attacks.strongest import ATTACKS, FOLDS, strongest
from jaxmu.errors import DataError

CLASSES = 4
SCORES = {attack.score for attack in ATTACKS.values()}


def draw(rng, members, size, forget=slice(0), shift=0.0, flatten=1.0):
  """Scores of models that raise the label's logit of forget samples, or flatten their logits."""
  labels = rng.integers(0, CLASSES, size)
  logits = 2 * rng.normal(size=(members, size, CLASSES))
  logits[:, np.arange(size), labels] += 1
  logits[:, forget] *= flatten
  index = np.arange(size)[forget]
  logits[:, index, labels[index]] += shift
  return population_scores(logits, labels)


def sets(*sizes):
  ends = np.cumsum(sizes)
  return [np.arange(end - size, end) for size, end in zip(sizes, ends)]


def naive_threshold(members, others, fold):
  """Try a cut above every training score, the lowest of the best ones, and both sides."""
  credit = np.empty((len(members), 2))
  for f in range(fold.max() + 1):
    x, y = members[fold != f], others[fold != f]
    best = (0, None, 0)
    for threshold in [-np.inf, *np.unique(np.concatenate([x, y]))]:
      gain = int((x > threshold).sum()) - int((y > threshold).sum())
      if abs(gain) > best[0]:
        best = (abs(gain), threshold, np.sign(gain))
    for side, values in ((0, members), (1, others)):
      for i in np.flatnonzero(fold == f):
        if best[1] is None:
          credit[i, side] = 0.5
        else:
          member = (values[i] > best[1]) == (best[2] > 0)
          credit[i, side] = member == (side == 0)
  return credit


def naive_histogram(members, others, fold):
  credit = np.empty((len(members), 2))
  for f in range(fold.max() + 1):
    train = np.concatenate([members[fold != f], others[fold != f]])
    is_member = np.arange(len(train)) < (fold != f).sum()
    bins = int(np.clip(np.round(1.5 * np.cbrt(len(train))), 4, 32))
    place = lambda v, t=train, b=bins: min((t < v).sum() * b // len(t), b - 1)
    majority = np.zeros(bins)
    for value, member in zip(train, is_member):
      majority[place(value)] += 1 if member else -1
    for side, values in ((0, members), (1, others)):
      for i in np.flatnonzero(fold == f):
        guess = np.sign(majority[place(values[i])])
        credit[i, side] = (1 + guess * (1 if side == 0 else -1)) / 2
  return credit


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize(
  "attack, naive", [("margin", naive_threshold), ("histogram", naive_histogram)]
)
def test_rules_equal_naive_loops_ties_included(attack, naive, decimals):
  rng = np.random.default_rng(decimals)
  values = np.round(rng.normal(size=(3, 70)), decimals)
  members, others = sets(35, 35)
  values[:, members] += 0.5
  fold = np.arange(35) % FOLDS
  rule = {"margin": module._threshold, "histogram": module._histogram}[attack]
  found = module._by_rules(values, members[None], others[None], fold, (rule,))[0, :, 0]
  for one, credit in zip(values, found):
    expected = naive(one[members], one[others], fold)
    np.testing.assert_array_equal(credit, expected)


def test_constant_scores_give_exactly_one_half():
  scores = {name: np.zeros((2, 60)) for name in SCORES}
  forget, val, test = sets(20, 20, 20)
  found = strongest(scores, forget=forget, unseen=test, validation=val)
  np.testing.assert_array_equal(found.accuracy, 0.5)


@pytest.mark.parametrize("sizes", [(60, 80, 90), (45, 31, 60), (90, 60, 33)])
def test_noise_is_at_one_half_though_the_best_of_five_is_taken(sizes):
  rng = np.random.default_rng(sum(sizes))
  forget, val, test = sets(*sizes)
  found = []
  for study in range(20):
    scores = draw(rng, 40, sum(sizes))
    found.append(strongest(scores, forget=forget, unseen=test, validation=val, seed=study).accuracy)
  found = np.concatenate(found)
  assert found.mean() == pytest.approx(0.5, abs=4 * found.std() / np.sqrt(len(found)))
  assert found.std() / np.sqrt(len(found)) < 0.003


def test_a_choice_on_the_measured_samples_would_not_be_at_one_half():
  """The test above can fail: the largest of the five accuracies is well above one half on noise."""
  scores = draw(np.random.default_rng(0), 200, 150)
  forget, test = sets(75, 75)
  every = strongest(scores, forget=forget, unseen=test).every
  assert np.max(list(every.values()), axis=0).mean() > 0.53


def test_without_validation_samples_noise_is_at_one_half_too():
  rng = np.random.default_rng(3)
  forget, test = sets(60, 80)
  found = [strongest(draw(rng, 40, 140), forget=forget, unseen=test, seed=s) for s in range(20)]
  values = np.concatenate([one.accuracy for one in found])
  assert values.mean() == pytest.approx(0.5, abs=4 * values.std() / np.sqrt(len(values)))


def test_a_shift_is_found_as_well_as_by_the_loss():
  rng = np.random.default_rng(1)
  forget, val, test = sets(800, 800, 800)
  scores = draw(rng, 3, 2400, forget, shift=2.0)
  found = strongest(scores, forget=forget, unseen=test, validation=val)
  for k in range(3):
    loss = -scores["loss"][k]
    assert found.accuracy[k] > population_mia(loss[test], loss[forget]).accuracy - 0.02
  assert set(found.attack) <= {"margin", "modified_entropy"}


def test_a_flattened_forget_set_is_found_where_one_threshold_on_the_loss_is_blind():
  """Audit D1: losses are pulled to the middle; too low and too high ones become rare alike."""
  rng = np.random.default_rng(2)
  forget, val, test = sets(400, 400, 400)
  scores = draw(rng, 4, 1200, forget, flatten=0.3)
  found = strongest(scores, forget=forget, unseen=test, validation=val)
  blind = [population_mia(-scores["loss"][k, test], -scores["loss"][k, forget]) for k in range(4)]
  assert np.mean([one.accuracy for one in blind]) < 0.6
  assert found.accuracy.min() > 0.68
  assert set(found.attack) <= {"entropy", "histogram"}


def test_a_threshold_reaches_the_accuracy_of_theory():
  rng = np.random.default_rng(4)
  values = rng.normal(size=(2, 8000))
  values[:, :4000] += 1
  scores = dict.fromkeys(SCORES, values)
  forget, test = sets(4000, 4000)
  found = strongest(scores, forget=forget, unseen=test)
  np.testing.assert_allclose(found.every["margin"], norm.cdf(0.5), atol=0.015)


def test_credits_are_those_of_the_accuracy_and_members_do_not_disturb_each_other():
  rng = np.random.default_rng(5)
  forget, val, test = sets(41, 50, 70)
  scores = draw(rng, 5, 161, forget, shift=1.0)
  found = strongest(scores, forget=forget, unseen=test, validation=val)
  assert found.forget.shape == (5, 41) and found.unseen.shape == (5, 70)
  assert np.isfinite(found.unseen).sum(1).tolist() == [41] * 5
  both = (np.nanmean(found.forget, 1) + np.nanmean(found.unseen, 1)) / 2
  np.testing.assert_allclose(found.accuracy, both)
  alone = {name: score[3:4] for name, score in scores.items()}
  again = strongest(alone, forget=forget, unseen=test, validation=val)
  np.testing.assert_array_equal(again.forget[0], found.forget[3])
  assert again.attack[0] == found.attack[3]


def test_blocks_of_members_change_nothing(monkeypatch):
  rng = np.random.default_rng(6)
  forget, test = sets(30, 30)
  scores = draw(rng, 7, 60, forget, shift=1.0)
  whole = strongest(scores, forget=forget, unseen=test)
  monkeypatch.setattr(module, "_CHUNK", 1)
  np.testing.assert_array_equal(strongest(scores, forget=forget, unseen=test).forget, whole.forget)


def test_too_few_samples_and_failed_members_are_refused():
  scores = draw(np.random.default_rng(7), 1, 40)
  forget, val, test = sets(20, 5, 15)
  with pytest.raises(DataError, match="at least 6 validation samples, got 5"):
    strongest(scores, forget=forget, unseen=test, validation=val)
  scores["entropy"][0, 3] = np.nan
  with pytest.raises(DataError, match="scores of forget samples are NaN"):
    strongest(scores, forget=forget, unseen=test)
