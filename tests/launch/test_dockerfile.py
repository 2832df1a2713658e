"""The image: what it copies is there, what it installs is declared, what it starts exists."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "CMD"}


def instructions():
  text = (ROOT / "Dockerfile").read_text()
  lines = re.sub(r"\\\n", " ", text).splitlines()
  return [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]


def project():
  return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_instruction_is_one():
  found = instructions()
  assert {name for name, _ in found} <= KNOWN
  assert found[0][0] == "FROM" and found[-1][0] == "CMD"


def test_what_is_copied_is_there_and_not_ignored():
  kept = (ROOT / ".dockerignore").read_text().splitlines()
  for name, rest in instructions():
    if name == "COPY":
      *sources, _ = rest.split()
      assert sources
      for source in sources:
        assert (ROOT / source).exists() and f"!{source}" in kept


def test_python_and_extras_are_those_of_the_project():
  (base,) = [rest for name, rest in instructions() if name == "FROM"]
  version = tuple(map(int, re.fullmatch(r"python:(\d+\.\d+)-slim", base)[1].split(".")))
  lowest = re.search(r"(\d+)\.(\d+)", project()["requires-python"]).groups()
  assert version >= tuple(map(int, lowest))
  text = (ROOT / "Dockerfile").read_text()
  extras = [one for found in re.findall(r"EXTRA=([\w,]+)", text) for one in found.split(",")]
  assert "bench" in extras and set(extras) <= set(project()["optional-dependencies"])


def test_it_starts_a_command_that_is_installed():
  _, words = instructions()[-1]
  assert json.loads(words)[0] in project()["scripts"]
  script, config = re.search(r"python (bin/\w+\.py) --config=(\S+)", dockerfile()).groups()
  assert (ROOT / script).exists() and (ROOT / config).exists()


def dockerfile():
  return (ROOT / "Dockerfile").read_text()
