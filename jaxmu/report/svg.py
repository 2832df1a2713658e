"""Drawing primitives: SVG as escaped text, linear and logarithmic scales, axes, markers.

Figures are written by hand and not with matplotlib so that their colours follow the page's light or
dark theme, their text can be selected and read aloud, and equal data give equal bytes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from jaxmu.report.marks import Mark

# Unit outlines, scaled to a marker's radius; areas look alike.
_OUTLINES = {
  "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
  "diamond": ((0, -1.25), (1.15, 0), (0, 1.25), (-1.15, 0)),
  "up": ((0, -1.2), (1.15, 0.85), (-1.15, 0.85)),
  "down": ((0, 1.2), (1.15, -0.85), (-1.15, -0.85)),
  "hexagon": ((1.1, 0), (0.55, 0.95), (-0.55, 0.95), (-1.1, 0), (-0.55, -0.95), (0.55, -0.95)),
}


def num(value: float) -> str:
  """Write a coordinate with at most two decimals."""
  text = f"{value:.2f}".rstrip("0").rstrip(".")
  return "0" if text == "-0" else text


def tag(name: str, *children: str, **attributes) -> Markup:
  """Write an element; `class_` becomes class, `font_size` font-size; text is escaped."""
  parts = []
  for key, value in attributes.items():
    text = num(value) if isinstance(value, int | float) else str(value)
    parts.append(Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), text))
  inside = Markup("").join(escape(child) for child in children)
  return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(parts), inside)


def drawing(
  ident: str, width: float, height: float, title: str, description: str, *children: str
) -> Markup:
  """Wrap marks in a figure that scales with its column and names itself to a screen reader."""
  return tag(
    "svg",
    tag("title", title, id=f"{ident}-title"),
    tag("desc", description, id=f"{ident}-desc"),
    *children,
    xmlns="http://www.w3.org/2000/svg",
    viewBox=f"0 0 {num(width)} {num(height)}",
    role="img",
    aria_labelledby=f"{ident}-title {ident}-desc",
    class_="chart",
  )


def text(x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle") -> Markup:
  """Write words at a point; `kind` is a class of figure.css, `anchor` start, middle or end."""
  return tag("text", words, x=x, y=y, class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
  """Draw a straight line of the class `kind`."""
  return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def path(points: Iterable[tuple[float, float]], kind: str, closed: bool = False) -> Markup:
  """Join points; a NaN coordinate lifts the pen."""
  steps, pen = [], "M"
  for x, y in points:
    if math.isfinite(x) and math.isfinite(y):
      steps.append(f"{pen}{num(x)} {num(y)}")
      pen = "L"
    else:
      pen = "M"
  return tag("path", d="".join(steps) + ("Z" if closed else ""), class_=kind)


def marker(mark: Mark, x: float, y: float, radius: float = 5, words: str = "") -> Markup:
  """Draw a method's marker in its colour; `words` appear on hover."""
  if mark.shape == "target":
    inside = tag("circle", cx=x, cy=y, r=radius, class_="ring")
    inside += tag("circle", cx=x, cy=y, r=radius * 0.35, class_="fill")
  elif mark.shape == "circle":
    inside = tag("circle", cx=x, cy=y, r=radius, class_="fill")
  else:
    corners = [(x + radius * dx, y + radius * dy) for dx, dy in _OUTLINES[mark.shape]]
    inside = path(corners, "fill", closed=True)
  hint = tag("title", words) if words else Markup("")
  return tag("g", hint, inside, class_=f"mark hue-{mark.hue}")


def swatch(mark: Mark) -> Markup:
  """Draw a marker alone, for legends and tables; its meaning stands beside it as text."""
  inside = marker(mark, 7, 7, 4.6)
  return tag("svg", inside, viewBox="0 0 14 14", class_="swatch", aria_hidden="true")


@dataclass(frozen=True)
class Scale:
  """Map values low..high to coordinates start..stop, linearly or by logarithm."""

  low: float
  high: float
  start: float
  stop: float
  log: bool = False

  def at(self, value: float) -> float:
    low, high, value = (self._inner(v) for v in (self.low, self.high, value))
    return self.start + (value - low) / (high - low) * (self.stop - self.start)

  def _inner(self, value: float) -> float:
    return (math.log10(value) if value > 0 else math.nan) if self.log else value

  def ticks(self, count: int = 5) -> list[float]:
    """Return round values inside the scale, about `count` of them."""
    return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, count)


def spanning(
  values: Iterable[float], start: float, stop: float, *, log: bool = False, pad: float = 0.07
) -> Scale:
  """Make a scale that holds the finite values with a margin; 0..1 where there is none."""
  values = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
  low, high = (min(values), max(values)) if values else ((1.0, 10.0) if log else (0.0, 1.0))
  if log:
    low, high = math.log10(low), math.log10(high)
  margin = pad * (high - low) or (0.3 if log else max(abs(low) * 0.1, 0.01))
  low, high = low - margin, high + margin
  return Scale(10**low, 10**high, start, stop, True) if log else Scale(low, high, start, stop)


def axes(
  x: Scale, y: Scale, x_label: str, y_label: str, *, count: int = 5, levels: bool = True
) -> Markup:
  """Draw grid, tick labels and axis labels around the plot that two scales span.

  `levels=False` leaves the y axis bare, for figures with one named line per method.
  """
  parts = []
  for value, label in _labelled(y, count) if levels else ():
    parts += [
      line(x.start, y.at(value), x.stop, y.at(value), "grid"),
      text(x.start - 6, y.at(value) + 3.5, label, anchor="end"),
    ]
  for value, label in _labelled(x, count):
    parts += [
      line(x.at(value), y.start, x.at(value), y.stop, "grid"),
      text(x.at(value), y.start + 14, label),
    ]
  parts.append(line(x.start, y.start, x.stop, y.start, "axis"))
  if x_label:
    parts.append(text((x.start + x.stop) / 2, y.start + 31, x_label, "label"))
  if y_label:
    parts.append(text(x.start - 34, y.stop - 9, y_label, "label", "start"))
  return tag("g", *parts)


def _labelled(scale: Scale, count: int) -> list[tuple[float, str]]:
  ticks = scale.ticks(count)
  if scale.log:
    return [(v, f"{v:g}" if 1e-3 <= v < 1e5 else f"{v:.0e}".replace("e-0", "e-")) for v in ticks]
  if any(abs(v) >= 1e4 for v in ticks):
    return [(v, f"{v:.3g}".replace("e+0", "e").replace("-", "−")) for v in ticks]
  step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1
  digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
  digits += step > 0 and not math.isclose(round(step, digits), step, rel_tol=1e-6)
  return [(v, f"{v:.{digits}f}".replace("-", "−")) for v in ticks]


def _ticks(low: float, high: float, count: int) -> list[float]:
  raw = (high - low) / count
  unit = 10 ** math.floor(math.log10(raw))
  step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
  first = math.ceil(low / step - 1e-9)
  return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
    inside = [m * 10.0**d for d in decades for m in factors if low <= m * 10.0**d <= high]
    if len(inside) >= 3:
      return inside[:: math.ceil(len(inside) / 7)]
  return _ticks(low, high, 4)
