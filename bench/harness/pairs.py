"""What the numbers of this folder mean: pairs in random order, ratios, intervals, percentiles.

A shared machine swings threefold from one minute to the next. So what is compared takes turns, each
pair gives one ratio, and a ratio comes with its interval. Ratios are averaged as logarithms: that A
is 1.25 times B and that B is 0.8 times A is one finding, whichever way it is asked.

Of nine 95 % intervals one misses by chance in every third report. So whoever compares many things and
says which differ asks for the corrected interval.
"""

import fractions
import math
import random
import statistics

RESAMPLES = 10_000
CHANCE = 0.05  # that an interval misses, or one of several that are corrected
FEWEST_PAIRS = 6  # of fewer, all on one side happens by chance more often than 5 times in 100
FEWEST_BEYOND = 10  # samples above a percentile: of fewer, the next run's has little to do with it


class TooFew(ValueError):
    """So few samples that they do not say what was asked."""


def measure_pairs(names, pair_count, measure, show_progress=lambda text: None, chance=random):
    """measure(name) for both, (first, second) for each pair; who begins is left to chance."""
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
    """Of first/second over the pairs: (median, low, high)."""
    logarithms = [math.log(first / second) for first, second in pairs]
    return tuple(math.exp(value) for value in median_interval(logarithms, seed))


def pairs_needed(comparisons):
    """How many pairs a corrected interval takes: 9 for nine comparisons."""
    return math.ceil(math.log2(2 * comparisons / CHANCE))


def corrected_interval(samples, comparisons):
    """Of the median, so wide that 19 of 20 reports with so many comparisons hold all of theirs: (low, high).

    It goes from the k-th smallest sample to the k-th largest. Each sample lies above the true median
    or below it as a coin falls, so that how often the median is missed is counted, not guessed: for
    any distribution, where a bootstrap of so few samples would promise too much.

    Errors  TooFew, where even from the smallest to the largest is too little.
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
    """Of first/second over the pairs: (low, high)."""
    return corrected_interval([first / second for first, second in pairs], comparisons)


def samples_needed(percentile):
    """How many samples a percentile takes: 1,000 for 99, 10,000 for 99.9."""
    beyond = 1 - fractions.Fraction(str(percentile)) / 100
    if not 0 < beyond < 1:
        raise ValueError(f"{percentile} is no percentile between 0 and 100")
    return math.ceil(FEWEST_BEYOND / beyond)


def percentile_of(samples, percentile):
    """The smallest sample that so many of 100 do not exceed.

    Errors  TooFew, where fewer than FEWEST_BEYOND samples would lie beyond it.
    """
    needed = samples_needed(percentile)
    if len(samples) < needed:
        raise TooFew(f"p{percentile} takes {needed:,} samples, and there are {len(samples):,}")
    rank = math.ceil(fractions.Fraction(str(percentile)) / 100 * len(samples))
    return sorted(samples)[rank - 1]
