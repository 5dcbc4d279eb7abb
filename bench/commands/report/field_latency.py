"""The latency of the field: a few lines that can be distinguished. The table behind them has all."""

import curves
import rounds
import sentences


def chart(results):
    told = chosen(results["field"])
    return curves.latency(
        "latency-field",
        [row for row, _ in told],
        lambda row: label(row, told),
        lambda row, number: curves.Style(number),
        "The other servers' latency was not measured, or too few samples were taken for a curve.",
    )


def label(row, told):
    place = next(place for one, place in told if one is row)
    return f"{row['name']}: {place}" if place else row["name"]


def chosen(rows):
    """[(row, its place)]: ringlet's, and of all the best, the median and the worst at 99 %, best first."""
    points = {number: dict(of_line)
              for lines in curves.by_load(rows).values() for number, *_, of_line in lines}  # fmt: skip
    if not points:
        return []
    common = set.intersection(*map(set, points.values()))
    percentile = max((p for p in common if p <= 99), default=None)
    if percentile is None:
        return [(rows[number], "") for number in points]

    def latency(number):
        ranges = [rounds.of(curve, percentile) for curve in rows[number]["latency"]]
        return ranges[0].median if ranges[0] else points[number][percentile]

    order = sorted(points, key=latency)
    places = {order[-1]: "the worst", order[(len(order) - 1) // 2]: "the median", order[0]: "the best"}
    return [(rows[number], places.get(number, "")) for number in order
            if number in places or sentences.is_ours(rows[number])]  # fmt: skip
