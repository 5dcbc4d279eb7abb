"""The statistics: known distributions give known intervals.

Run one with   /usr/bin/python3 tests/bench/pairs_test.py Ratios.test_known_ratio
"""

import math
import pathlib
import random
import statistics
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/harness"))
import pairs


def noisy_pairs(ratio, count, seed, noise=0.05):
    """Pairs whose first is `ratio` times the second, both with noise; the level drifts threefold."""
    disturb = random.Random(seed)
    made = []
    for index in range(count):
        level = 5000 * (1 + 2 * index / count)
        made.append((level * ratio * disturb.gauss(1, noise), level * disturb.gauss(1, noise)))
    return made


def lognormal_pairs(ratio, count, seed):
    """Pairs whose ratios are lognormal around `ratio`: a few are very large, as on a busy machine."""
    disturb = random.Random(seed)
    return [(ratio * disturb.lognormvariate(0, 0.3), 1.0) for _ in range(count)]


def with_fewer_resamples(test, count):
    test.addCleanup(setattr, pairs, "RESAMPLES", pairs.RESAMPLES)
    pairs.RESAMPLES = count


class Order(unittest.TestCase):
    def test_both_are_measured_in_each_pair_and_either_begins(self):
        measured = []

        def measure(name):
            measured.append(name)
            return {"a": 1.0, "b": 2.0}[name]

        found = pairs.measure_pairs(("a", "b"), 200, measure, chance=random.Random(1))
        self.assertEqual(found, [(1.0, 2.0)] * 200)
        for begin in range(0, 400, 2):
            self.assertEqual(sorted(measured[begin : begin + 2]), ["a", "b"])
        self.assertTrue(70 < measured[::2].count("a") < 130, measured[::2].count("a"))

    def test_a_server_that_is_compared_with_itself_is_measured_twice(self):
        values = iter(range(1, 7))
        found = pairs.measure_pairs(("same", "same"), 3, lambda name: next(values))
        self.assertEqual([sorted(pair) for pair in found], [[1, 2], [3, 4], [5, 6]])

    def test_progress_names_what_runs(self):
        told = []
        pairs.measure_pairs(("a", "b"), 2, lambda name: 1.0, told.append)
        expected = [f"pair {number} of 2: {name}" for number in (1, 2) for name in "ab"]
        self.assertEqual(sorted(told), expected)


class Ratios(unittest.TestCase):
    def test_known_ratio(self):
        for value in pairs.paired_ratio([(2.0, 1.0), (6.0, 3.0), (10.0, 5.0)]):
            self.assertAlmostEqual(value, 2.0, places=12)

    def test_median_of_ratios_not_ratio_of_medians(self):
        made = [(1.0, 1.0), (30.0, 10.0), (100.0, 50.0)]  # ratios 1, 3, 2; medians 30 and 10
        self.assertAlmostEqual(pairs.paired_ratio(made)[0], 2.0)

    def test_twice_and_half_are_level(self):
        self.assertAlmostEqual(pairs.paired_ratio([(2.0, 1.0), (1.0, 2.0)])[0], 1.0)

    def test_one_outlier_moves_nothing(self):
        for value in pairs.paired_ratio([(1.1, 1.0)] * 9 + [(900.0, 1.0)]):
            self.assertAlmostEqual(value, 1.1, places=12)

    def test_swapping_the_two_inverts_the_interval(self):
        made = noisy_pairs(1.2, 10, seed=3)
        median, low, high = pairs.paired_ratio(made)
        inverted = pairs.paired_ratio([(second, first) for first, second in made])
        for value, expected in zip(inverted, (1 / median, 1 / high, 1 / low)):
            self.assertAlmostEqual(value, expected, places=12)


class Intervals(unittest.TestCase):
    def test_samples_that_agree(self):
        self.assertEqual(pairs.median_interval([3.0] * 7), (3.0, 3.0, 3.0))

    def test_same_samples_give_the_same_interval(self):
        with_fewer_resamples(self, 100)
        made = noisy_pairs(1.05, 200, seed=7)
        self.assertEqual(pairs.paired_ratio(made), pairs.paired_ratio(made))
        self.assertNotEqual(pairs.paired_ratio(made, seed=1), pairs.paired_ratio(made, seed=2))

    def test_width_of_a_known_distribution(self):
        """The median of n normal samples has a standard error of 1.2533 / sqrt(n)."""
        with_fewer_resamples(self, 500)
        widths = []
        for seed in range(10):
            disturb = random.Random(seed)
            samples = [disturb.gauss(10, 1) for _ in range(400)]
            median, low, high = pairs.median_interval(samples)
            self.assertAlmostEqual(median, 10, delta=0.25)
            self.assertTrue(low <= median <= high)
            widths.append(high - low)
        expected = 2 * 1.96 * 1.2533 / 400**0.5
        self.assertAlmostEqual(sum(widths) / len(widths), expected, delta=expected / 5)

    def test_holds_the_median_and_lies_within_the_samples(self):
        with_fewer_resamples(self, 500)
        for seed in range(20):
            made = noisy_pairs(1.05, 10, seed)
            logarithms = [math.log(first / second) for first, second in made]
            median, low, high = map(math.log, pairs.paired_ratio(made))
            self.assertAlmostEqual(median, statistics.median(logarithms))
            self.assertTrue(min(logarithms) <= low + 1e-12 and high - 1e-12 <= max(logarithms))
            self.assertTrue(low < median < high)

    def test_narrows_with_more_pairs(self):
        def width(count):
            _, low, high = pairs.paired_ratio(noisy_pairs(1.05, count, seed=1))
            return high - low

        self.assertLess(width(100), width(10) / 2)

    def test_covers_the_truth_nearly_always(self):
        """95 % in theory. An interval that never misses would be too wide to say anything."""
        with_fewer_resamples(self, 500)
        for make, count in ((lognormal_pairs, 10), (lognormal_pairs, 25), (noisy_pairs, 10)):
            covered = 0
            for seed in range(200):
                _, low, high = pairs.paired_ratio(make(1.05, count, seed))
                covered += low <= 1.05 <= high
            self.assertTrue(180 <= covered <= 198, f"{covered} of 200, {make.__name__}, {count}")


