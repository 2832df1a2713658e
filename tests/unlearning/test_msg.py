"""MSG: its saliency pass, selection, reset and masked fine-tuning (methods.md 6.2), in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import contract, problems

from jaxmu import models
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training import Pass, Phase, Task, View, losses, sgd
from jaxmu.training.objectives import classification
from jaxmu.training.task import Arrays
from jaxmu.unlearning import get, msg
from jaxmu.unlearning.parts import gradient_sums

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

RATES = (0.0, 0.1, 0.125, 0.3, 0.375, 0.5, 0.77, 0.999, 1.0)
N_RETAIN, N_FORGET, BATCH = 80, 70, 16  # R' needs a full batch of 64 and one of 6
INDEX = {"retain": np.arange(N_RETAIN), "forget": np.arange(N_RETAIN, N_RETAIN + N_FORGET)}
SUBSET = np.random.default_rng(5).permutation(N_RETAIN)[:N_FORGET]
HP = {**msg.METHOD.defaults, "batch_size": BATCH}
KEY = jax.random.key(11)
CONV = ("stem", "stage1")  # of TinyNet


@pytest.fixture(scope="module")
def start():
  """Return float64 variables of one tiny network with statistics that are not the initial ones."""
  variables = jax.tree.map(lambda leaf: leaf[0], problems.weights([1]))
  stats = {"norm": {"mean": np.full(4, 0.2), "var": np.full(4, 1.5)}}
  return {"params": variables["params"], "batch_stats": stats}


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(2)
  y = rng.integers(0, problems.CLASSES, N_RETAIN + N_FORGET).astype(np.int32)
  x = rng.normal(size=(problems.CLASSES, 6, 6, 1))[y] + rng.normal(size=(len(y), 6, 6, 1))
  return x, y


def view_of(data, index=INDEX, shuffle=False, **draws):
  task = Task(problems.TinyNet(), problems.CLASSES, shuffle=shuffle)
  return View(task, Arrays(*map(jnp.asarray, data)), index, draws)


def prepare_with(view, **options):
  """Compile `msg.prepare`: (key, variables, init_rate) -> (variables, mask)."""
  known = contract.step({**HP, **options}, view)
  step = lambda key, rate: known._replace(key=key, hp={**known.hp, "init_rate": rate})
  return jax.jit(lambda key, v, rate: msg.prepare(v, step(key, rate)))


@pytest.fixture(scope="module")
def prepare(data):
  return prepare_with(view_of(data, subset=jnp.asarray(SUBSET)))


@jax.jit
def gradient(params, stats, x, y):
  """Return the gradient of mean cross-entropy and the moved statistics, one batch, no padding."""

  def loss(params):
    logits, moved = models.forward(problems.TinyNet(), params, stats, x, train=True)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y]), moved

  return jax.grad(loss, has_aux=True)(params)


def naive_phase_a(variables, data, subset_batch):
  """Add up batch by batch: R' first, then the forget set, statistics moving along."""
  params, stats = variables["params"], variables["batch_stats"]
  total = jax.tree.map(np.zeros_like, params)
  for sign, places, size in ((1, SUBSET, subset_batch), (-1, INDEX["forget"], BATCH)):
    for first in range(0, len(places), size):
      chosen = places[first : first + size]
      grads, stats = gradient(params, stats, data[0][chosen], data[1][chosen])
      total = jax.tree.map(lambda t, g, s=sign: t + s * np.asarray(g), total, grads)
  return total, stats


@pytest.fixture(scope="module")
def phase_a(start, data):
  return naive_phase_a(start, data, 64)


def close(found, wanted, rtol=1e-9):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
  jax.tree.map(compare, found, wanted)


def kernels(tree):
  return {name: np.asarray(tree[name]["kernel"]) for name in CONV}


# Phase A


def test_statistics_after_phase_a_equal_a_loop_over_retain_then_forget(prepare, start, phase_a):
  variables, _ = prepare(KEY, start, 0.3)
  close(variables["batch_stats"], phase_a[1])


