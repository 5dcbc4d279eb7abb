"""The charts with one bar or more for each server: the ladder, the field, memory."""

import dataclasses

import results as lab_results
import sentences

from svg import (WIDTH, Drawing, apart, data, fitted, linear, linear_ticks, logarithmic, short, text_width,
                 wrapped)  # fmt: skip

LABEL_LIMIT = 225
RATIO_TICKS = (0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)


@dataclasses.dataclass(frozen=True)
class Chart:
    name: str
    drawing: Drawing = None  # or, if there is nothing to draw:
    missing: str = ""


def label_of(row):
    """What a step of the ladder is called on a chart."""
    on = ", epoll" if lab_results.is_on_epoll(row) else ""
    return f"{row['step']}  {row['title']}{on}"


def label_width(labels):
    return min(LABEL_LIMIT, max(text_width(label) for label in labels) + 8)


def rows_with_heights(labels, top):
    """(label's lines, middle of the row) for each, and where the rows end."""
    width, placed = label_width(labels), []
    for label in labels:
        lines = wrapped(label, width - 4)
        height = max(24, 14 * len(lines) + 8)
        placed.append((lines, top + height / 2))
        top += height
    return placed, top


def draw_skipped(drawing, x, y, why):
    drawing.text(x, y + 4, fitted(f"skipped: {why}", WIDTH - x, 11), "soft small")


# ---- the ladder ---------------------------------------------------------------------------------


def ladder(results):
    rows = results["ladder"]
    base = lab_results.base(results)
    drawn = [row for row in rows if "ratio_to_step_0" in row and "skipped" not in row]
    if base is None or not any(row is not base for row in drawn):
        return Chart("ladder", missing="No step was compared with step 0, so there is no ladder to draw.")
    rows = [row for row in rows if row is base or row in drawn or "skipped" in row]
    labels = [label_of(row) for row in rows]
    placed, bottom = rows_with_heights(labels, 34)

    ratios = [row["ratio_to_step_0"] for row in drawn]
    low = min(0.97, *(ratio["low"] for ratio in ratios)) * 0.995
    high = max(1.03, *(ratio["high"] for ratio in ratios)) * 1.01
    left, right = label_width(labels) + 14, WIDTH - 150
    place = logarithmic(low, high, left, right)
    says = "; ".join(
        f"step {row['step']} on {row['backend']} {row['ratio_to_step_0']['median']:.3f}" for row in drawn
    )
    drawing = Drawing(
        "ladder",
        "CPU time per echo, divided by that of step 0",
        f"Bars from 1 to the median ratio, with 95 % intervals: {says}.",
    )

    fine = linear_ticks(low, high, 7) if high / low < 1.5 else RATIO_TICKS
    candidates = [tick for tick in fine if low <= tick <= high]
    near = lambda tick: tick == 1 or abs(place(tick) - place(1)) >= 34  # noqa: E731
    for tick in apart(list(filter(near, candidates)), place, 34):
        drawing.line(place(tick), 28, place(tick), bottom, "axis" if tick == 1 else "grid")
        drawing.text(place(tick), bottom + 16, f"{tick:g}", "soft small", "middle")
    drawing.text(place(1) + 7, 14, "more CPU time →", "soft small")
    if place(1) - left > 50:
        drawing.text(place(1) - 7, 14, "← less", "soft small", "end")
    drawing.text(WIDTH, 14, "ratio [95 % interval]", "soft small", "end")
    for row, (lines, y) in zip(rows, placed):
        drawing.lines(0, y, lines)
        if row is base:
            drawing.text(place(1) + 7, y + 4, "1, what the others are divided by", "soft small")
        elif "skipped" in row:
            draw_skipped(drawing, place(1) + 7, y, row["skipped"])
        else:
            draw_ratio(drawing, row, place, y)
    drawing.height = bottom + 24
    return Chart("ladder", drawing)


def draw_ratio(drawing, row, place, y):
    ratio = row["ratio_to_step_0"]
    shown = sentences.difference(ratio) in ("more", "less")
    begin, end = sorted((place(1), place(ratio["median"])))
    text = f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    drawing.bar(begin, y - 5, max(end - begin, 0.5), 10, "ours" if shown else "theirs", f"{row['title']}: {text}",
                **data(chart="ladder", step=row["step"], backend=row["backend"], value=ratio["median"],
                       low=ratio["low"], high=ratio["high"]))  # fmt: skip
    ends = place(ratio["low"]), place(ratio["high"])
    drawing.line(ends[0], y, ends[1], y, "interval")
    for x in ends:
        drawing.line(x, y - 4, x, y + 4, "interval")
    drawing.text(WIDTH, y + 4, text, "" if shown else "soft", "end")


# ---- the field ----------------------------------------------------------------------------------


