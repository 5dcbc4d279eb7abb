"""What the numbers of this folder mean: pairs in random order, ratios, intervals, percentiles.

A shared machine swings threefold from one minute to the next. So the compared servers take turns,
each pair gives one ratio, and a ratio comes with its interval. Ratios are averaged as logarithms:
"A is 1.25 times B" and "B is 0.8 times A" are then the same finding.

Of nine 95 % intervals one misses by chance in every third report. So a report that compares many
things and says which differ uses the corrected interval.
"""

import fractions
import math
import random
import statistics

RESAMPLES = 10_000
CHANCE = 0.05  # that an interval misses, or one of several that are corrected
FEWEST_PAIRS = 6  # with fewer, all lie on one side by chance more often than 5 times in 100
FEWEST_BEYOND = 10  # samples above a percentile: with fewer, the next run's can be quite different


class TooFew(ValueError):
    """There are too few samples for the question."""


def measure_pairs(names, pair_count, measure, show_progress=lambda text: None, chance=random):
    """measure(name) for both, (first, second) for each pair; chance decides which one begins."""
    pairs = []
    for number in range(1, pair_count + 1):
        pair = [0.0, 0.0]
        for which in chance.sample((0, 1), 2):
            show_progress(f"pair {number} of {pair_count}: {names[which]}")
            pair[which] = measure(names[which])
        pairs.append(tuple(pair))
    return pairs


def median_interval(samples, seed=1):
    """Median and its 95 % bootstrap interval: (median, low, high).

    The seed is fixed: the same samples give the same interval.
    """
    resample = random.Random(seed)
    medians = sorted(statistics.median(resample.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    tail = round(0.025 * RESAMPLES)
    return statistics.median(samples), medians[tail], medians[-1 - tail]


def paired_ratio(pairs, seed=1):
    """The ratio first/second over the pairs: (median, low, high)."""
    logarithms = [math.log(first / second) for first, second in pairs]
    return tuple(math.exp(value) for value in median_interval(logarithms, seed))


def pairs_needed(comparisons):
    """How many pairs a corrected interval needs: 9 for nine comparisons."""
    return math.ceil(math.log2(2 * comparisons / CHANCE))


def corrected_interval(samples, comparisons):
    """For the median, so wide that 19 of 20 reports with so many comparisons contain all of theirs: (low, high).

    It goes from the k-th smallest sample to the k-th largest. Each sample lies above or below the
    true median like the toss of a coin, so the chance of missing the median is computed exactly, for
    any distribution; a bootstrap of so few samples would promise too much.

    Errors  TooFew, if even the range from the smallest to the largest is too narrow.
    """
    count, missed, rank = len(samples), 0, 0
    while rank < count / 2:
        missed += 2 * math.comb(count, rank)
        if missed * comparisons > CHANCE * 2**count:
            break
        rank += 1
    if rank == 0:
        needed = pairs_needed(comparisons)
        raise TooFew(f"{comparisons} comparisons take {needed} pairs each, and there are {count}")
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[-rank]


def corrected_ratio(pairs, comparisons):
    """The ratio first/second over the pairs: (low, high)."""
    return corrected_interval([first / second for first, second in pairs], comparisons)


def samples_needed(percentile):
    """How many samples a percentile needs: 1,000 for 99, 10,000 for 99.9."""
    beyond = 1 - fractions.Fraction(str(percentile)) / 100
    if not 0 < beyond < 1:
        raise ValueError(f"{percentile} is no percentile between 0 and 100")
    return math.ceil(FEWEST_BEYOND / beyond)


def percentile_of(samples, percentile):
    """The smallest sample that `percentile` of 100 do not exceed.

    Errors  TooFew, if fewer than FEWEST_BEYOND samples would lie beyond it.
    """
    needed = samples_needed(percentile)
    if len(samples) < needed:
        raise TooFew(f"p{percentile} takes {needed:,} samples, and there are {len(samples):,}")
    rank = math.ceil(fractions.Fraction(str(percentile)) / 100 * len(samples))
    return sorted(samples)[rank - 1]
