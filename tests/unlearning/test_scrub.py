"""SCRUB: its two passes, schedule and losses against a loop by hand (methods.md 5.2), float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import contract, problems

from jaxmu import models
from jaxmu.engine.population import member_keys
from jaxmu.errors import MethodError
from jaxmu.execution import runner
from jaxmu.training import Phase, Task, View, schedules
from jaxmu.training.epoch import optimizer
from jaxmu.training.method import FIXED, REFERENCE
from jaxmu.training.objectives import classification
from jaxmu.training.task import Arrays
from jaxmu.unlearning import ft, scrub

pytestmark = pytest.mark.usefixtures("module_x64")  # all tests in float64

SEEDS = (1,)
# 22 retain samples in batches of 8, 8 and 6; 10 forget samples in batches of 8 and 2.
HP = {
  **scrub.METHOD.defaults,
  "gamma": 0.9,
  "alpha": 0.4,
  "msteps": 2,
  "sgda_num_epochs": 3,
  "sgda_learning_rate": 0.05,
  "sgda_weight_decay": 0.01,
  "lr_decay_rate": 0.5,
  "smoothing": 0.03,
  "retain_batch_size": 8,
  "forget_batch_size": 8,
}
PASSED = {  # epochs -> milestones passed, m(j): the table of methods.md 0.5
  REFERENCE: {1: [3], 2: [0, 3], 3: [0, 1, 3], 5: [0, 0, 1, 1, 3], 10: [0] * 5 + [1, 1, 1, 2, 3]},
  FIXED: {1: [0], 2: [0, 1], 3: [0, 1, 2], 5: [0, 0, 1, 1, 2], 10: [0] * 5 + [1, 1, 1, 2, 3]},
}
OPTIONS = contract.options(HP, fidelity=REFERENCE)
FINAL = dataclasses.replace(scrub.METHOD, name="final", rewind=None)  # before selection


@pytest.fixture(scope="module")
def data():
  x, y = problems.samples()
  return x.astype(np.float64), y


@pytest.fixture(scope="module")
def start():
  """Return initial weights with statistics that eval mode can be told from train mode by."""
  variables = problems.weights(SEEDS)
  stats = {"norm": {"mean": np.full((1, 4), 0.2), "var": np.full((1, 4), 1.5)}}
  return jax.tree.map(jnp.asarray, {"params": variables["params"], "batch_stats": stats})


def execute(data, start, hp=None, *, method=FINAL, **options):
  """Run one member; returns NumPy variables of the model, and per step (loss, rate)."""
  legs, problem = [], problems.problem(1, x=data[0], y=data[1], shuffle=False)
  outcome = runner.run(
    method,
    problem,
    start,
    hp=[{**HP, **(hp or {})}],
    keys=member_keys(SEEDS),
    on_leg=legs.append,
    **options,
  )
  found = problem.population.collect(outcome.variables)
  steps = [
    np.concatenate([getattr(leg.metrics, name)[0] for leg in legs])
    for name in ("loss", "learning_rate")
  ]
  return jax.tree.map(lambda leaf: leaf[0], found), np.stack(steps, 1), outcome


def close(found, wanted, rtol=1e-9):
  compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
  jax.tree.map(compare, found, wanted)


# Against a loop


@jax.jit
def gradient(params, stats, x, y, teacher, gamma, alpha, temperature):
  """Gradient of gamma CE + alpha T^2 KL_T(teacher || student), unpadded train-mode batch."""

  def loss(params):
    logits, moved = models.forward(problems.TinyNet(), params, stats, x, train=True)
    log_p = jax.nn.log_softmax(logits)
    q, s = jax.nn.softmax(teacher / temperature), jax.nn.softmax(logits / temperature)
    divergence = jnp.mean(jnp.sum(q * (jnp.log(q) - jnp.log(s)), 1))
    entropy = -jnp.mean(log_p[jnp.arange(len(y)), y])
    return gamma * entropy + alpha * temperature**2 * divergence, moved

  return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def predict(params, stats, x):
  return models.forward(problems.TinyNet(), params, stats, x, train=False)[0]


def naive(data, start, hp, fidelity):
  """The algorithm of methods.md 5.2, steps 1 to 2d, in stored order, one momentum buffer."""
  x, y = data
  index = {name: places[0] for name, places in problems.index().items()}
  params, stats = (jax.tree.map(lambda leaf: leaf[0], start[n]) for n in ("params", "batch_stats"))
  teacher, origin = predict(params, stats, x), params
  buffer, steps = jax.tree.map(jnp.zeros_like, params), []
  for j in range(1, hp["sgda_num_epochs"] + 1):
    passed = PASSED[fidelity][hp["sgda_num_epochs"]][j - 1]
    rate = hp["sgda_learning_rate"] * hp["lr_decay_rate"] ** passed
    for name, gamma, alpha in (("forget", 0.0, -1.0), ("retain", hp["gamma"], hp["alpha"])):
      if name == "forget" and j > hp["msteps"]:
        continue
      for at in range(0, len(index[name]), 8):
        b = index[name][at : at + 8]
        (loss, stats), grads = gradient(
          params, stats, x[b], y[b], teacher[b], gamma, alpha, hp["kd_T"]
        )
        if fidelity == FIXED:
          away = jax.tree.map(jnp.subtract, params, origin)
          norms = jax.tree.map(jnp.linalg.norm, jax.tree.map(jnp.ravel, away))
          loss += hp["smoothing"] * sum(jax.tree.leaves(norms))
          pull = lambda g, a, n: g + (hp["smoothing"] * a / n if n > 0 else 0)
          grads = jax.tree.map(pull, grads, away, norms)
        decayed = lambda b, g, p: hp["sgda_momentum"] * b + g + hp["sgda_weight_decay"] * p
        buffer = jax.tree.map(decayed, buffer, grads, params)
        params = jax.tree.map(lambda p, b, rate=rate: p - rate * b, params, buffer)
        steps.append((loss, rate))
  return {"params": params, "batch_stats": stats}, np.array(steps)


@pytest.mark.parametrize("fidelity", [REFERENCE, FIXED])
def test_equals_a_loop_over_unequal_batches(fidelity, data, start):
  """Two epochs of 2 + 3 steps, one of 3: two rates of one buffer, train mode, cached teacher."""
  found, steps, _ = execute(data, start, fidelity=fidelity)
  wanted, wanted_steps = naive(data, start, HP, fidelity)
  close(found, wanted)
  taken = ~np.isnan(steps[:, 1])
  assert taken.tolist() == [True] * 10 + [False, False] + [True] * 3  # msteps = 2
  close(steps[taken], wanted_steps)


def test_fixed_differs_by_the_anchor_alone_where_the_rates_agree(data, start):
  """E=10: the two schedules are equal, so that a weight of 0 leaves nothing to tell apart."""
  ten = {"sgda_num_epochs": 10, "smoothing": 0.0}
  reference, _, _ = execute(data, start, ten, fidelity=REFERENCE)
  without, _, _ = execute(data, start, ten, fidelity=FIXED)
  close(without, reference)
  anchored, _, _ = execute(data, start, {**ten, "smoothing": 0.1}, fidelity=FIXED)
  distance = lambda v: sum(
    np.linalg.norm(a - b[0])
    for a, b in zip(jax.tree.leaves(v["params"]), jax.tree.leaves(start["params"]))
  )
  assert distance(anchored) < 0.9 * distance(without)


# Identities of methods.md 12


def test_without_distillation_and_forget_passes_it_is_fine_tuning_with_drops(data, start):
  """alpha=0, gamma=1, msteps=0: FT's step at the drop schedule."""
  found, _, _ = execute(data, start, {"alpha": 0.0, "gamma": 1.0, "msteps": 0})
  (step,) = ft.METHOD.phases({"batch_size": 8})[0].passes
  *_, coming_back = scrub.METHOD.phases(OPTIONS)[0].passes
  dropping = step._replace(
    transform=coming_back.transform,
    schedule=lambda hp, n: schedules.drop(hp["sgda_learning_rate"], 3, 0.5, n, first=1),
  )
  phase = Phase("reference", (dropping,), epochs=lambda hp: hp["sgda_num_epochs"])
  method = dataclasses.replace(FINAL, prepare=ft.METHOD.prepare, phases=lambda options: (phase,))
  wanted, _, _ = execute(data, start, method=method)
  close(found, wanted)
  assert step.loss is classification