def field(results):
    keys = ("throughput_per_s", "cpu_us_per_echo")
    measured = [row for row in results["field"] if "skipped" not in row and any(key in row for key in keys)]
    if not measured:
        return Chart("field", missing="No other server was measured, so there is no field to compare with.")
    measured.sort(key=lambda row: (row.get("cpu_us_per_echo", float("inf")), -row.get("throughput_per_s", 0)))
    rows = measured + [row for row in results["field"] if "skipped" in row]
    left = (
        min(LABEL_LIMIT, max(text_width(words) for row in rows for words in (row["name"], kind_of(row)))) + 16
    )
    top, height = 34, 36
    bottom = top + height * len(rows)
    says = "; ".join(
        f"{row['name']} {short(row['cpu_us_per_echo'])} µs" for row in measured if "cpu_us_per_echo" in row
    )
    drawing = Drawing(
        "field",
        "Throughput and CPU time per echo of each server",
        f"Two rows of bars, the least CPU time first: {says}.",
    )
    for number, row in enumerate(rows):
        y = top + height * number + height / 2
        drawing.text(0, y - 1, fitted(row["name"], left - 16), "head" if sentences.is_ours(row) else "")
        drawing.text(0, y + 13, fitted(kind_of(row), left - 16, 11), "soft small")
        if "skipped" in row:
            draw_skipped(drawing, left + 6, y + 2, row["skipped"])
    middle = (left + WIDTH) / 2
    for key, heading, begin, end in (
        (keys[0], "echoes per second", left, middle - 14),
        (keys[1], "µs of CPU time per echo", middle + 14, WIDTH),
    ):
        drawing.text(begin, 14, heading, "soft small")
        drawing.line(begin, 24, begin, bottom, "axis")
        figures = [row[key] for row in measured if key in row]
        place = linear(
            0,
            max(figures, default=1) or 1,
            0,
            end - begin - 8 - max(50, text_width(short(max(figures, default=1)) + f" {sentences.MARK}")),
        )
        for number, row in enumerate(measured):
            y = top + height * number + height / 2
            if key not in row:
                drawing.text(begin + 6, y + 6, "not measured", "soft small")
                continue
            kind = "ours" if sentences.is_ours(row) else "theirs"
            drawing.bar(begin, y - 4, max(0, place(row[key])), 12, kind, f"{row['name']}: {short(row[key])} {heading}",
                        **data(chart="field", name=row["name"], figure=key, value=row[key]))  # fmt: skip
            marked = sentences.mark(row) if key == keys[0] else ""
            drawing.text(begin + max(0, place(row[key])) + 5, y + 6, short(row[key]) + marked)
    drawing.height = bottom + 6
    return Chart("field", drawing)


def kind_of(row, between=" · "):
    """In the field a thread is never a kernel thread, but a goroutine, a fiber or an Erlang process."""
    words = dict.fromkeys(row[key] for key in ("language", "row", "style") if key in row)
    return between.join("light thread" if word == "thread" else word for word in words)


# ---- memory -------------------------------------------------------------------------------------

SIDES = (("user", "in the server's process"), ("kernel", "in the kernel"))


def memory(results):
    def parts(row):
        return {side: row.get(f"{side}_bytes_per_idle_connection") for side, _ in SIDES}

    rows = [row for row in results["ladder"]
            if "skipped" not in row and any(value is not None for value in parts(row).values())]  # fmt: skip
    if not rows:
        return Chart("memory", missing="The memory of idle connections was not measured.")
    labels = [label_of(row) for row in rows]
    placed, bottom = rows_with_heights(labels, 34)
    left = label_width(labels) + 14
    right = WIDTH - 10 - max(106, *(text_width(text_of(parts(row))) for row in rows))
    most = max(sum(max(value or 0, 0) for value in parts(row).values()) for row in rows) or 1
    place = linear(0, most, left, right)
    says = "; ".join(f"step {row['step']} on {row['backend']}: {text_of(parts(row))}" for row in rows)
    drawing = Drawing(
        "memory",
        "Memory of one idle connection, in bytes",
        f"Stacked bars, {SIDES[0][1]} and {SIDES[1][1]}: {says}.",
    )
    x = left
    for side, words in SIDES:
        drawing.bar(x, 6, 9, 9, side)
        drawing.text(x + 14, 14, words, "soft small")
        x += text_width(words, 11) + 34
    for tick in linear_ticks(0, most, 4):
        drawing.line(place(tick), 28, place(tick), bottom, "grid" if tick else "axis")
        drawing.text(place(tick), bottom + 16, f"{tick:,.0f}", "soft small", "middle")
    drawing.text(WIDTH, bottom + 16, "bytes", "soft small", "end")
    for row, (lines, y) in zip(rows, placed):
        drawing.lines(0, y, lines)
        begin = left
        for side, words in SIDES:
            value = parts(row)[side]
            if value is not None:
                width = max(0, place(value) - left)
                drawing.bar(
                    begin,
                    y - 6,
                    width,
                    12,
                    side,
                    f"{row['title']}: {value:,.0f} bytes {words}",
                    **data(chart="memory", step=row["step"], backend=row["backend"], side=side, value=value),
                )
                begin += width
        drawing.text(begin + 6, y + 4, text_of(parts(row)))
    drawing.height = bottom + 24
    return Chart("memory", drawing)


def text_of(parts):
    return " + ".join("?" if value is None else f"{value:,.0f}" for value in parts.values())
