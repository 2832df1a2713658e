"""Training programs in PyTorch: eager and compiled, one model after another, and vmapped."""

import problems
import torch
from torch import nn
from torch_models import Cnn, ResNet18
from torch_tinyvit import TinyViT

from jaxmu.engine.runtime import cores

NETWORKS = {
  "resnet18": ResNet18,
  "cnn": Cnn,
  "tinyvit": TinyViT,
  "tinyvit-short-cut": lambda: TinyViT(short_cut=True),
}


def data(args, layout=torch.contiguous_format):
  """Return uint8 images [n, C, H, W] and labels [n]."""
  x, y = problems.images(args.model, args.batch * args.steps)
  images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
  return images, torch.from_numpy(y).long()


def sequential(layout=torch.contiguous_format, threads=0, compiled=False, short_cut=False):
  """Make a program that trains one model after another, with `threads` threads (0: all cores)."""

  def program(args, mark):
    torch.set_num_threads(threads or cores())
    device, numbers = torch.device(where()), getattr(args, "numbers", "float32")
    tf32 = numbers == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    rounded = torch.autocast(device.type, torch.bfloat16, enabled=numbers == "bfloat16")
    x, y = (tensor.to(device) for tensor in data(args, layout))
    network = NETWORKS[args.model + ("-short-cut" if short_cut else "")]
    nets = [network().to(device, memory_format=layout) for _ in range(args.members)]
    recipe = {"lr" if k == "learning_rate" else k: v for k, v in problems.RECIPE.items()}
    optimizers = [torch.optim.SGD(net.parameters(), **recipe) for net in nets]
    calls = [torch.compile(net) if compiled else net for net in nets]
    loss = nn.CrossEntropyLoss()

    def train(net, optimizer):
      for index in torch.randperm(len(y)).split(args.batch):
        batch = (x[index].float() / 255 - problems.MEAN) / problems.STD
        optimizer.zero_grad(set_to_none=True)
        with rounded:
          value = loss(net(batch.contiguous(memory_format=layout)), y[index])
        value.backward()
        optimizer.step()

    mark()
    while True:
      for net, optimizer in zip(calls, optimizers):
        train(net, optimizer)
      if device.type == "cuda":
        torch.cuda.synchronize()
      mark()

  return program


def where() -> str:
  """Name the device that models are trained on."""
  return "cuda" if torch.cuda.is_available() else "cpu"


def vmapped(args, mark) -> None:
  """Train all members in one `torch.func.vmap` of gradients, and one stacked SGD update."""
  from torch.func import functional_call, grad, stack_module_state, vmap

  torch.set_num_threads(cores())
  x, y = data(args)
  nets = [NETWORKS[args.model]() for _ in range(args.members)]
  params, buffers = stack_module_state(nets)
  params = {name: value.detach() for name, value in params.items()}
  for name, value in list(buffers.items()):
    if not value.is_floating_point():  # step counters cannot be batched in place
      buffers[name] = value.float()
  recipe, momentum = problems.RECIPE, {name: torch.zeros_like(p) for name, p in params.items()}
  net = nets[0].to("meta")
  loss = nn.CrossEntropyLoss()

  def objective(params, buffers, batch, labels):
    return loss(functional_call(net, (params, buffers), (batch,)), labels)

  gradients = vmap(grad(objective), randomness="different")
  mark()
  while True:
    orders = torch.stack([torch.randperm(len(y)) for _ in nets])
    for index in orders.split(args.batch, 1):
      batch = (x[index].float() / 255 - problems.MEAN) / problems.STD
      grads = gradients(params, buffers, batch, y[index])
      with torch.no_grad():
        for name, p in params.items():
          momentum[name].mul_(recipe["momentum"]).add_(grads[name] + recipe["weight_decay"] * p)
          p.sub_(momentum[name], alpha=recipe["learning_rate"])
    mark()


PROGRAMS = {
  "torch-eager": sequential(),
  "torch-eager-channels-last": sequential(torch.channels_last),
  "torch-eager-1-thread": sequential(threads=1),
  "torch-short-cut": sequential(short_cut=True),
  "torch-short-cut-channels-last": sequential(torch.channels_last, short_cut=True),
  "torch-compile": sequential(compiled=True),
  "torch-compile-channels-last": sequential(torch.channels_last, compiled=True),
  "torch-vmap": vmapped,
}
