"""The lab continues until its intervals are narrow, or the time is up."""

import contextlib
import io
import itertools
import pathlib
import random
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/commands/lab"), str(ROOT / "bench/harness")]
from journal import Journal
from plan import ROUNDS, Plan
from rounds import go_on, take
from steps import STEPS


class MoreRounds(unittest.TestCase):
    def journal(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Journal(pathlib.Path(folder.name) / "journal.jsonl", {"kind": "journal", "quick": False, "started": "now"})

    def after(self, noise, minutes):
        """The number of rounds taken for steps whose CPU time varies by `noise`."""
        swing = random.Random(7)

        class Noisy:
            def cpu(self, server):
                return {"cpu_us": 4 * (1 + noise * swing.uniform(-1, 1))}

        plan, journal, sampler, clock = Plan(False, []), self.journal(), Noisy(), itertools.count(0, 30)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            take(plan.parts["cpu"], sampler, journal)
            go_on(plan, sampler, journal, minutes, now=lambda: next(clock))
        rounds = len(journal.all("cpu", STEPS[0].key))
        self.assertEqual(said.getvalue().count("the widest interval is"), rounds - ROUNDS)
        return rounds

    def test_quiet_machine_needs_no_more(self):
        self.assertEqual(self.after(noise=0.001, minutes=10), ROUNDS)

    def test_noisy_machine_takes_more_until_it_is_narrow(self):
        self.assertTrue(ROUNDS < self.after(noise=0.06, minutes=1000) < 300)

    def test_time_is_up(self):
        self.assertEqual(self.after(noise=0.5, minutes=2), ROUNDS + 3)  # the clock advances half a minute per call

    def test_nothing_to_compare(self):
        go_on(Plan(False, []), None, self.journal(), 10)  # takes no sample


if __name__ == "__main__":
    unittest.main()