class Corrected(unittest.TestCase):
    STEPS, ROUNDS, REPORTS = 9, 20, 400

    def reports(self, slower=()):
        """For each made-up report, the pairs of each step with a shared step 0."""
        for seed in range(self.REPORTS):
            disturb = random.Random(seed)
            rounds = [disturb.lognormvariate(0, 0.3) for _ in range(self.ROUNDS)]  # noise of the machine
            base = [level * disturb.lognormvariate(0, 0.02) for level in rounds]
            yield [
                [(level * disturb.lognormvariate(0, 0.02) * (1.05 if step in slower else 1), of_base)
                 for level, of_base in zip(rounds, base)]
                for step in range(self.STEPS)
            ]  # fmt: skip

    def claimed(self, pairs_of_step):
        low, high = pairs.corrected_ratio(pairs_of_step, self.STEPS)
        return low > 1 or high < 1

    def test_where_nothing_differs_few_reports_say_so(self):
        wrong = sum(any(map(self.claimed, report)) for report in self.reports())
        self.assertLessEqual(wrong, 0.05 * self.REPORTS)

    def test_without_correction_many_would(self):
        """Why there is a correction. If this fails, the interval for one comparison is enough for nine."""
        with_fewer_resamples(self, 200)
        self.REPORTS, wrong = 100, 0
        for report in self.reports():
            for _, low, high in map(pairs.paired_ratio, report):
                if low > 1 or high < 1:
                    wrong += 1
                    break
        self.assertGreater(wrong, 15)

    def test_what_differs_is_found(self):
        found = sum(self.claimed(report[3]) for report in self.reports(slower=(3,)))
        self.assertGreater(found, 0.9 * self.REPORTS)

    def test_one_pair_that_was_disturbed_hides_nothing(self):
        self.assertTrue(self.claimed([(1.1, 1.0)] * 19 + [(0.2, 1.0)]))

    def test_ranks_are_those_of_a_coin(self):
        """Binomial probabilities: 2 in 4,096 for the outermost ranks of twelve, 26 for the next."""
        samples = list(range(1, 13))
        self.assertEqual(pairs.corrected_interval(samples, 1), (3, 10))
        self.assertEqual(pairs.corrected_interval(samples, 0.05 / (26 / 4096)), (2, 11))
        self.assertEqual(pairs.corrected_interval(samples, 9), (1, 12))

    def test_too_few_pairs(self):
        self.assertEqual(pairs.pairs_needed(9), 9)
        self.assertEqual(pairs.corrected_ratio([(1.1, 1.0)] * 9, 9), (1.1, 1.1))
        with self.assertRaisesRegex(pairs.TooFew, "9 comparisons take 9 pairs each, and there are 8"):
            pairs.corrected_ratio([(1.1, 1.0)] * 8, 9)
        with self.assertRaises(pairs.TooFew):
            pairs.corrected_interval([], 1)


class Percentiles(unittest.TestCase):
    def test_of_known_samples(self):
        samples = list(range(1, 10_001))
        random.Random(1).shuffle(samples)
        for percentile, value in ((50, 5000), (90, 9000), (99, 9900), (99.9, 9990), (0.1, 10)):
            self.assertEqual(pairs.percentile_of(samples, percentile), value)

    def test_ten_samples_lie_beyond(self):
        for percentile, needed in ((50, 20), (90, 100), (99, 1000), (99.9, 10_000), (99.99, 100_000)):
            self.assertEqual(pairs.samples_needed(percentile), needed)
            enough = pairs.percentile_of(range(needed), percentile)
            self.assertEqual(sum(sample > enough for sample in range(needed)), 10)
            with self.assertRaises(pairs.TooFew):
                pairs.percentile_of(range(needed - 1), percentile)

    def test_refusal_says_why(self):
        with self.assertRaisesRegex(pairs.TooFew, "p99.9 takes 10,000 samples, and there are 9,999"):
            pairs.percentile_of([1.0] * 9999, 99.9)
        with self.assertRaisesRegex(ValueError, "100 is no percentile between 0 and 100"):
            pairs.percentile_of([1.0] * 9999, 100)


if __name__ == "__main__":
    unittest.main()
