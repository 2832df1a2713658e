"""Reads a page back and checks that it is well formed."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
  """Collects tags with their attributes and checks that they close in order."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open = [], []
    self.feed(text)
    assert not self.open, f"never closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def named(self, *names):
    return [attributes for tag, attributes in self.tags if tag in names]
