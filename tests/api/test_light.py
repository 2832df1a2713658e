"""A plain installation suffices: nothing that only studies and reports need is imported."""

import subprocess
import sys

CODE = """
import sys, tempfile

class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in {absent}:
      raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Absent())
import flax.linen as nn, jax, numpy as np, jaxmu

class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(3)(x.reshape(len(x), -1))

rng, net = np.random.default_rng(0), Net()
x, y = rng.normal(size=(60, 4, 4, 1)).astype("f"), np.arange(60) % 3
before = net.init(jax.random.key(0), x[:1])
sets = {{"retain": (x[:30], y[:30]), "forget": (x[30:45], y[30:45])}}
after = jaxmu.unlearn("ft", net, before, **sets, num_epochs=1, batch_size=15)
assert jaxmu.predict(net, after, x).shape == (60, 3)
found = jaxmu.evaluate(
  original=before, unlearned=after, model=net, unseen=(x[45:], y[45:]), **sets
)
assert "T_MIA" in str(found)
given, few = {{"validation": (x[45:], y[45:]), **sets}}, {{"num_epochs": 1, "batch_size": 15}}
tuned = jaxmu.tune("ft", net, before, **given, training=few, trials=2, ranges={{"batch_size": 15}})
assert len(tuned.trials) == 2
try:
  jaxmu.tune("ft", net, before, **given, sampler="tpe")
except jaxmu.errors.MethodError as error:
  assert "needs optuna, which is not installed; run pip install 'jaxmu[bench]'" in str(error)
compared = jaxmu.compare(
  "ft", net, before, unseen=(x[45:], y[45:]), **sets, retrained="train", seeds=2,
  hyperparameters={{"ft": few, "retrained": few}},
)
assert "strongest attack" in str(compared)
for one in (compared, compared["ft"]):
  try:
    one.report("nowhere")
  except jaxmu.errors.StoreError as error:
    assert "needs jinja2, which is not installed; run pip install 'jaxmu[report]'" in str(error)
with tempfile.TemporaryDirectory() as folder:
  assert [path.name for path in found.evidence(folder)] == ["evidence.json", "evidence.npz"]
print(len(jaxmu.methods()))
"""
# Those of the extras that no package of a plain installation needs itself.
ABSENT = (
  *("PIL", "adjustText", "array_record", "jinja2", "matplotlib", "ml_collections", "optuna"),
  *("pyarrow", "tensorflow_datasets"),
)


def test_unlearn_predict_and_evaluate_need_no_extra():
  code = CODE.format(absent=set(ABSENT))
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == "18"
