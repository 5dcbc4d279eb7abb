"""The lab loses nothing, compares steps that took turns, and its servers echo.

Run one with   /usr/bin/python3 tests/bench/lab_test.py Journals.test_goes_on
"""

import importlib.util
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "bench/commands/lab"
PATIENCE_SECONDS = 120
INTERRUPTED, UNAVAILABLE, USAGE = 130, 69, 64

sys.dont_write_bytecode = True
sys.path[:0] = [str(LAB), str(ROOT / "bench/harness"), str(ROOT / "tests" / "support")]
import lab_results as made_up
import measuring
from field import Row, field_rows
from journal import Journal
from measuring import Failure, Load
from plan import CAPACITY, COUNTED, Plan
from results import results
from samples import Sampler, SwitchCounter
from steps import BASE, COROUTINE, SCALED, STEPS

ROWS = [Row("echo_coro", "coroutine", "", "echo_coro {port}"), Row("go", "thread", "", "go_echo {port}"),
        Row("trio", "coroutine", "no trio", "trio {port}")]  # fmt: skip


def ladder_is_built():
    return (measuring.BUILD / "bench/ladder/ladder").exists()


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "journal.jsonl"

    def journal(self, **changed):
        return Journal(self.path, {"kind": "journal", "quick": False, "started": "now", **changed})


class Journals(Folder):
    def test_goes_on(self):
        first = self.journal()
        first.add(("cpu", "1 on io_uring", 3), {"cpu_us": 4.5}, 2.0)
        first.add(("machine",), None, 0.5)
        second = self.journal(started="later")
        self.assertEqual(second["cpu", "1 on io_uring", 3], {"cpu_us": 4.5})
        self.assertIn(("machine",), second)
        self.assertNotIn(("cpu",), second)
        self.assertEqual((second.header["started"], second.seconds), ("now", 2.5))

    def test_line_that_was_cut_off_is_taken_again(self):
        journal = self.journal()
        journal.add(("a",), 1, 0)
        with self.path.open("a") as file:
            file.write('[["b"], 2')
        again = self.journal()
        self.assertEqual(again.values, {("a",): 1})
        again.add(("b",), 3, 0)
        self.assertEqual(self.journal().values, {("a",): 1, ("b",): 3})

    def test_other_measurements_are_not_mixed_in(self):
        self.journal().add(("a",), 1, 0)
        with self.assertRaisesRegex(Failure, "quick differ.*--fresh"):
            self.journal(quick=True)
        with self.assertRaisesRegex(Failure, "programs differ"):
            self.journal(programs="other")

    def test_what_is_no_journal(self):
        for text in ("hello\n", "{\n", "[1]\n", '{"kind": "journal"}\n[1, 2]\n'):
            self.path.write_text(text)
            with self.assertRaisesRegex(Failure, "is no journal"):
                self.journal()

    def test_empty_file_is_a_new_journal(self):
        self.path.touch()
        self.journal().add(("a",), 1, 0)
        self.assertEqual(self.journal().values, {("a",): 1})

    def test_failures_are_tried_again(self):
        journal = self.journal()
        journal.failed(("cpu", "x", 1), "it fell over")
        self.assertNotIn(("cpu", "x", 1), journal)
        self.assertEqual((journal.why_failed("cpu", "x"), journal.why_failed("cpu", "y")), ("it fell over", None))
        self.assertEqual(self.journal().failures, {})


