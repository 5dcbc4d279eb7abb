"""The rows of what was measured, as a table and for JSON."""

HEADINGS = ("target", "anchor", "ours", "ratio", "95 % interval", "required", "aim", "reached")


def cells(target, measured, reached):
    """One line of the table; even a row without a measurement has a verdict."""
    sign = ">=" if target.at_least else "<="
    limits = ["-" if limit is None else f"{sign} {limit:,}" for limit in (target.required, target.aim)]
    if measured is None:
        return (target.what, "-", "-", "-", "-", *limits, reached)
    interval = " to ".join(f"{end:.3f}" for end in measured.interval) or "-"
    ratio = f"{measured.judged:.3f}" if measured.is_ratio else "-"
    return (target.what, measured.anchor or "-", measured.ours, ratio, interval, *limits, reached)


def layout(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()


def as_json(target, measured, reached):
    row = {"name": target.name, "what": target.what, "reached": reached}
    row.update(required=target.required, aim=target.aim, at_least=target.at_least)
    if measured is not None:
        row.update(value=measured.judged, ours=measured.ours, anchor=measured.anchor)
        row.update(interval=measured.interval, samples=measured.samples)
    return row
