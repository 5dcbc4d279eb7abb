"""The charts with a line for each server: percentiles of latency, and CPU time with more connections."""

import math

import results as lab_results
from charts import Chart
from pairs import samples_needed

from svg import (DASHES, MARKERS, WIDTH, Drawing, apart, data, fitted, linear, linear_ticks, log_ticks, logarithmic,
                 short, spread, text_width)  # fmt: skip

RIGHT = 500  # where the labels of the lines begin, a little further on
PANEL = 210
LINE_GAP = 15
KEPT_SHARE = 0.95  # of a rate; less is not kept
SHAPES = tuple(MARKERS)


class Style:
    """Colour, marker and dashes together: no line is identified by its colour alone."""

    def __init__(self, number, variation=0):
        self.colour, self.shape = f"s{number % 8}", SHAPES[number % len(SHAPES)]
        self.dash = DASHES[(number // 8 + variation) % len(DASHES)]


def style_of_step(row, number):
    step = int(row["step"]) if row.get("step", "").isdecimal() else number
    return Style(step, 1 if lab_results.is_on_epoll(row) else 0)


def draw_labels(drawing, ends, top, bottom):
    """A name beside the end of each line: (x, y, label, style)."""
    places = spread([y for _, y, _, _ in ends], LINE_GAP, top, bottom)
    for (x, y, label, style), place in zip(ends, places):
        drawing.path([(x + 5, y), (RIGHT + 6, place), (RIGHT + 14, place)], "lead", "1 2")
        drawing.parts[-1] = drawing.parts[-1].replace("<path", '<path fill="none"')
        drawing.path([(RIGHT + 15, place), (RIGHT + 37, place)], f"curve {style.colour}", style.dash)
        drawing.marker(style.shape, RIGHT + 26, place, style.colour)
        drawing.text(RIGHT + 43, place + 4, fitted(label, WIDTH - RIGHT - 43))


def name_of(row):
    return row["name"].replace("_", " ") + (", epoll" if lab_results.is_on_epoll(row) else "")


def panel_height(count):
    return max(PANEL, LINE_GAP * (count + 1))


# ---- latency ------------------------------------------------------------------------------------


def trusted(curve):
    """Points (percentile, µs) below 100 with enough samples."""
    points = []
    for point in curve.get("percentiles", ()):
        if len(point) == 2 and 0 < point[0] < 100 and point[1] > 0:
            if curve.get("samples", math.inf) >= samples_needed(point[0]):
                points.append(tuple(point))
    return sorted(points)


def left_out(rows):
    """How many of the given percentiles rest on too few samples."""
    curves = [curve for row in rows for curve in row.get("latency", ())]
    given = [
        point
        for curve in curves
        for point in curve.get("percentiles", ())
        if len(point) == 2 and 0 < point[0] < 100
    ]
    return len(given) - sum(len(trusted(curve)) for curve in curves)


def too_slow(rows):
    """(row, curve) of all that did not keep the requested rate."""
    for row in rows:
        for curve in row.get("latency", ()) if "skipped" not in row else ():
            if curve.get("reached_per_s", math.inf) < KEPT_SHARE * curve.get("rate_per_s", 0):
                yield row, curve


def at_load(curve):
    return f" at load {curve['load']:g}" if "load" in curve else ""


def by_load(rows):
    """{load: [(number of the row, row, curve, points)]}, smallest load first."""
    loads = {}
    for number, row in enumerate(rows):
        for curve in row.get("latency", ()) if "skipped" not in row else ():
            points = trusted(curve)
            if points:
                loads.setdefault(curve.get("load", 0), []).append((number, row, curve, points))
    return dict(sorted(loads.items()))


def share(percentile):
    """The place on the axis: 90, 99 and 99.9 are equally far apart."""
    return -math.log10(1 - percentile / 100)


def short_label(row):
    return f"{row['step']} {name_of(row)}"


def latency_of_ladder(results):
    return latency(
        "latency-ladder",
        results["ladder"],
        short_label,
        style_of_step,
        "The steps' latency was not measured, or too few samples were taken for a curve.",
    )


def latency(name, rows, label, style, missing):
    loads = by_load(rows)
    if not any(len(points) > 1 for lines in loads.values() for *_, points in lines):
        return Chart(name, missing=missing)
    every = [point for lines in loads.values() for *_, points in lines for point in points]
    low, high = min(us for _, us in every) / 1.1, max(us for _, us in every) * 1.1
    left = 16 + max(36, text_width(f"{high:,.0f}", 11))
    across = linear(
        min(share(50), *(share(p) for p, _ in every)),
        max(share(90), *(share(p) for p, _ in every)),
        left,
        RIGHT,
    )
    says = "; ".join(
        f"{label(row)}{at_load(curve)}: " + ", ".join(f"p{p:g} {short(us)} µs" for p, us in points)
        for lines in loads.values() for _, row, curve, points in lines
    )  # fmt: skip
    drawing = Drawing(
        name, "Latency by percentile", f"A line for each server, in µs on a logarithmic axis. {says}."
    )
    top = 0
    ticks = sorted({p for p, _ in every} | {50, 90})
    for load, lines in loads.items():
        begin, end = top + 34, top + 34 + panel_height(len(lines))
        up = logarithmic(low, high, end, begin)
        drawing.text(0, top + 14, heading(load, [curve for _, _, curve, _ in lines]), "head")
        drawing.text(RIGHT, top + 14, "latency in µs", "soft small", "end")
        for tick in apart(log_ticks(low, high), up, 18):
            drawing.line(left, up(tick), RIGHT, up(tick), "grid")
            drawing.text(
                left - 8,
                up(tick) + 4,
                short(tick).removesuffix(".00").removesuffix(".0"),
                "soft small",
                "end",
            )
        for tick in apart(ticks, lambda p: across(share(p)), 44):
            drawing.line(across(share(tick)), end, across(share(tick)), end + 4)
            drawing.text(across(share(tick)), end + 17, f"{tick:g} %", "soft small", "middle")
        drawing.line(left, end, RIGHT, end)
        ends = []
        for number, row, curve, points in lines:
            how = style(row, number)
            placed = [(across(share(p)), up(us)) for p, us in points]
            drawing.path(placed, f"curve {how.colour}", how.dash)
            for (p, us), (x, y) in zip(points, placed):
                drawing.marker(how.shape, x, y, how.colour, f"{label(row)}, {p:g} %: {short(us)} µs",
                               **data(chart=name, name=row["name"], backend=row.get("backend"), load=curve.get("load"),
                                      percentile=p, value=us))  # fmt: skip
            ends.append((*placed[-1], label(row), how))
        draw_labels(drawing, ends, begin + 4, end - 2)
        top = end + 34
    drawing.height = top - 8
    return Chart(name, drawing)


def heading(load, curves):
    rates = sorted(curve["rate_per_s"] for curve in curves if "rate_per_s" in curve)
    told = f"load {load:g}" if load else ""
    if not rates:
        return told
    most = f" to {rates[-1]:,.0f}" if f"{rates[-1]:,.0f}" != f"{rates[0]:,.0f}" else ""
    return f"{told}{': ' if told else ''}{rates[0]:,.0f}{most} echoes per second"


# ---- more connections ---------------------------------------------------------------------------


def points_of(row):
    """(connections, µs), fewest first."""
    return sorted((point["connections"], point["cpu_us_per_echo"]) for point in row.get("points", ())
                  if point.get("connections", 0) > 0 and point.get("cpu_us_per_echo", 0) > 0)  # fmt: skip


def scaling(results):
    lines = [(row, points_of(row)) for row in results["scaling"] if points_of(row)]
    if not lines:
        return Chart(
            "scaling", missing="How CPU time changes with the number of connections was not measured."
        )
    every = [point for _, points in lines for point in points]
    counts = [count for count, _ in every]
    left, top = 52, 34
    bottom = top + max(240, panel_height(len(lines)))
    across = logarithmic(min(counts), max(max(counts), min(counts) * 10), left, RIGHT)
    low, high = min(us for _, us in every), max(us for _, us in every)
    margin = (high - low or high) * 0.08
    low, high = max(0, low - margin), high + margin
    up = linear(low, high, bottom, top)
    says = "; ".join(
        f"{name_of(row)} " + ", ".join(f"{short(us)} µs with {count:,.0f}" for count, us in points)
        for row, points in lines
    )
    drawing = Drawing(
        "scaling",
        "CPU time per echo with more connections",
        f"A line for each server, connections on a logarithmic axis. {says}.",
    )
    drawing.text(
        0,
        14,
        "µs of CPU time per echo" + ("" if low == 0 else " (the axis does not begin at 0)"),
        "soft small",
    )
    for tick in linear_ticks(low, high, 6):
        drawing.line(left, up(tick), RIGHT, up(tick), "grid")
        drawing.text(left - 8, up(tick) + 4, f"{tick:g}", "soft small", "end")
    for tick in apart(sorted(set(counts)), across, 50):
        drawing.line(across(tick), bottom, across(tick), bottom + 4)
        drawing.text(across(tick), bottom + 17, f"{tick:,.0f}", "soft small", "middle")
    drawing.text(RIGHT + 14 + text_width("10,000", 11) / 2, bottom + 17, "connections", "soft small")
    drawing.line(left, bottom, RIGHT, bottom)
    ends = []
    for number, (row, points) in enumerate(lines):
        how = style_of_step(row, number)
        placed = [(across(count), up(us)) for count, us in points]
        drawing.path(placed, f"curve {how.colour}", how.dash)
        for (count, us), (x, y) in zip(points, placed):
            drawing.marker(how.shape, x, y, how.colour, f"{name_of(row)}, {count:,.0f} connections: {short(us)} µs",
                           **data(chart="scaling", name=row["name"], backend=row["backend"], connections=count, value=us))  # fmt: skip
        ends.append((*placed[-1], name_of(row), how))
    draw_labels(drawing, ends, top, bottom - 4)
    drawing.height = bottom + 26
    return Chart("scaling", drawing)
