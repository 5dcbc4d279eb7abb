"""The client's latencies are added up over several rounds, and each round is kept.

Run one with   /usr/bin/python3 tests/bench/lab_latencies_test.py Latencies.test_rounds_are_added_up
"""

import math
import pathlib
import select
import sys
import types
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]

sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/commands/lab"), str(ROOT / "bench/harness"), str(ROOT / "tests" / "support")]
import lab_results
import latencies
import measuring
from measuring import Failure
from samples import Sampler
from scripted_server import ScriptedServer


class Latencies(unittest.TestCase):
    def test_rounds_are_added_up(self):
        sampler = Sampler((None, None), True, None)
        rounds = []
        for _ in range(3):  # each with its own server, on another port
            with measuring.running_server("echo_coro", None) as running:
                result = sampler.run_client(
                    running, "-t", "4", "-e", "1000000", "--rate", "2000", "--duration", "200ms"
                )
            rounds.append({"rate_per_s": 2000, "result": result})
        self.assertGreater(len({each["result"]["settings"]["server"] for each in rounds}), 1)
        one_by_one = [latencies.of_rounds([each]) for each in rounds]
        together = latencies.of_rounds(rounds)
        self.assertEqual(
            together["rounds"],
            [{name: each[name] for name in ("samples", "percentiles")} for each in one_by_one],
        )
        self.assertEqual(together["samples"], sum(each["samples"] for each in one_by_one))
        self.assertEqual(together["rate_per_s"], 2000)
        self.assertEqual(together["reached_per_s"], sorted(each["reached_per_s"] for each in one_by_one)[1])
        medians = [dict(each["percentiles"])[50] for each in one_by_one]
        self.assertTrue(
            min(medians) <= dict(together["percentiles"])[50] <= max(medians), (medians, together)
        )

    def test_server_that_is_too_slow_keeps_no_rate(self):
        """Whether it handles all that was due (40 echoes, 0.8 s of work in 0.2 s), or only some."""

        def slow_echo(connection, whole):
            while True:
                message = whole()
                select.select([], [], [], 0.02)
                connection.sendall(message)

        sampler = Sampler((None, None), True, None)
        for rate, patience, comes_to_all in ((200, "1min", True), (10_000, "1s", False)):
            with self.subTest(rate=rate), ScriptedServer(slow_echo) as server:
                running = types.SimpleNamespace(port=server.port, look=lambda: None)
                result = sampler.run_client(
                    running, "-t", "1", "-e", "1000000", "--rate", str(rate), "--duration", "200ms", "--timeout", patience
                )  # fmt: skip
                sample = {"rate_per_s": rate, "result": result}
                self.assertEqual(result["total"]["never_sent"] == 0, comes_to_all)
                self.assertLess(latencies.of_rounds([sample])["reached_per_s"], 0.3 * rate)
                self.assertFalse(latencies.is_kept(sample, 0.98, math.inf))

    def test_limits_of_any_round_are_told(self):
        with unittest.mock.patch.object(latencies, "merged", lambda results: {"samples": 1, "p50": 2.0}):
            told = latencies.of_rounds(
                [
                    lab_results.latencies_at_rate(9, 1, limits=["late"]),
                    lab_results.latencies_at_rate(9, 1),
                    lab_results.latencies_at_rate(9, 1, limits=["late", "cpu"]),
                ]
            )
        self.assertEqual((told["client_limits"], told["percentiles"]), (["cpu", "late"], [[50.0, 2.0]]))

    def test_rounds_are_kept_beside_their_sum(self):
        with unittest.mock.patch.object(
            latencies, "merged", lambda results: {"samples": 27, "p50": 2.0, "p99": 900.0}
        ):
            told = latencies.of_rounds([lab_results.latencies_at_rate(9, 2, p99) for p99 in (10, 900, 12)])
        self.assertEqual(dict(told["percentiles"])[99], 900)
        self.assertEqual([dict(each["percentiles"])[99] for each in told["rounds"]], [10, 900, 12])
        self.assertEqual(told["rounds"][0]["samples"], 9)

    def test_what_cannot_be_merged_says_so(self):
        with self.assertRaisesRegex(Failure, "cannot merge"):
            latencies.of_rounds([lab_results.latencies_at_rate(9, 1), lab_results.latencies_at_rate(9, 1)])

    def test_rate_is_kept_if_reached_and_in_time(self):
        kept = {"share": 0.98, "p99_us": 100}
        self.assertTrue(latencies.is_kept(lab_results.latencies_at_rate(1000, 1, 100, 980), **kept))
        self.assertFalse(latencies.is_kept(lab_results.latencies_at_rate(1000, 1, 101, 980), **kept))
        self.assertFalse(latencies.is_kept(lab_results.latencies_at_rate(1000, 1, 100, 979), **kept))
        self.assertFalse(
            latencies.is_kept(lab_results.latencies_at_rate(1000, 1, None, 1000), **kept),
            "too few samples for a p99",
        )


if __name__ == "__main__":
    unittest.main()