@pytest.mark.parametrize(("subset_batch", "pad"), [(64, False), (64, True), (16, True)])
def test_signed_gradients_equal_the_loop_with_and_without_padding(start, data, subset_batch, pad):
  """Equal padded batches take the joined scan, unequal or unpadded ones separate scans."""
  view = view_of(data)

  def accumulated(variables):
    retain = view.positions(jnp.asarray(SUBSET), subset_batch, pad)
    forget = view.order("forget", KEY, BATCH, pad)
    signed = [(1, retain), (-1, forget)]
    return gradient_sums.signed_gradients(view, *pair_of(variables), signed)

  close(jax.jit(accumulated)(start), naive_phase_a(start, data, subset_batch))


def pair_of(variables):
  return variables["params"], variables["batch_stats"]


def test_signed_gradients_in_eval_mode_keep_the_statistics(start, data):
  view = view_of(data)
  order = view.order("forget", KEY, BATCH, pad=True)
  _, stats = jax.jit(
    lambda v: gradient_sums.signed_gradients(view, *pair_of(v), [(-1, order)], train=False)
  )(start)
  close(stats, start["batch_stats"], rtol=0)


def test_fixed_fidelity_uses_the_batch_size_for_the_retain_part(prepare, start, data, phase_a):
  fixed = prepare_with(view_of(data, subset=jnp.asarray(SUBSET)), fidelity="fixed")
  variables, _ = fixed(KEY, start, 0.3)
  wanted = naive_phase_a(start, data, BATCH)[1]
  close(variables["batch_stats"], wanted)
  assert not np.allclose(wanted["norm"]["mean"], phase_a[1]["norm"]["mean"], rtol=1e-3)


def recorded_orders(monkeypatch, data, key, start, index=INDEX, **options):
  """Run `prepare` without its gradients; return what it would have read: [(sign, places, B)]."""
  seen = []

  def record(view, params, batch_stats, orders, key):
    for sign, order in orders:
      real = np.asarray(order.full.weight).reshape(-1) > 0
      places = np.asarray(order.full.index).reshape(-1)[real]
      seen.append((sign, places.tolist(), order.full.index.shape[1]))
    return params, batch_stats

  monkeypatch.setattr(msg, "signed_gradients", record)
  view = view_of(data, index, shuffle=True)
  msg.prepare(start, contract.step({**HP, **options}, view, key=key))
  return seen


def test_the_retain_part_is_drawn_without_replacement_and_as_large_as_forget(
  monkeypatch, data, start
):
  drawn = []
  for key in jax.random.split(KEY, 2):
    (plus, retain, first), (minus, forget, second) = recorded_orders(monkeypatch, data, key, start)
    assert (plus, minus, first, second) == (1, -1, 64, BATCH)
    assert len(retain) == len(set(retain)) == N_FORGET
    assert set(retain) <= set(INDEX["retain"].tolist())
    assert sorted(forget) == INDEX["forget"].tolist() != forget
    drawn.append(set(retain))
  assert drawn[0] != drawn[1]
  fixed = recorded_orders(monkeypatch, data, KEY, start, fidelity="fixed")
  assert [size for *_, size in fixed] == [BATCH, BATCH]


def test_a_forget_set_larger_than_retain_is_matched_by_all_of_retain(monkeypatch, data, start):
  swapped = {"retain": INDEX["forget"], "forget": INDEX["retain"]}
  (_, retain, _), (_, forget, _) = recorded_orders(monkeypatch, data, KEY, start, swapped)
  assert sorted(retain) == swapped["retain"].tolist()
  assert sorted(forget) == swapped["forget"].tolist()


# Phase B


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.77])
def test_selection_equals_a_loop_over_sorted_gradients(prepare, start, phase_a, rate):
  _, mask = prepare(KEY, start, rate)
  for name, g in kernels(phase_a[0]).items():
    flat = np.abs(g).reshape(-1)
    wanted = np.zeros(flat.size, bool)
    wanted[np.argsort(flat, kind="stable")[: round(rate * flat.size)]] = True
    chosen = np.asarray(mask[name]["kernel"])
    np.testing.assert_array_equal(chosen, wanted.reshape(g.shape))
    assert np.abs(g)[chosen].max() <= np.abs(g)[~chosen].min()


