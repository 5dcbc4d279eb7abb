"""Drawings: scales, ticks, texts and marks of an SVG that needs no script, no font and no network.

Text is measured by the width of a wide typeface (DejaVu Sans), so that with any other there is room
to spare. Colours are variables of the page: see look.css.
"""

import html
import math

WIDTH = 720  # the drawing's own units; on the page it is as wide as the column
FONT = 12
MARGIN = 16  # around a drawing that is a file of its own
MARKERS = {
    "circle": "M{x0} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0",
    "square": "M{x0} {x0}h{d}v{d}h-{d}z",
    "triangle": "M0 {x0}L{r} {r}H{x0}z",
    "diamond": "M0 {y1}L{s} 0L0 {s}L{y1} 0z",
    "down": "M0 {r}L{r} {x0}H{x0}z",
    "cross": "M{x0} {x0}L{r} {r}M{x0} {r}L{r} {x0}",
    "plus": "M0 {y1}V{s}M{y1} 0H{s}",
    "ring": "M{x0} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0",
}
OPEN_MARKERS = ("cross", "plus", "ring")
DASHES = ("", "6 3", "2 3", "9 3 2 3")


def text_width(text, size=FONT):
    return len(text) * size * 0.57


def wrapped(text, width, size=FONT):
    """The text in lines that fit into the width; a word that is longer has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def fitted(text, width, size=FONT):
    """As much of the text as fits into the width."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def short(value):
    """Rounds to three significant digits at most, or to a whole number: 0.046, 4.57, 12.3, 1,234."""
    if value == 0:
        return "0"
    if value < 1:
        return f"{value:.3g}" if value < 0.1 else f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


# ---- scales -------------------------------------------------------------------------------------


def linear(low, high, begin, end):
    span = (high - low) or 1
    return lambda value: begin + (value - low) / span * (end - begin)


def logarithmic(low, high, begin, end):
    place = linear(math.log(low), math.log(high), begin, end)
    return lambda value: place(math.log(value))


def linear_ticks(low, high, about=5):
    """Round numbers from low to high."""
    step = 10 ** math.floor(math.log10(((high - low) or 1) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low, high):
    """1, 2, 5, 10, ... or only powers of ten if there are many."""
    factors = (1, 2, 5) if high / low < 2000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def apart(ticks, place, distance):
    """The ticks that are far enough from the last one kept."""
    kept = []
    for tick in ticks:
        if not kept or abs(place(tick) - place(kept[-1])) >= distance:
            kept.append(tick)
    return kept


def spread(wanted, gap, low, high):
    """Places near the wanted ones, at least a gap apart, between low and high if there is room."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = [wanted[index] for index in order]
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + gap)
    limit = high
    for number in reversed(range(len(places))):
        places[number] = min(places[number], limit)
        limit = places[number] - gap
    limit = low
    for number in range(len(places)):
        places[number] = max(places[number], limit)
        limit = places[number] + gap
    found = [0.0] * len(wanted)
    for index, place in zip(order, places):
        found[index] = place
    return found


# ---- the drawing --------------------------------------------------------------------------------


def attributes(pairs):
    """{'class_': 'a', 'data_value': 1} as XML."""
    return "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(number(value))}"'
        for key, value in pairs.items() if value not in (None, "")
    )  # fmt: skip


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def data(**values):
    """The value that a mark stands for, as in the results: the tests compare it."""
    return {f"data_{key}": repr(value) if isinstance(value, float) else value
            for key, value in values.items()}  # fmt: skip


class Drawing:
    def __init__(self, name, title, description):
        self.name, self.title, self.description = name, title, description
        self.parts, self.height = [], 0

    def add(self, tag, tip="", **pairs):
        inside = f"<title>{html.escape(tip)}</title>" if tip else ""
        self.parts.append(f"<{tag}{attributes(pairs)}>{inside}</{tag}>")

    def line(self, x1, y1, x2, y2, class_="axis", **pairs):
        self.add("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_, **pairs)

    def bar(self, x, y, width, height, class_, tip="", **pairs):
        self.add("rect", tip, x=float(x), y=float(y), width=float(width), height=float(height),
                 class_=class_, **pairs)  # fmt: skip

    def text(self, x, y, text, class_="", anchor=None):
        pairs = {"x": float(x), "y": float(y), "class_": class_, "text_anchor": anchor}
        self.parts.append(f"<text{attributes(pairs)}>{html.escape(text)}</text>")

    def lines(self, x, y, lines, class_=""):
        """Lines of text around the height y."""
        top = y + 4 - 7 * (len(lines) - 1)
        for count, line in enumerate(lines):
            self.text(x, top + 14 * count, line, class_)

    def path(self, points, class_, dash=""):
        way = "L".join(f"{number(float(x))} {number(float(y))}" for x, y in points)
        self.add("path", d=f"M{way}", class_=class_, stroke_dasharray=dash)

    def marker(self, shape, x, y, class_, tip="", **pairs):
        r = 3.6
        way = MARKERS[shape].format(r=r, d=2 * r, x0=-r, s=1.35 * r, y1=-1.35 * r)
        open_ = " open" if shape in OPEN_MARKERS else ""
        self.add("path", tip, d=way, transform=f"translate({number(float(x))} {number(float(y))})",
                 class_=f"mark {class_}{open_}", **pairs)  # fmt: skip

    def size_alone(self):
        return WIDTH + 2 * MARGIN, round(self.height) + 2 * MARGIN

    def render(self, style=""):
        """The element; with a style, a file of its own."""
        alone = ' xmlns="http://www.w3.org/2000/svg"' if style else ""
        width, height = self.size_alone() if style else (WIDTH, round(self.height))
        edge = -MARGIN if style else 0
        size = f' width="{width}" height="{height}"' if style else ""
        paper = f'<rect class="paper" x="{edge}" y="{edge}" width="{width}" height="{height}"/>'
        inner = f"<style>{style}</style>{paper}" if style else ""
        name = self.name
        return (
            f'<svg{alone}{size} id="chart-{name}" class="chart" viewBox="{edge} {edge} {width} {height}"'
            ' role="img" '
            f'aria-labelledby="{name}-title {name}-description">'
            f'<title id="{name}-title">{html.escape(self.title)}</title>'
            f'<desc id="{name}-description">{html.escape(self.description)}</desc>'
            f'{inner}{"".join(self.parts)}</svg>'
        )
