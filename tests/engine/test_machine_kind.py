"""What compiled programs depend on: processors and accelerators apart, equal machines together."""

import os
import re

import jax
import jaxlib
import pytest

from jaxmu.engine import machine_kind
from jaxmu.engine.machine_kind import folder_name

X86 = """processor\t: {number}
vendor_id\t: {vendor}
cpu family\t: 25
model\t\t: 17
model name\t: {name}
cpu MHz\t\t: {mhz}
flags\t\t: {flags}
bogomips\t: 5192.29

"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: {part}
"""
CARD = "Model: \t\t {model}\nIRQ:   \t\t 41\nGPU UUID: \t GPU-1234\n"
CPU, ANY, CUDA = {"JAX_PLATFORMS": "cpu"}, {}, {"JAX_PLATFORMS": "cuda"}


def machine(root, vendor="AMD", name="AMD EPYC", mhz="2596", flags="fpu avx2 avx512f", cards=()):
  (root / "proc").mkdir(parents=True)
  common = {"vendor": vendor, "name": name, "mhz": mhz, "flags": flags}
  text = "".join(X86.format(number=number, **common) for number in range(2))
  (root / "proc" / "cpuinfo").write_text(text)
  for number, model in enumerate(cards):
    folder = root / "proc" / "driver" / "nvidia" / "gpus" / f"0000:{number:02}:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(CARD.format(model=model))
  return root


@pytest.mark.parametrize(
  ("other", "same"),
  [
    ({}, True),
    ({"mhz": "3100", "flags": "avx512f fpu avx2"}, True),
    ({"flags": "fpu avx2"}, False),
    ({"name": "AMD EPYC 9654"}, False),
    ({"vendor": "GenuineIntel"}, False),
  ],
)
def test_processors_of_other_kinds_have_other_folders(tmp_path, other, same):
  one, two = machine(tmp_path / "one"), machine(tmp_path / "two", **other)
  for environment in (CPU, ANY):
    assert (folder_name(environment, one) == folder_name(environment, two)) == same


def test_arm_processors_are_told_apart(tmp_path):
  found = set()
  for part, features in (("0xd0c", "fp asimd"), ("0xd4f", "fp asimd"), ("0xd4f", "fp asimd sve")):
    root = tmp_path / str(len(found))
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(ARM.format(part=part, features=features))
    found.add(folder_name(CPU, root))
  assert len(found) == 3


def test_gpus_name_the_folder(tmp_path):
  one = machine(tmp_path / "one", cards=["NVIDIA H200", "NVIDIA H200"])
  other = machine(tmp_path / "other", name="Intel", cards=["NVIDIA H200"])
  prefix = f"jax{jax.__version__}-jaxlib{jaxlib.__version__}"
  assert folder_name(CUDA, one) == folder_name(CUDA, other) == f"{prefix}-cuda-NVIDIA_H200"
  # Where jax may fall back to the processor, programs may be its programs.
  assert re.fullmatch(prefix + r"-NVIDIA_H200-cpu-\w{12}", folder_name(ANY, one))
  assert folder_name(ANY, one) != folder_name(ANY, other)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_do_not_count(tmp_path, visible):
  with_cards, without = machine(tmp_path / "a", cards=["NVIDIA L4"]), machine(tmp_path / "b")
  hidden = {"CUDA_VISIBLE_DEVICES": visible}
  assert folder_name(hidden, with_cards) == folder_name(hidden, without)
  assert "NVIDIA_L4" in folder_name({"CUDA_VISIBLE_DEVICES": "0"}, with_cards)


def test_tpus_name_the_folder(tmp_path):
  environment = {"JAX_PLATFORMS": "tpu,cpu", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
  assert folder_name(environment, machine(tmp_path)).endswith("-tpu-v5litepod_8")


def test_a_machine_that_says_nothing_has_a_folder(tmp_path):
  assert re.search(r"-cpu-\w{12}$", folder_name(ANY, tmp_path))
  assert folder_name(os.environ, machine_kind.SYSTEM) == folder_name(os.environ)
