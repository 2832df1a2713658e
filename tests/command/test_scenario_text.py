"""The listing of rules: on the screen, as JSON, in the docs."""

import json
from pathlib import Path

import pytest

from jaxmu.command import cli, console
from jaxmu.data.requests import RULES
from jaxmu.settings.study_sections import ScenarioSettings

PAGE = Path(__file__).parents[2] / "docs" / "scenarios.md"


def ask(capsys, *words):
  code = cli.run(console.main, console.flags(), ["scenarios", *words])
  return code, capsys.readouterr()


def test_every_rule_has_a_line(capsys):
  code, said = ask(capsys)
  assert code == 0
  assert all(f"\n{name} " in said.out for name in RULES)
  assert max(map(len, said.out.splitlines())) <= 96


@pytest.mark.parametrize("name", RULES)
def test_a_rule_names_its_entries_and_its_control(name, capsys):
  code, said = ask(capsys, name)
  words = " ".join(said.out.split())
  assert code == 0 and RULES[name].control in words and RULES[name].summary in words
  for entry in RULES[name].reads:
    assert f"config.scenario.{entry}" in words and hasattr(ScenarioSettings(), entry)


def test_json_and_unknown_names(capsys):
  code, said = ask(capsys, "--json")
  assert code == 0 and set(json.loads(said.out)) == set(RULES)
  code, said = ask(capsys, "clases")
  assert code == 2 and "unknown rule 'clases'; did you mean 'classes'?" in said.err


def test_the_page_has_the_table(capsys):
  code, said = ask(capsys, "--markdown")
  shown = PAGE.read_text().partition("<!-- rules:begin -->\n")[2].partition("<!-- rules:end -->")[0]
  assert code == 0 and shown.strip() == said.out.strip()
