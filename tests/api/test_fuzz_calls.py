"""Bad calls of every kind: each is refused in one line, before anything is compiled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import problems
from support.refusals import refused
from support.user_networks import Dropping, Stock, ft
from support.wrong_networks import ONE, Bit, Tensor, stack

from jaxmu.errors import DataError, MethodError, ModelError

X, Y = problems.samples()
PARTS = {"retain": slice(0, 22), "forget": slice(22, 32), "validation": slice(32, 38)}
RETAIN, FORGET, VALIDATION = ((X[part], Y[part]) for part in PARTS.values())


class Silent(nn.Module):
  """A network without a call."""

  width: int = 3


def cast(kind):
  return lambda leaf: leaf.astype(kind)


def images(change):
  return lambda v: {"forget": (change(FORGET[0]), FORGET[1])}


def labels(change):
  return lambda v: {"forget": (FORGET[0], change(FORGET[1]))}


def pixels(**change):
  """Store all sets as uint8, to be normalised."""
  stored = {name: (X[part].astype("u1"), Y[part]) for name, part in PARTS.items()}
  return lambda v: {**stored, "mean": 0.5, "std": 0.5, **change}


def variables(change):
  """Replace the variables by what `change` makes of them."""
  return lambda v: {"variables": change(v)}


def leaf(value):
  """Replace the bias of the convolution."""
  params = lambda v: {**v["params"], "Conv_0": {**v["params"]["Conv_0"], "bias": value}}
  return variables(lambda v: {**v, "params": params(v)})


def extra(collection):
  """Add a leaf that the network does not have."""
  other = {"Other_0": {"kernel": np.ones(3, "f")}}
  return variables(lambda v: {**v, collection: {**v.get(collection, {}), **other}})


BIAS = np.zeros(4, "f")
# What changes in a good call of `unlearn`, the type of the answer, and part of it.
UNLEARN = {
  # images
  "uint8": (
    images(cast("u1")),
    DataError,
    "forget: images must be float and normalised, got uint8; or give mean= and std=, or preproc",
  ),
  "bool": (images(cast("?")), DataError, "images must be float and normalised, got bool"),
  "complex": (images(cast("c8")), DataError, "images must be float and normalised, got complex64"),
  "text": (images(cast("U3")), DataError, "images must be float and normalised, got str"),
  "float8": (images(jnp.float8_e4m3fn), DataError, "images must be float32, as weights and losses"),
  "tensor that is none": (
    images(lambda x: Tensor()),
    DataError,
    "forget: Tensor cannot be read as an array (Got unsupported ScalarType Half); expected numb",
  ),
  "masked": (images(np.ma.masked_invalid), DataError, "forget: got a masked array, whose mask"),
  "ragged": (
    images(lambda x: [x[0].tolist(), x[1, :3].tolist()]),
    DataError,
    "forget: list cannot be read as an array (setting an array element with a sequence",
  ),
  "none": (images(lambda x: None), DataError, "forget: expected an array of numbers, got None"),
  "objects": (
    images(lambda x: [object()]),
    DataError,
    "forget: expected an array of numbers, got [",
  ),
  "no samples": (
    images(lambda x: x[:0]),
    DataError,
    "must have shape [n >= 1, ...], got (0, 6",
  ),
  "no pixels": (images(lambda x: x[:, :0]), DataError, "[n >= 1, ...], got (10, 0, 6, 1)"),
  "no channels": (images(lambda x: x[..., :0]), DataError, "[n >= 1, ...], got (10, 6, 6, 0)"),
  "one image": (images(lambda x: x[0]), DataError, "forget: labels must be integers of shape (6,)"),
  "one pixel row": (images(lambda x: x[0, 0, :, 0]), DataError, "[n >= 1, ...], got (6,)"),
  "nan": (images(lambda x: x * np.nan), DataError, "10 images hold NaN or infinity, the first at"),
  "other size": (images(lambda x: x[:, 1:]), DataError, "those of another set (5, 6, 1)"),
  "channels first": (
    lambda v: {name: (X[part].reshape(-1, 1, 6, 6), Y[part]) for name, part in PARTS.items()},
    ModelError,
    "channels come last here, as in [batch, height, width, 1]",
  ),
  # what is done to them
  "mean alone": (
    lambda v: {"mean": 0.5},
    DataError,
    "mean= was given without std=; expected both, or none",
  ),
  "std alone": (lambda v: {"std": 0.5}, DataError, "std= was given without mean="),
  "mean of floats": (
    lambda v: {"mean": 0.5, "std": 0.5},
    DataError,
    "forget: mean= and std= are of uint8 images, got float32; normalise them yourself, or give pre",
  ),
  "mean of 255": (pixels(mean=128), DataError, "mean must be a number or 1 of them, one per chan"),
  "std 0": (pixels(std=0), DataError, "std must be a number or 1 of them, one per channel, of pix"),
  "mean text": (pixels(mean="a"), DataError, "in [0, 1]; got 'a'"),
  "mean nan": (pixels(mean=np.nan), DataError, "in [0, 1]; got nan"),
  "mean of pairs": (pixels(mean=np.ones((2, 2))), DataError, "; got float64 of shape (2, 2)"),
  "mean and function": (
    pixels(preprocess=np.negative),
    DataError,
    "preprocess= was given with mean= and std=; expected one or the other",
  ),
  "no function": (lambda v: {"preprocess": 3}, DataError, "preprocess must be a function of a bat"),
  "function fails": (
    lambda v: {"preprocess": lambda x: np.asarray(x) / 255},
    DataError,
    "preprocess cannot be applied to float32 of shape (2, 6, 6, 1), traced by jax: TracerArrayConv",
  ),
  "function of integers": (
    lambda v: {"preprocess": lambda x: x.astype(int)},
    DataError,
    "preprocess must give floats of shape (2, ...) here, got int32 of shape (2, 6, 6, 1)",
  ),
  "function of a sum": (
    lambda v: {"preprocess": lambda x: x.sum(0)},
    DataError,
    "preprocess must give floats of shape (2, ...) here, got float32 of shape (6, 6, 1)",
  ),
  "one set of uint8": (
    lambda v: {
      "preprocess": lambda x: x.astype(jnp.float32),
      "forget": (FORGET[0].astype("u1"), FORGET[1]),
    },
    DataError,
    "retain: images are float32, those of another set uint8",
  ),
  # labels
  "labels float": (labels(cast("f4")), DataError, "labels must be integers of shape (10,), got fl"),
  "labels bool": (labels(cast("?")), DataError, "labels must be integers of shape (10,), got bool"),
  "labels none": (labels(lambda y: None), DataError, "forget: expected an array of numbers, got N"),
  "labels 2**64-1": (
    labels(lambda y: np.uint64(2**64 - 1) + 0 * y.astype("u8")),
    DataError,
    f"labels must lie in 0..3, got {2**64 - 1}..{2**64 - 1}",
  ),
  "labels 2**32": (
    labels(lambda y: y + np.int64(2**32)),
    DataError,
    "labels must lie in 0..3, got 42949672",
  ),
  "labels 2**31": (labels(lambda y: y.astype("u4") + 2**31), DataError, "labels must lie in 0..3"),
  "one-hot": (labels(lambda y: np.eye(4)[y]), DataError, "of shape (10,), got float64 (10, 4)"),
  "labels masked": (labels(np.ma.MaskedArray), DataError, "got a masked array"),
  # sets
  "dictionary": (lambda v: {"forget": {"x": 1, "y": 2}}, DataError, "forget must be a pair (x, y)"),
  "triple": (
    lambda v: {"retain": (*RETAIN, 1)},
    DataError,
    "retain must be a pair (x, y), got tup",
  ),
  "unneeded set": (lambda v: {"validation": "nonsense"}, DataError, "validation must be a pair (x"),
  "missing set": (
    lambda v: {"forget": None},
    MethodError,
    "msg needs forget=(x, y), which was not",
  ),
  "retain has all": (
    lambda v: {"retain": (X[:32], Y[:32])},
    DataError,
    "forget and retain share 10 of the 10 samples of forget (forget 0 is retain 22); expected disj",
  ),
  "retain twice": (
    lambda v: {"forget": RETAIN},
    DataError,
    "forget and retain share 22 of the 22 samples of forget",
  ),
  "one shared": (
    lambda v: {"validation": (X[31:38], Y[31:38])},
    DataError,
    "forget and validation share 1 of the 7 samples of validation (validation 0 is forget 9)",
  ),
  "shared with what is not needed": (
    lambda v: {"method": "ft", "forget": RETAIN},
    DataError,
    "forget and retain share 22",
  ),
  # variables
  "nothing": (variables(lambda v: None), ModelError, "with 'params' (and 'batch_stats'), got None"),
  "no params": (variables(lambda v: {}), ModelError, "variables must be a mapping with 'params'"),
  "params empty": (variables(lambda v: {"params": {}}), ModelError, "variables hold no parameters"),
  "params alone": (
    variables(lambda v: v["params"]),
    ModelError,
    "got ['BatchNorm_0', 'Conv_0', 'D",
  ),
  "statistics left out": (
    variables(lambda v: {"params": v["params"]}),
    ModelError,
    "Stock does not accept images of shape (1, 6, 6, 1): ",
  ),
  "other collection": (
    extra("cache"),
    ModelError,
    "variables hold the collection 'cache', which is not supported and would be lost; expected",
  ),
  "extra parameter": (
    extra("params"),
    ModelError,
    "variables hold params/Other_0/kernel, which Stock does not have; expected the variables of th",
  ),
  "extra statistics": (
    extra("batch_stats"),
    ModelError,
    "variables hold batch_stats/Other_0/kernel, which Stock does not have",
  ),
  "statistics too many": (
    lambda v: {"model": Dropping(), "variables": v},
    ModelError,
    "Dropping does not accept images of shape (1, 6, 6, 1)",
  ),
  "leaf none": (leaf(None), ModelError, "variables: params/Conv_0/bias is None; expected an array"),
  "leaf list": (leaf([0, 0]), ModelError, "params/Conv_0/bias is [0, 0]; expected an array"),
  "leaf text": (leaf(np.array("ab")), ModelError, "params/Conv_0/bias is str64; expected float32"),
  "leaf nan": (
    leaf(BIAS * np.nan),
    ModelError,
    "params/Conv_0/bias holds NaN or infinity; expected",
  ),
  "leaf float8": (
    leaf(jnp.zeros(4, jnp.float8_e4m3fn)),
    ModelError,
    "params/Conv_0/bias is float8_e4m3fn; expected float32: convert all of them with jax.tree.map(",
  ),
  "leaf integer": (
    leaf(np.zeros(4, int)),
    ModelError,
    "params/Conv_0/bias is int64; expected float",
  ),
  "leaf complex": (
    leaf(np.zeros(4, "c8")),
    ModelError,
    "params/Conv_0/bias is complex64; expected",
  ),
  "leaf masked": (
    leaf(np.ma.masked_equal(BIAS, 1)),
    ModelError,
    "variables: params/Conv_0/bias: got a masked array",
  ),
  "leaf of another shape": (
    leaf(np.zeros(5, "f")),
    ModelError,
    "Stock does not accept images of sh",
  ),
  # networks
  "class": (lambda v: {"model": Stock}, ModelError, "instance of flax.linen.Module, got <class"),
  "nnx": (
    lambda v: {"model": Bit()},
    ModelError,
    "variables of Bit, an nnx module, must be its nnx.State, or left out; got {'batch_stats'",
  ),
  "function": (
    lambda v: {"model": v.get},
    ModelError,
    "instance of flax.linen.Module, got <built-",
  ),
  "no call": (
    lambda v: {"model": Silent()},
    ModelError,
    "Silent cannot be called: it has no method",
  ),
  "raises": (
    lambda v: stack("raises"),
    ModelError,
    "Stack cannot be called on images of shape (1, 6, 6, 1): RuntimeError: no such layer",
  ),
  "asserts": (lambda v: stack("wrong size"), ModelError, "AssertionError: images of 32 pixels"),
  "integer logits": (
    lambda v: stack("count"),
    ModelError,
    "must return logits that are float, got",
  ),
  "list": (
    lambda v: stack("list"),
    ModelError,
    "must return logits of shape (1, classes), got lis",
  ),
  "one logit": (
    lambda v: stack("one", ONE),
    ModelError,
    "Stack has a binary head, one logit per sample; expected a logit for each of at least 2",
  ),
  "noise": (
    lambda v: stack("noise"),
    ModelError,
    "Stack draws from the random stream 'noise', which nothing feeds; the one that is fed in train",
  ),
  "two outputs in train mode": (
    lambda v: stack("two in train mode"),
    ModelError,
    "Stack must return logits of shape (2, classes), got tuple",
  ),
  # the rest
  "no method": (lambda v: {"method": None}, MethodError, "name of jaxmu.methods(), got None"),
  "list of methods": (lambda v: {"method": ["ft"]}, MethodError, "jaxmu.methods(), got ['ft']"),
  "seed -1": (lambda v: {"key": -1}, MethodError, "key must be a whole number at least 0 and at"),
  "seed 2**32": (lambda v: {"key": 2**32}, MethodError, "most 4294967295 where it is a seed, got"),
  "seed 1.5": (lambda v: {"key": 1.5}, MethodError, "key must be a seed or one threefry key, such"),
  "seed true": (lambda v: {"key": True}, MethodError, "key must be a seed or one threefry key"),
  "two keys": (
    lambda v: {"key": jax.random.split(jax.random.key(0))},
    MethodError,
    "key must be a seed or one threefry key, such as jax.random.key(0); got key<fry> of shape (2,)",
  ),
  "other keys": (
    lambda v: {"key": jax.random.key(0, impl="rbg")},
    MethodError,
    "key must be a seed or one threefry key, such as jax.random.key(0); got key<rbg> of shape ()",
  ),
  "shuffle text": (
    lambda v: {"shuffle": "no"},
    MethodError,
    "shuffle must be True or False, got 'n",
  ),
  "fidelity list": (
    lambda v: {"fidelity": ["x"]},
    MethodError,
    "fidelity must be default, referen",
  ),
  "randomness": (
    lambda v: {"randomness": 7},
    MethodError,
    "randomness must map draws to arrays, go",
  ),
  "draw none": (
    lambda v: {"randomness": {"subset": None}},
    MethodError,
    "randomness: subset: expected an array of numbers, got None",
  ),
  "draw text": (
    lambda v: {"randomness": {"fresh": {"Conv_0": "zeros"}}},
    MethodError,
    "randomness: fresh/Conv_0 must hold numbers, got <U5 of shape ()",
  ),
  "hyper-parameter": (lambda v: {"epochs": 3}, MethodError, "msg has no hyper-parameter 'epochs'"),
}


@pytest.mark.parametrize("case", UNLEARN)
def test_unlearn(case, stock, uncompiled):
  change, error, message = UNLEARN[case]
  sets = {"retain": RETAIN, "forget": FORGET, "validation": VALIDATION}
  refused(lambda: ft(stock, sets, **{"method": "msg", **sets, **change(stock)}), error, message)