def test_beta_and_smoothing_change_nothing_and_the_input_stays_as_it_is(data, start):
  before = jax.tree.map(np.array, start)
  plain, _, _ = execute(data, start)
  smoothed, _, _ = execute(data, start, {"smoothing": 0.9})
  assert problems.equal(plain, smoothed)
  assert problems.equal(start, before)
  assert not problems.equal(plain["params"], jax.tree.map(lambda leaf: leaf[0], before["params"]))
  given = scrub.METHOD.hyperparameters({"beta": 0.7, "batch_size": 3, "gamma": 0.2})
  assert given == {**scrub.METHOD.defaults, "gamma": 0.2}
  assert scrub.METHOD.hyper["beta"].dead
  assert scrub.METHOD.hyper["smoothing"].search is None


@pytest.mark.parametrize("fidelity", [REFERENCE, FIXED])
@pytest.mark.parametrize("epochs", PASSED[REFERENCE])
@pytest.mark.parametrize("msteps", [0, 1, 4, 99])
def test_the_shared_step_count_gives_the_table_of_rates(fidelity, epochs, msteps):
  """Follow the optimizer's count through gated passes of 2 forget and 3 retain steps."""
  sizes = {"forget": 10, "retain": 22, "val": 6}
  hp = {**HP, "sgda_num_epochs": epochs, "msteps": msteps}
  hp = {k: jnp.asarray(v) for k, v in {**hp, **scrub.count_steps(hp, sizes)}.items()}
  rate = scrub.rate_of_epoch({**OPTIONS, "fidelity": fidelity})
  schedule = jax.jit(lambda hp, count: rate(hp, 3)(count))
  count, found, wanted = 0, [], []
  for j, passed in enumerate(PASSED[fidelity][epochs], 1):
    steps = (2 if j <= msteps else 0) + 3
    found += [schedule(hp, jnp.asarray(count + i, jnp.int32)) for i in range(steps)]
    wanted += [0.05 * 0.5**passed] * steps
    count += steps
  np.testing.assert_allclose(found, wanted, rtol=1e-14)