class Plans(unittest.TestCase):
    def test_all_steps_take_turns_in_every_round(self):
        orders = []
        samples = Plan(False, ROWS).parts["cpu"]
        for number in range(20):
            of_round = samples[number * len(STEPS) :][: len(STEPS)]
            self.assertEqual({sample.key for sample in of_round}, {("cpu", s.key, number) for s in STEPS})
            orders.append(tuple(sample.key[1] for sample in of_round))
        self.assertEqual(len(samples), 20 * len(STEPS))
        self.assertGreater(len(set(orders)), 15)

    def test_order_is_the_same_when_it_goes_on(self):
        def keys(plan):
            return [sample.key for part in plan.parts.values() for sample in part]

        self.assertEqual(keys(Plan(False, ROWS)), keys(Plan(False, ROWS)))
        self.assertEqual(len(set(keys(Plan(False, ROWS)))), len(keys(Plan(False, ROWS))))

    def test_rates_are_shares_of_the_capacity(self):
        class Sampler:
            def latency(self, server, rate):
                return rate

        samples = [sample for sample in Plan(False, []).parts["latency"] if sample.key != CAPACITY]
        rates = {sample.key[2]: sample.take(Sampler(), {CAPACITY: 1000}) for sample in samples}
        self.assertEqual(rates, {0.5: 500, 0.8: 800})
        turns = [sample.key[2:] for sample in samples]
        self.assertEqual(turns, sorted(turns, key=lambda turn: turn[::-1]), "all loads and steps in each round")

    def test_no_rate_without_a_capacity(self):
        class Nothing(dict):
            def all(self, *_):
                return []

        for sample in Plan(False, []).parts["latency"]:
            with self.assertRaises(Failure):
                sample.take(None, Nothing())

    def test_rows_of_the_field(self):
        rows = {row.name: row for row in field_rows()}
        self.assertTrue(rows["echo_coro"].command.endswith("echo_coro --port {port}"))
        self.assertEqual((rows["go"].language, rows["go"].kind), ("Go", "thread"))
        self.assertTrue(rows["asyncio3"].command.endswith("asyncio_echo.py {port}"))
        self.assertEqual([name for name in rows if name.endswith("2")], [])

    def test_context_switches_are_counted(self):
        program = "import sys, time; sys.stdin.readline(); [time.sleep(0.002) for _ in range(100)]; input()"
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdin.close)
        with SwitchCounter(process.pid) as counter:
            process.stdin.write("go\n")
            process.stdin.flush()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while counter.total < 100 and time.monotonic() < deadline:
                time.sleep(0.05)
        self.assertGreaterEqual(counter.total, 100)

    def test_times_are_those_of_the_help(self):
        def minutes(quick):
            rows = [Row(f"row {number}", "callback", "", "x {port}") for number in range(25)]
            return sum(sample.seconds for part in Plan(quick, rows).parts.values() for sample in part) / 60

        told = subprocess.run([sys.executable, str(LAB), "--help"], capture_output=True, text=True).stdout
        self.assertIn("takes about half an hour. A quick one takes two minutes", told)
        self.assertTrue(25 <= minutes(False) <= 32, minutes(False))
        self.assertTrue(1.6 <= minutes(True) <= 2.4, minutes(True))