def test_only_selected_kernel_entries_change(prepare, start):
  variables, mask = prepare(KEY, start, 0.3)
  for name, before in kernels(start["params"]).items():
    after, chosen = kernels(variables["params"])[name], np.asarray(mask[name]["kernel"])
    assert (after[chosen] != before[chosen]).all()
    np.testing.assert_array_equal(after[~chosen], before[~chosen])
  for name in ("norm", "head"):
    close(variables["params"][name], start["params"][name], rtol=0)
    assert all(np.asarray(leaf) for leaf in mask[name].values())  # multiplier 1 everywhere else


@pytest.mark.parametrize("rate", RATES)
def test_every_kernel_has_exactly_the_rounded_number_of_resets(prepare, start, rate):
  _, mask = prepare(KEY, start, rate)
  for chosen in kernels(mask).values():
    assert chosen.sum() == round(rate * chosen.size)


def test_doubling_both_losses_leaves_the_selection_alone(monkeypatch, start, data, prepare):
  plain = prepare(KEY, start, 0.3)
  ordinary = losses.cross_entropy
  monkeypatch.setattr(gradient_sums, "cross_entropy", lambda z, y: 2 * ordinary(z, y))
  doubled = prepare_with(view_of(data, subset=jnp.asarray(SUBSET)))(KEY, start, 0.3)
  assert problems.equal(doubled, plain)
  monkeypatch.setattr(
    gradient_sums, "cross_entropy", lambda z, y: ordinary(z, y) * (1 + z[:, 0] ** 2)
  )
  other = prepare_with(view_of(data, subset=jnp.asarray(SUBSET)))(KEY, start, 0.3)
  assert not problems.equal(other[1], plain[1])  # the control: another loss does reach the mask


def test_everything_is_redrawn_from_he_normal_at_rate_one(prepare, start):
  variables, mask = prepare(KEY, start, 1.0)
  assert all(np.asarray(leaf).all() for leaf in jax.tree.leaves(mask))
  fresh = kernels(variables["params"])
  for name, before in kernels(start["params"]).items():
    assert (fresh[name] != before).all()
    scaled = fresh[name] / np.sqrt(2 / (before.shape[3] * 9))
    assert abs(scaled.mean()) < 4 / np.sqrt(scaled.size)
    assert abs(np.square(scaled).mean() - 1) < 4 * np.sqrt(2 / scaled.size)
  other, _ = prepare(jax.random.key(12), start, 1.0)
  assert (kernels(other["params"])["stem"] != fresh["stem"]).all()


def test_injected_kernels_replace_the_drawn_ones(data, start):
  fresh = jax.tree.map(lambda leaf: jnp.full_like(leaf, 7.0), start["params"])
  injected = prepare_with(view_of(data, subset=jnp.asarray(SUBSET), fresh=fresh))
  variables, mask = injected(KEY, start, 0.3)
  for name, after in kernels(variables["params"]).items():
    np.testing.assert_array_equal(after == 7.0, mask[name]["kernel"])
  close(variables["params"]["head"], start["params"]["head"], rtol=0)


# Phase C


def test_the_mask_slows_raw_gradients_but_not_weight_decay():
  """With momentum: b <- 0.9 b + (S g + 0.1 theta)."""
  reset = {"conv": jnp.array([True, False])}
  rule = msg.masked_sgd(contract.step({"momentum": 0.9, "weight_decay": 0.1}, aux=reset))
  params, slow = {"conv": jnp.array([4.0, 4.0])}, np.array([1.0, 0.1])
  state, buffer = rule.init(params), 0.0
  for g in (2.0, 3.0):
    buffer = 0.9 * buffer + (slow * g + 0.4)
    updates, state = rule.update({"conv": jnp.array([g, g])}, state, params)
    np.testing.assert_allclose(updates["conv"], buffer, rtol=1e-12)
  updates, _ = rule.update({"conv": jnp.zeros(2)}, rule.init(params), params)
  assert updates["conv"][0] == updates["conv"][1] == pytest.approx(0.4)


