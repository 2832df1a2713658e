"""Markdown and LaTeX: escapes, and tables that keep their columns."""

import re
import shutil
import subprocess

import pytest
from support import report_cases as cases

from jaxmu.report import benchmark
from jaxmu.report.writers import html, latex, markdown

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
  assert latex.escaped(given) == wanted


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
  assert markdown.escaped(given) == wanted


def test_every_latex_table_has_one_cell_per_column():
  tex = latex.document(benchmark.compose(cases.data(SMALL)))
  tables = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", tex, re.S)
  assert len(tables) == 6
  for table in tables:
    spec = re.match(r"\\begin\{tabular\}\{(\w+)\}", table).group(1)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(spec) - 1 for row in rows)
  rows = [line for line in tables[0].splitlines() if line.endswith(r"\\")]
  assert len(rows) == 1 + len(SMALL) and rows[1].startswith("Retrained & ")
  rules = [line for line in tables[0].splitlines() if line.endswith("rule")]
  assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
  assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")
  assert tex.isascii() and not re.search(r"(?<!\\)%(?!$)", tex.split("\n", 1)[1], re.M)


def test_captions_are_short_and_notes_stand_beneath():
  tex = latex.document(benchmark.compose(cases.data(SMALL)))
  captions = re.findall(r"\\caption\{(.*)\}", tex)
  assert captions[0] == "Every metric of every method, sorted by RetDev"
  assert all(len(words) < 80 for words in captions)
  assert "Mean $\\pm$ sample standard deviation over 10 seeds" in tex


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs texlive-latex-recommended")
def test_the_latex_document_compiles_by_itself(tmp_path):
  awkward = cases.replace(cases.data(SMALL), config=cases.config("a_b & 5 % #1 ~^ \\ ß 学"))
  (tmp_path / "report.tex").write_text(latex.document(benchmark.compose(awkward)))
  command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "report.tex"]
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout[-800:]
  assert (tmp_path / "report.pdf").stat().st_size > 10_000


def test_latex_marks_the_clear_winner_bold():
  table = cases.rows(SMALL, ga={"T_MIA": 0.5, "V_MIA": 0.5}, ft={"T_MIA": 0.5})
  tex = latex.document(benchmark.compose(cases.data(SMALL, table=table)))
  winner = next(line for line in tex.splitlines() if line.startswith("GA"))
  assert r"\textbf{392}" in winner


def test_markdown_tables_keep_their_columns():
  text = cases.markdown(cases.data(SMALL, [0]))
  tables = [block for block in text.split("\n\n") if block.startswith("|")]
  assert len(tables) == 6  # checks, results, further, other order, distances, clocks
  for block in tables:
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
    assert len(widths) == 1
    assert re.fullmatch(r"\| :-{2,} \|( -{2,}: \|)+", block.splitlines()[1])


def test_markdown_describes_run_methods_and_provenance():
  text = cases.markdown(cases.data(SMALL))
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
  page = html.page(benchmark.compose(cases.data(SMALL)))
  card = page.split('aria-label="Data that GA may touch"')[1].split("</ul>")[0]
  assert re.findall(r'<li( class="not")?>.*?(\w+)</li>', card) == [
    (' class="not"', "retain"),
    ("", "forget"),
    (' class="not"', "val"),
  ]


def test_the_page_explains_every_metric_and_its_limits():
  page = html.page(benchmark.compose(cases.data(SMALL)))
  assert page.count("<b>Cannot tell:</b>") == 8
  for words in ("Retention deviation", "Indiscernibility", "Run-time efficiency", "U-LiRA"):
    assert words in page