# Streams and accounting


def test_teacher_logits_are_the_originals_in_eval_mode(data, start):
  index = {name: places[0] for name, places in problems.index().items()}
  task = Task(problems.TinyNet(), problems.CLASSES)
  view = View(task, Arrays(*map(jnp.asarray, data)), index, {})
  alone = jax.tree.map(lambda leaf: leaf[0], start)
  for fidelity in (REFERENCE, FIXED):
    known = contract.step({**HP, "fidelity": fidelity}, view)
    variables, original = scrub.prepare(alone, known)
    assert problems.equal(variables, alone)
    seen = np.concatenate([index["retain"], index["forget"]])
    wanted = predict(alone["params"], alone["batch_stats"], data[0])
    close(original.logits[seen], wanted[seen])
    assert np.isnan(original.logits[index["val"]]).all()  # validation has no teacher
    assert problems.equal(original.params, alone["params"] if fidelity == FIXED else ())


def test_work_counts_gated_passes_teacher_and_selection(data, start):
  """3 (2 x 10 + 3 x 22) trained, 32 for the teacher, 4 x 10 + 6 for the errors."""
  assert execute(data, start)[2].passes == (3 * (20 + 66) + 32 + 46,)


def test_one_optimizer_state_serves_both_passes():
  """Its momentum carries over from forget to retain (methods.md 5.2, step 1)."""
  leave, come_back = scrub.METHOD.phases(OPTIONS)[0].passes
  assert leave.slot == come_back.slot
  known = contract.step({**HP, **scrub.count_steps(HP, problems.SIZES)})
  trees = [jax.tree.structure(optimizer(p, known, 1).init({})) for p in (leave, come_back)]
  assert trees[0] == trees[1]


def test_limits_are_named():
  for name, value, expected in (
    ("sgda_num_epochs", 513, "a whole number at least 1 and at most 512"),
    ("msteps", -1, "a whole number at least 0 and at most 1000000"),
    ("kd_T", 0.0, "a number at least 1e-06"),
  ):
    message = f"^scrub: {name} must be {expected}, got {value}$"
    with pytest.raises(MethodError, match=message):
      scrub.METHOD.hyperparameters({name: value})
  assert scrub.METHOD.hyperparameters({"msteps": 0})["msteps"] == 0