def fine_tune_reference(slow, keep_weights):
  """Phase C from FT's parts: SGD, a written-out triangle, convolution gradients scaled."""
  factor = lambda g: g * (slow if g.ndim == 4 else 1.0)
  scale = optax.stateless(lambda grads, params: jax.tree.map(factor, grads))
  table = jnp.array([0.5, 1.0, 0.5])  # E = 3
  step = Pass(
    "retain",
    problems.TABLE["msg"].small["batch_size"],
    classification,
    lambda step: optax.chain(scale, sgd(step.hp["momentum"], step.hp["weight_decay"])),
    lambda hp, steps: lambda count: hp["learning_rate"] * table[count // steps],
  )

  def prepare(variables, step):
    prepared, _ = msg.prepare(variables, step)
    kept = variables["params"] if keep_weights else prepared["params"]
    return {"params": kept, "batch_stats": prepared["batch_stats"]}, ()

  return dataclasses.replace(
    msg.METHOD,
    name="reference",
    prepare=prepare,
    phases=lambda options: (Phase("reference", (step,)),),
  )


@pytest.mark.parametrize(("rate", "slow"), [(0.0, 0.1), (1.0, 1.0)])
def test_phase_c_is_fine_tuning_with_slowed_kernels(rate, slow):
  """Rate 0: the original's weights, kernels slowed tenfold; rate 1: fresh kernels at full speed."""
  x, y = problems.samples()
  problem = problems.problem(1, x=x.astype(np.float64), y=y)
  given = {"init_rate": rate, "num_epochs": 3, "learning_rate": 0.1}
  start = problems.weights([1])
  found, _, outcome = problems.run("msg", problem, start, [1], given)
  wanted = runner.run(
    fine_tune_reference(slow, keep_weights=rate == 0.0),
    problem,
    start,
    hp=[msg.METHOD.hyperparameters({**problems.TABLE["msg"].small, **given})],
    keys=member_keys([1]),
  )
  close(found, problem.population.collect(wanted.variables), rtol=1e-10)
  n_retain, n_forget = problems.SIZES["retain"], problems.SIZES["forget"]
  assert outcome.passes == (3 * 2 * n_forget + 3 * 3 * n_retain,)


def test_the_cost_counts_both_parts_of_the_saliency_pass():
  cost = get("msg").prepare_samples
  assert cost({}, {"retain": 90, "forget": 10}, {}) == 3 * (10 + 10)
  assert cost({}, {"retain": 10, "forget": 90}, {}) == 3 * (10 + 90)


def test_dead_taps_of_resnet18_at_32_pixels_never_reach_the_output():
  """Stage 4 sees 1x1 maps: which of its dead taps MSG resets is without effect (methods.md 6.2)."""
  with jax.enable_x64(False):
    module, variables = models.build("resnet18", num_classes=10, image_size=32)
    params, stats = pair_of(variables)
    run = jax.jit(lambda p, x: models.forward(module, p, stats, x, train=False)[0])
    x = jax.random.normal(KEY, (4, 32, 32, 3))
    before = run(params, x)
    dead = np.ones((3, 3, 1, 1), bool)
    dead[1, 1] = False
    first = dead.copy()
    first[1:, 1:] = False
    for block, unit, taps in (
      ("stage4_0", "first", first),
      ("stage4_0", "second", dead),
      ("stage4_1", "first", dead),
      ("stage4_1", "second", dead),
    ):
      kernel = params[block][unit]["conv"]["kernel"]
      changed = jax.tree.map(lambda leaf: leaf, params)
      changed[block][unit]["conv"]["kernel"] = jnp.where(taps, kernel + 1, kernel)
      np.testing.assert_array_equal(run(changed, x), before)
      changed[block][unit]["conv"]["kernel"] = jnp.where(taps, kernel, kernel + 1)
      assert not np.allclose(run(changed, x), before)


def test_unknown_levels_of_fidelity_are_refused():
  message = "^fidelity must be default, reference or fixed, got 'exact'$"
  with pytest.raises(MethodError, match=message):
    msg.METHOD.resolve_fidelity("exact")
  assert msg.METHOD.resolve_fidelity("default") == msg.METHOD.resolve_fidelity(None) == "reference"
