"""Markdown and LaTeX: escapes, and tables that keep their columns."""

import re

import pytest
from support import report_cases as cases

from jaxmu import report
from jaxmu.report import documents

SMALL = ("original", "retrained", "ft", "ga", "ff")


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ("a_b & 5 % of #1", r"a\_b \& 5 \% of \#1"),
    ("{x}$y$", r"\{x\}\$y\$"),
    ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
    ("0.5 ± 0.1", r"0.5 $\pm$ 0.1"),
    ("|RR−1|", r"$\vert$RR$-$1$\vert$"),
  ],
)
def test_latex_escapes_every_special_character_once(given, wanted):
  assert documents.latex(given) == wanted


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ("a|b", r"a\|b"),
    ("resnet18_cifar10", "resnet18_cifar10"),
    ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
    ("[x](y) [0.1, 0.2]", r"[x]\(y) [0.1, 0.2]"),
    ("<b>\nline", "&lt;b&gt; line"),
  ],
)
def test_markdown_escapes_markup_and_leaves_words_alone(given, wanted):
  assert documents.markdown_text(given) == wanted


def test_the_latex_table_has_one_cell_per_column():
  tex = report.render(cases.data(SMALL))["report.tex"]
  spec = re.search(r"\\begin\{tabular\}\{(\w+)\}", tex).group(1)
  rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
  assert spec == "l" + "r" * 9 and len(rows) == 1 + len(SMALL)
  assert all(len(re.findall(r"(?<!\\)&", row)) == len(spec) - 1 for row in rows)
  rules = [line for line in tex.splitlines() if line.endswith("rule")]
  assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
  assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")
  assert not re.search(r"(?<!\\)%", tex.split("\n", 1)[1])


def test_latex_marks_the_clear_winner_bold():
  table = cases.rows(SMALL, ga={"T_MIA": 0.5, "V_MIA": 0.5}, ft={"T_MIA": 0.5})
  tex = report.render(cases.data(SMALL, table=table))["report.tex"]
  winner = next(line for line in tex.splitlines() if line.startswith("GA"))
  assert r"\textbf{392}" in winner


def test_markdown_tables_keep_their_columns():
  text = report.render(cases.data(SMALL, [0]))["report.md"]
  tables = [block for block in text.split("\n\n") if block.startswith("|")]
  assert len(tables) == 4
  for block in tables:
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
    assert len(widths) == 1
    assert re.fullmatch(r"\| :-{2,} \|( -{2,}: \|)+", block.splitlines()[1])


def test_markdown_describes_run_methods_and_provenance():
  text = report.render(cases.data(SMALL))["report.md"]
  for words in (
    "resnet18 on cifar10, 10 seeds",
    "Split sizes: train 42,500, retain 38,250, forget 4,250, val 7,500, test 10,000",
    "Split hash: 0123456789ab\n",
    "Command: python bin/sweep.py --config=configs/resnet18_cifar10.py:mini",
    "Touches: forget. learning_rate = 0.001; momentum = 0.9; batch_size = 64",
    "run-time efficiency of a method",
    f"Data SHA-256: {'ab' * 32}",
  ):
    assert words in text


def test_the_page_shows_what_each_method_may_touch():
  html = report.render(cases.data(SMALL))["report.html"]
  card = html.split('aria-label="Data that GA may touch"')[1].split("</ul>")[0]
  assert re.findall(r'<li( class="not")?>.*?(\w+)</li>', card) == [
    (' class="not"', "retain"),
    ("", "forget"),
    (' class="not"', "val"),
  ]


def test_the_page_explains_every_metric_and_its_limits():
  html = report.render(cases.data(SMALL))["report.html"]
  assert html.count("<b>Cannot tell:</b>") == 8
  for words in ("Retention deviation", "Indiscernibility", "Run-time efficiency", "U-LiRA"):
    assert words in html