class Figures(Folder):
    def measured(self):
        journal = self.journal()
        for number, shared in enumerate((1.0, 1.5, 3.0, 1.1, 0.9, 2.0)):  # noise of the machine
            for step in STEPS[:-1]:
                cost = shared * (4 + step.number) * (2 if step.backend == "epoll" else 1)
                journal.add(("cpu", step.key, number), {"cpu_us": cost, "throughput": 1e6 / cost}, 1)
        for number in range(5):
            journal.add(("accept_close", COROUTINE.key, number), 20 + number, 1)
            journal.add(("scaling", COROUTINE.key, 100, number), {"cpu_us": 7 - number}, 1)
            journal.add(("field", "go", "cpu", number), {"cpu_us": 8 + number, "throughput": 100 - number, "waited_share": number / 10,
                                                      "client_limits": (None, [], ["cpu"], [], None)[number]}, 1)
        for what in COUNTED:
            journal.add((what, COROUTINE.key), len(what), 1)
        for number, user in enumerate((500, 504, 502)):
            held = [{"connections": count, "user": 4_000_000 + count * user, "kernel": 9000 * count} for count in (50, 100)]
            journal.add(("idle_bytes", COROUTINE.key, number), held, 1)
        journal.add(("field", "go", "idle"), {"connections": 50, "user": 5000, "kernel": 1}, 1)
        journal.add(("latency", COROUTINE.key, 0.5, 0), made_up.latencies_at_rate(20, 30.0), 1)
        return journal

    def test_ratios_are_those_of_one_round(self):
        told = results(self.measured(), ROWS, False)
        for step, of_step in zip(STEPS[:-1], told["ladder"]):
            ratio = of_step["ratio_to_step_0"]
            expected = (4 + step.number) * (2 if step.backend == "epoll" else 1) / 4
            self.assertEqual(ratio["pairs"], 6)
            for name in ("median", "low", "high"):
                self.assertTrue(math.isclose(ratio[name], expected), (step.key, name, ratio))

    def test_corrected_interval_takes_enough_rounds(self):
        journal = self.measured()
        self.assertNotIn("corrected_low", results(journal, ROWS, False)["ladder"][1]["ratio_to_step_0"])
        for number in range(6, 9):
            for step, cost in ((BASE, 4), (COROUTINE, 5)):
                journal.add(("cpu", step.key, number), {"cpu_us": cost, "throughput": 1}, 1)
        ratio = results(journal, ROWS, False)["ladder"][1]["ratio_to_step_0"]
        self.assertEqual((ratio["pairs"], ratio["comparisons"]), (9, len(STEPS) - 1))
        self.assertAlmostEqual(ratio["corrected_low"], 1.25)
        self.assertAlmostEqual(ratio["corrected_high"], 1.25)

    def test_round_without_step_0_is_no_pair(self):
        journal = self.measured()
        del journal.values["cpu", BASE.key, 2]
        self.assertEqual(results(journal, ROWS, False)["ladder"][1]["ratio_to_step_0"]["pairs"], 5)

    def test_figures_of_a_step(self):
        of_step = results(self.measured(), ROWS, False)["ladder"][1]
        self.assertEqual((of_step["step"], of_step["name"], of_step["backend"]), ("1", "coroutine", "io_uring"))
        self.assertEqual(of_step["cpu_us_per_echo"], 5 * 1.3)
        self.assertEqual(of_step["accept_close_us"], 22)
        self.assertEqual(of_step["instructions_per_echo"], len("instructions"))
        (of_load,) = of_step["latency"]
        self.assertEqual((of_load["load"], of_load["rate_per_s"], of_load["percentiles"]), (0.5, 20, [[50.0, 30.0]]))

    def test_memory_of_a_connection_is_what_it_adds(self):
        """1,024 kept buffers with one touched page each are not 840 bytes for each of 5,000 connections."""
        of_step = results(self.measured(), ROWS, False)["ladder"][1]
        self.assertEqual(of_step["user_bytes_per_idle_connection"], 502)
        self.assertEqual(of_step["kernel_bytes_per_idle_connection"], 9000)
        self.assertEqual(of_step["idle"], {"samples": 3, "fewest": 50, "most": 100, "user_low": 500, "user_high": 504,
                                           "kernel_low": 9000, "kernel_high": 9000, "user_shared_bytes": 4_000_000})  # fmt: skip

    def test_what_is_missing_says_why(self):
        journal = self.measured()
        self.assertEqual(results(journal, ROWS, False)["ladder"][-1]["skipped"], "not measured yet")
        journal.failed(("cpu", STEPS[-1].key, 0), "it fell over")
        told = results(journal, ROWS, False)
        self.assertEqual(told["ladder"][-1]["skipped"], "it fell over")
        by_name = {row["name"]: row for row in told["field"]}
        self.assertEqual(by_name["trio"]["skipped"], "no trio")
        self.assertEqual(by_name["echo_coro"]["skipped"], "not measured yet")
        self.assertEqual((by_name["go"]["cpu_us_per_echo"], by_name["go"]["throughput_per_s"]), (10, 98))
        self.assertEqual(by_name["go"]["client_limits"], ["cpu"])
        self.assertEqual(by_name["go"]["waited_share"], 0.2)
        self.assertEqual(by_name["go"]["memory_bytes_per_connection"], 100)
        self.assertNotIn("skipped", by_name["go"])

    def test_through_tls(self):
        journal = self.journal()
        for number in range(6):
            for name, cost in (("C on epoll", 4), ("ringlet", 3)):
                journal.add(("tls", "64 bytes", name, number), {"cpu_us": (1 + number) * cost}, 1)
        journal.add(("tls", "idle", "ringlet"), 17_000, 1)
        journal.failed(("tls", "64 bytes", "Go", 0), "go_echo is not built")
        in_c, ours, go, haproxy, nginx = results(journal, ROWS, False)["tls"]
        self.assertIsNone(in_c["loads"][0]["ratio_to_anchor"])
        self.assertEqual((ours["idle_bytes"], ours["loads"][0]["cpu_us"]), (17_000, 10.5))
        self.assertEqual(ours["loads"][0]["ratio_to_anchor"]["median"], 0.75)
        self.assertEqual((go["skipped"], nginx["skipped"], nginx["proxies"]), ("go_echo is not built", "not measured yet", True))
        self.assertEqual((haproxy["name"], ours["proxies"]), ("haproxy", False))

    def test_scaling(self):
        told = results(self.measured(), ROWS, True)["scaling"]
        self.assertEqual(len(told), len(SCALED))
        self.assertEqual(told[1]["points"], [{"connections": 100, "cpu_us_per_echo": 5, "ratio_to_step_0": None}])
        self.assertEqual(told[0]["points"], [])

    def test_scaling_is_compared_with_step_0_of_the_same_round(self):
        journal = self.journal()
        for count in (1, 100):
            for number, shared in enumerate((1, 3, 2, 1, 5, 1, 1, 2, 1)):
                for step, cost in ((BASE, 4), (COROUTINE, 5)):
                    journal.add(("scaling", step.key, count, number), {"cpu_us": count * shared * cost}, 1)
        (_, one, *_) = results(journal, ROWS, False)["scaling"]
        for point in one["points"]:
            ratio = point["ratio_to_step_0"]
            self.assertEqual((ratio["pairs"], ratio["comparisons"]), (9, 2 * (len(SCALED) - 1)))
            self.assertAlmostEqual(ratio["median"], 1.25)
            self.assertAlmostEqual(ratio["corrected_low"], 1.25)

    def test_the_report_reads_them(self):
        specification = importlib.util.spec_from_file_location("report_results", ROOT / "bench/commands/report/results.py")
        report = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(report)
        parsed = report.parse(json.dumps(results(self.measured(), ROWS, True)))
        self.assertEqual(parsed["ladder"][1]["cpu_us_per_echo"], 6.5)


