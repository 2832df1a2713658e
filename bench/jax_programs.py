"""Training programs in JAX: jaxmu's engine, and what one writes with stock JAX instead."""

import numpy as np
import problems


def jaxmu(args, mark) -> None:
  """Train through the engine; one epoch of `steps` batches is one turn."""
  from jaxmu.engine import runtime

  runtime.configure()
  from jaxmu.execution import runner
  from jaxmu.unlearning import get

  problem, keys, variables = population(args)
  given = problems.RECIPE | {"batch_size": args.batch, "num_epochs": args.turns + 2}
  method = get("retrained")
  hp = [method.hyperparameters(given)] * args.members
  mark()
  runner.run(method, problem, variables, hp=hp, keys=keys, on_leg=lambda leg: mark())


def forward(args, mark) -> None:
  """Run the engine's forward pass in train mode alone; `steps` batches are one turn."""
  from jaxmu.engine import runtime

  runtime.configure()
  import jax
  import jax.numpy as jnp
  from jax import lax

  from jaxmu import models

  problem, _, variables = population(args)
  task, key = problem.task, jax.random.key(0)

  def member(stats, params, arrays):
    def step(i, carry):
      stats, total = carry
      images = lax.dynamic_slice_in_dim(arrays.images, i * args.batch, args.batch)
      x = images.astype(jnp.float32) / 255
      logits, stats = models.forward(task.module, params, stats, x, train=True, key=key)
      return stats, total + jnp.sum(logits)

    count = len(arrays.images) // args.batch
    return lax.fori_loop(0, count, step, (stats, jnp.float32(0)))

  program = problem.population.map(member)
  stats, params = map(problem.population.place, (variables["batch_stats"], variables["params"]))
  program.compile(stats, params, problem.arrays)
  mark()
  while True:
    stats, total = program(stats, params, problem.arrays)
    jax.block_until_ready((stats, total))
    mark()


def population(args):
  """Return the engine's problem, members' keys and initial variables [K, ...].

  `args` may hold `chunk`, `lowering` and `numbers` ("bfloat16" computes in it) besides.
  """
  import jax
  import jax.numpy as jnp

  from jaxmu import models
  from jaxmu.data.augment import Preprocess
  from jaxmu.engine.population import Population, member_keys
  from jaxmu.execution import runner
  from jaxmu.training import Task
  from jaxmu.training.task import Arrays

  x, y = problems.images(args.model, args.batch * args.steps)
  channels = x.shape[-1]
  members = Population(args.members, chunk=getattr(args, "chunk", 1))
  module = models.make(args.model, problems.CLASSES, lowering=getattr(args, "lowering", "auto"))
  compute = "bfloat16" if getattr(args, "numbers", "") == "bfloat16" else "float32"
  normalise = Preprocess((problems.MEAN,) * channels, (problems.STD,) * channels, "none", channels)
  index = {"retain": np.tile(np.arange(len(y), dtype=np.int32), (args.members, 1))}
  arrays = members.share(Arrays(x, y))
  task = Task(module, problems.CLASSES, normalise, compute=compute)
  problem = runner.Problem(members, task, arrays, index)
  one = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, *x.shape[1:])))
  variables = jax.tree.map(lambda leaf: np.stack([leaf] * args.members), one)
  return problem, member_keys(range(args.members)), variables


def stock(kind: str):
  """Make a program of the same network with stock convolutions: "loop", "vmap" or "map".

  It calls a jitted step for one member (loop) or all of them, batch by batch; one CPU device with
  all threads. Everything else (data on the device, donation) is as in the engine.
  """

  def program(args, mark):
    import jax
    import jax.numpy as jnp
    import optax

    from jaxmu import models

    x, y = map(jnp.asarray, problems.images(args.model, args.batch * args.steps))
    module = models.make(args.model, problems.CLASSES, lowering="lax")
    recipe = problems.RECIPE
    decayed, momentum = optax.add_decayed_weights(recipe["weight_decay"]), recipe["momentum"]
    rate = optax.scale_by_learning_rate(recipe["learning_rate"])
    rule = optax.chain(decayed, optax.trace(momentum), rate)

    def step(state, key, index):
      params, stats, opt = state
      images = (x[index].astype(jnp.float32) / 255 - problems.MEAN) / problems.STD

      def loss(params):
        logits, new = models.forward(module, params, stats, images, train=True, key=key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[index]).mean(), new

      grads, stats = jax.grad(loss, has_aux=True)(params)
      updates, opt = rule.update(grads, opt, params)
      return optax.apply_updates(params, updates), stats, opt

    one = module.init(jax.random.key(0), jnp.zeros((1, *x.shape[1:])))
    fresh = lambda: jax.tree.map(
      jnp.copy, (one["params"], one["batch_stats"], rule.init(one["params"]))
    )
    if kind == "loop":
      states, run = [fresh() for _ in range(args.members)], jax.jit(step, donate_argnums=0)
    else:
      stack = lambda leaf: jnp.stack([leaf] * args.members)
      states = jax.tree.map(stack, fresh())
      every = {
        "vmap": jax.vmap(step),
        "map": lambda *operands: jax.lax.map(lambda each: step(*each), operands),
      }
      run = jax.jit(every[kind], donate_argnums=0)
    rng, key = np.random.default_rng(0), jax.random.key(1)
    mark()
    while True:
      orders = np.stack(
        [rng.permutation(len(y)).reshape(args.steps, -1) for _ in range(args.members)]
      )
      for number in range(args.steps):
        keys = jax.random.split(jax.random.fold_in(key, number), args.members)
        if kind == "loop":
          states = [run(s, keys[k], orders[k, number]) for k, s in enumerate(states)]
        else:
          states = run(states, keys, orders[:, number])
      jax.block_until_ready(states)
      mark()

  return program


PROGRAMS = {"jaxmu": jaxmu} | {f"jax-{kind}": stock(kind) for kind in ("loop", "vmap", "map")}
