"""Users' own networks of flax's other interface."""

from flax import nnx


class StockNnx(nnx.Module):
  """`user_networks.Stock`, leaf by leaf."""

  def __init__(self, rngs):
    self.Conv_0 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
    self.BatchNorm_0 = nnx.BatchNorm(4, rngs=rngs)
    self.Dense_0 = nnx.Linear(4, 4, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.BatchNorm_0(self.Conv_0(x)))
    return self.Dense_0(x.mean((1, 2)))


class Layers(nnx.Module):
  """A list of layers, one of them twice, dropout, and a call that is given random streams."""

  def __init__(self, rngs, rate=0.5):
    self.layers = nnx.List([nnx.Linear(36, 5, rngs=rngs), nnx.Linear(5, 5, rngs=rngs)])
    self.again = self.layers[1]
    self.drop = nnx.Dropout(rate, rngs=rngs)
    self.other = nnx.Dropout(rate)
    self.head = nnx.Linear(5, 4, rngs=rngs)

  def __call__(self, x, rngs):
    x = x.reshape(len(x), -1)
    for layer in self.layers:
      x = nnx.relu(layer(x))
    return self.head(self.other(self.drop(nnx.relu(self.again(x))), rngs=rngs))


class Caching(nnx.Module):
  """Variables of another kind than weights."""

  def __init__(self, rngs):
    self.head = nnx.Linear(36, 4, rngs=rngs)
    self.cache = nnx.Cache(rngs.params.key.get_value())

  def __call__(self, x):
    return self.head(x.reshape(len(x), -1))