@unittest.skipUnless(ladder_is_built(), "the ladder is not built here")
class Ladder(unittest.TestCase):
    def test_every_step_echoes(self):
        for step in STEPS:
            with self.subTest(step.key):
                try:
                    with measuring.running_server(step.server, None) as server:
                        measuring.run_client(Load(10, 2, 50, 3000), server, None)
                except Failure as failure:
                    if "without Boost.Context" not in str(failure):
                        raise
                    self.skipTest("the ladder is built without Boost.Context (libboost-context-dev)")

    def test_wrong_steps(self):
        program = str(measuring.BUILD / "bench/ladder/ladder")
        for options, why in ((["--step", "8"], "no step '8'"), (["--step", "fiber", "--backend", "epoll"], "io_uring only"),
                             (["--port", "0"], "--port")):  # fmt: skip
            ended = subprocess.run([program, *options], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
            self.assertEqual(ended.returncode, USAGE)
            self.assertIn(why, ended.stderr)

    def test_sample_says_whether_the_client_was_the_limit(self):
        sample = Sampler((None, None), False, None).cpu("echo_coro", 1, 10_000)
        self.assertGreater(sample["cpu_us"], 0)
        self.assertGreater(sample["throughput"], 0)
        self.assertTrue(0 <= sample["waited_share"] < 1, sample["waited_share"])
        self.assertIsInstance(sample["client_limits"], list, "10,000 round trips take more than 200 ms")

    def test_sends_without_a_copy(self):
        for server in ("zero_copy_echo", "zero_copy_echo copied"):
            with self.subTest(server), measuring.running_server(server, None) as running:
                measuring.run_client(Load(5, 1, 20, 300_000), running, None)


@unittest.skipUnless(ladder_is_built(), "the ladder is not built here")
class Program(Folder):
    def start(self, *options, **more):
        command = [sys.executable, str(LAB), "--quick", "--only", "accept_close", "--output", str(self.folder)]
        process = subprocess.Popen([*command, *options], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)  # fmt: skip
        self.addCleanup(process.kill)
        return process

    def lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def build_with_a_client_that_waits(self):
        """A folder with the programs. Once the journal has four lines, its client creates `waiting` and waits for
        ever, if there is a file `waits` beside it."""
        build = self.folder / "build"
        (build / "src/client").mkdir(parents=True)
        (build / "bench").symlink_to(measuring.BUILD / "bench")
        client = build / "src/client/echo_bench"
        client.write_text(
            f"""#!/bin/sh
            if [ -e '{build}/waits' ] && [ "$(wc -l < '{self.path}')" -ge 4 ]; then
                touch '{build}/waiting'
                exec sleep 1000
            fi
            exec '{measuring.BUILD}/src/client/echo_bench' "$@"
            """
        )
        client.chmod(0o755)
        return build, {**os.environ, "RINGLET_BUILD_DIR": str(build)}

    def test_goes_on_after_ctrl_c(self):
        build, environment = self.build_with_a_client_that_waits()
        (build / "waits").touch()
        first = self.start(env=environment)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (build / "waiting").exists():
            self.assertIsNone(first.poll(), "it ended before it was interrupted")
            self.assertLess(time.monotonic(), deadline, "no samples were written down")
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(first.returncode, INTERRUPTED, said)
        self.assertIn("goes on from here", said)
        before = self.lines()
        self.assertEqual(len(before), 4)

        (build / "waits").unlink()
        second = self.start(env=environment)
        printed, said = second.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(second.returncode, 0, said)
        self.assertEqual(self.lines()[: len(before)], before)
        self.assertEqual(len(self.lines()), 2 + len(STEPS))
        told = json.loads((self.folder / "results.json").read_text())
        self.assertFalse(told["finished"], "other parts are missing")
        self.assertTrue(all(step["accept_close_us"] > 0 for step in told["ladder"]))
        self.assertGreater(told["machine"]["cores"], 0)
        self.assertIn(str(self.folder / "report.html"), printed)
        self.assertIn("Nothing was compared", (self.folder / "report.html").read_text())

    def test_programs_are_missing(self):
        environment = {**os.environ, "RINGLET_BUILD_DIR": str(self.folder)}
        ended = subprocess.run([sys.executable, str(LAB), "--output", str(self.folder / "out")], text=True,
                               capture_output=True, env=environment, timeout=PATIENCE_SECONDS)  # fmt: skip
        self.assertEqual(ended.returncode, UNAVAILABLE)
        self.assertIn("build the preset release first", ended.stderr)

    def test_wrong_usage(self):
        ended = subprocess.run([sys.executable, str(LAB), "--only", "nothing"], capture_output=True,
                               text=True, timeout=PATIENCE_SECONDS)  # fmt: skip
        self.assertEqual(ended.returncode, USAGE)
        self.assertIn("cpu", ended.stderr)


if __name__ == "__main__":
    unittest.main()
