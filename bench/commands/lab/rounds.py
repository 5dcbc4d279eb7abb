"""Takes the samples of a plan, and more until the intervals are narrow."""

import itertools
import time

import measuring
from measuring import Failure
from plan import ROUNDS
from results import widest

NARROW = 0.05  # a step that costs 5 % more is worth a sentence


def take(samples, sampler, journal):
    """Takes the samples that are not in the journal. Returns those that failed."""
    samples = [sample for sample in samples if sample.key not in journal]
    left = measuring.TimeLeft("sample", [sample.seconds for sample in samples])
    measuring.progress_prefix = left
    for sample in samples:
        measuring.show_progress(" ".join(map(str, sample.key)))
        begin = time.monotonic()
        try:
            journal.add(sample.key, sample.take(sampler, journal), time.monotonic() - begin)
        except (Failure, OSError) as failure:
            journal.failed(sample.key, str(failure))
        left.step()
    measuring.show_progress("")


def go_on(plan, sampler, journal, minutes, now=time.monotonic):
    """Takes more rounds of CPU time until the intervals are narrow, or the time is up: a noisy minute costs time, but
    no finding. Only the width ends it, never the result that the interval shows."""
    end = now() + 60 * minutes
    for number in itertools.count(ROUNDS):
        width = widest(journal)
        if width is None or width <= NARROW or now() >= end:
            return
        measuring.say(f"round {number + 1}: the widest interval is {width:.1%} of its ratio, {NARROW:.0%} is wanted")
        take(plan.further_round(number), sampler, journal)
