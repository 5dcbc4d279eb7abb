"""What the rounds of a latency show: their median, how far they lie apart, and which steps that separates.

One bad round decides the p99 of all rounds together. So tables show the median of the rounds with the
smallest and the largest, and no step is called slower than another unless all rounds agree.
"""

import dataclasses
import statistics

import curves
import sentences
from svg import short

SHOWN = (50, 99)  # percentiles that are shown by their rounds
FACTOR = 2  # between rounds of one and the same server: more is not the server's doing
# Four rounds each lie apart by chance in 2 of 70 cases, at two loads in the same direction in 2 of
# 4,900: of nine steps and two percentiles one is called different by chance in 1 of 100 reports.
FEWEST_ROUNDS, FEWEST_LOADS = 4, 2


@dataclasses.dataclass(frozen=True)
class Range:
    median: float
    low: float
    high: float
    count: int  # of rounds

    def __str__(self):
        return f"{short(self.median)} [{short(self.low)}, {short(self.high)}]"


def of(curve, percentile):
    """The Range of several rounds, or None."""
    values = [us for each in curve.get("rounds", ()) for p, us in curves.trusted(each) if p == percentile]
    if len(values) < 2:
        return None
    return Range(statistics.median(values), min(values), max(values), len(values))


def measured(rows):
    """(row, curve) of all latencies."""
    return [(row, curve) for row in rows if "skipped" not in row for curve in row.get("latency", ())]


def agreement(rows, label):
    """Whether a high percentile comes from a step or from the machine, in one sentence; or nothing."""
    told = [(found.high / found.low, f"{label(row)}{curves.at_load(curve)}, {short(found.low)} to {short(found.high)} µs")
            for row, curve in measured(rows) if (found := of(curve, SHOWN[-1]))]  # fmt: skip
    if not told:
        return ""
    most, example = max(told)
    far = sum(factor > FACTOR for factor, _ in told)
    if not far:
        return f"At {SHOWN[-1]} %, the rounds of one and the same line differ by a factor of {most:.1f} at most ({example})."
    return (
        f"At {SHOWN[-1]} %, the rounds of {far} of {len(told)} lines differ by more than a factor of {FACTOR} (the most:"
        f" {example}). Their high percentiles say more about the machine than about the server."
    )


def differences(rows, base):
    """Sentences about the steps whose latency differs from step 0's in all rounds at all loads."""
    if base is None or not any(of(curve, SHOWN[0]) for _, curve in measured([base])):
        return []
    said = [
        sentence for row in rows if row is not base for p in SHOWN if (sentence := difference(row, base, p))
    ]
    return said or [
        "No step differs from step 0 in all rounds at all loads, neither at"
        f" {' % nor at '.join(map(str, SHOWN))} %: so no difference in latency is claimed."
    ]


def difference(row, base, percentile):
    theirs = {curve.get("load"): of(curve, percentile) for _, curve in measured([base])}
    pairs = [(curve, of(curve, percentile), theirs.get(curve.get("load"))) for _, curve in measured([row])]
    pairs = [(curve, mine, other) for curve, mine, other in pairs
             if mine and other and min(mine.count, other.count) >= FEWEST_ROUNDS]  # fmt: skip
    if len(pairs) < FEWEST_LOADS:
        return ""
    later = all(mine.low > other.high for _, mine, other in pairs)
    sooner = all(mine.high < other.low for _, mine, other in pairs)
    if not later and not sooner:
        return ""
    figures = "; ".join(f"{mine} µs against {other}{curves.at_load(curve)}" for curve, mine, other in pairs)
    return f"{sentences.subject_of(row)} answered {'later' if later else 'sooner'} than step 0 at {percentile} %, in all rounds: {figures}."
