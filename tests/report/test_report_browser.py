"""Pages in a real browser: they load nothing beyond themselves, and it finds no error.

Needs chromium; a page that breaks both rules shows that the test sees it.
"""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from support import report_cases, study_cases

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# A page cannot be asked from outside what it loaded, so another one holds it in a frame.
FRAME = """<!DOCTYPE html><body><iframe id="f" src="{name}"></iframe><pre id="found"></pre><script>
document.getElementById("f").onload = event => {{
  const inside = event.target.contentWindow;
  document.getElementById("found").textContent = JSON.stringify({{
    loaded: inside.performance.getEntriesByType("resource").map(each => each.name),
    title: inside.document.title,
    wider: inside.document.documentElement.scrollWidth,
  }});
}};
</script></body>"""
BROKEN = (
  '<!DOCTYPE html><title>x</title><img src="http://never.invalid/a.png"><script>nothing()</script>'
)


def looked_at(folder, page):
  """Open a page; return what it loaded, and what the console said."""
  (folder / "page.html").write_text(page, encoding="utf-8")
  (folder / "frame.html").write_text(FRAME.format(name="page.html"), encoding="utf-8")
  flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
  flags += ("--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}")
  flags += ("--virtual-time-budget=5000", "--dump-dom")
  command = [BROWSER, *flags, f"file://{folder / 'frame.html'}"]
  ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
  found = re.search(r'<pre id="found">(.+?)</pre>', ended.stdout, re.S)
  assert found, ended.stderr[-2000:]
  return json.loads(unescape(found[1])), re.findall(r"CONSOLE.*", ended.stderr)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
def test_what_breaks_the_rules_is_seen(tmp_path):
  found, console = looked_at(tmp_path, BROKEN)
  assert found["loaded"] == ["http://never.invalid/a.png"]
  assert any("nothing is not defined" in line for line in console)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
@pytest.mark.parametrize("kind", ["benchmark", "ulira"])
def test_a_page_asks_for_nothing_and_has_no_error(kind, tmp_path):
  if kind == "benchmark":
    texts = report_cases.texts(report_cases.data())
  else:
    texts = study_cases.texts(study_cases.data(tmp_path / "run"))
  (page,) = (text for text in texts.values() if text.startswith("<!"))
  found, console = looked_at(tmp_path, page)
  assert found["title"] and found["loaded"] == [] and console == []
