"""The report says what was measured, and nothing else. (Its looks: report_page_test.py.)

Run one with   /usr/bin/python3 tests/bench/report_test.py Words.test_more_and_less
"""

import json
import pathlib
import re
import sys
import unittest

USAGE, WRONG_DATA, NO_INPUT, CANNOT_CREATE = 64, 65, 66, 73

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from reporting import NAMES, Reports, run  # first: it knows where the report is
import charts
import lab_results
import page
import results as report_results
import sentences
import svg


class Words(Reports):
    def said(self, median, low, high, number="1", backend="io_uring", pairs=20, wider=0.001):
        ratio = {"pairs": pairs, "median": median, "low": low, "high": high, "comparisons": 9}
        if wider is not None:
            ratio.update(corrected_low=low - wider, corrected_high=high + wider)
        return sentences.sentence(
            {"step": number, "name": "x", "title": "X", "backend": backend, "ratio_to_step_0": ratio}
        )

    def test_more_and_less(self):
        self.assertEqual(
            self.said(1.021, 1.012, 1.03),
            "A coroutine per connection adds 2.1 % [1.2, 3.0] to the CPU time of an echo on this machine.",
        )
        self.assertEqual(
            self.said(0.96, 0.95, 0.98, "3"),
            (
                "Coroutines whose frames come from malloc save 4.0 % [2.0, 5.0] of the CPU time of an echo on"
                " this machine."
            ),
        )
        self.assertEqual(
            self.said(2.41, 2.3, 2.5, "7"),
            "A thread per connection takes 2.41 times [2.30, 2.50] the CPU time of an echo.",
        )
        self.assertIn("Callbacks on epoll add 30.0 %", self.said(1.3, 1.2, 1.4, "0", "epoll"))

    def test_no_difference(self):
        for low, high in ((0.99, 1.02), (1.0, 1.02), (0.99, 1.0)):
            told = self.said(1.0, low, high, "6")
            self.assertIn(
                "No difference could be seen between a stackful fiber per connection and callbacks", told
            )
            self.assertNotIn("add", told)

    def test_difference_is_claimed_by_the_corrected_interval(self):
        """Frames from malloc cannot save CPU time; in a third of all runs one of nine intervals misses 1."""
        told = self.said(0.986, 0.982, 0.997, "3", wider=0.01)
        self.assertEqual(
            told,
            "No difference could be seen between coroutines whose frames come from malloc and callbacks: the"
            " ratio is 0.986 [0.982, 0.997], and of 9 such intervals one may miss 1 by chance.",
        )
        self.assertIn("save 1.4 % [0.3, 1.8]", self.said(0.986, 0.982, 0.997, "3", wider=0.002))

    def test_colours_are_those_of_the_sentences(self):
        content = lab_results.whole()
        content["ladder"][3]["ratio_to_step_0"].update(median=0.986, low=0.982, high=0.997, corrected_low=0.97,
                                                       corrected_high=1.003)  # fmt: skip
        content["ladder"][2]["ratio_to_step_0"].pop("corrected_high")
        bars = re.findall(
            r'class="(ours|theirs)" data-chart="ladder" data-step="(\d)" data-backend="io', self.page(content)
        )
        bars = {step: kind for kind, step in bars}
        self.assertEqual((bars["1"], bars["2"], bars["3"], bars["7"]), ("ours", "theirs", "theirs", "ours"))

    def test_too_few_pairs(self):
        self.assertEqual(
            self.said(1.5, 1.4, 1.6, pairs=5, wider=None),
            "A coroutine per connection: 5 pairs are too few to say anything (the ratio was 1.50).",
        )
        self.assertIn("adds", self.said(1.5, 1.4, 1.6, pairs=9))

    def test_a_ladder_of_too_few_pairs_says_it_once(self):
        content = lab_results.whole()
        for row in content["ladder"]:
            ratio = row.get("ratio_to_step_0", {})
            ratio["pairs"] = 3
            ratio.pop("corrected_low", None)
        content["quick"] = True
        text = self.page(content)
        self.says(">Too few runs to say what a coroutine costs: 3 for each step, and it takes 9.<", text)
        self.says_not("are too few to say anything", text)
        self.says_not("Roughly", text)

    def test_only_epoll_is_told(self):
        content = lab_results.whole()
        content["ladder"][7]["backend"] = "blocking calls"
        text = self.page(content)
        self.says_not("calls</text>", text)
        self.says_not("7 thread, epoll", text)
        self.says("A coroutine per connection on epoll adds", text)
        self.says("1 coroutine, epoll</text>", text)

    def test_machine(self):
        text = self.page(lab_results.whole())
        for words in (
            "Some CPU 7 (2 cores, 32 GiB of memory)",
            "Linux 6.18.1",
            "g++ 12.2.0",
            "1 March 2026",
            "ringlet 0.1.0",
        ):
            self.says(words, text)

    def test_who_waited_for_a_cpu_and_what_the_client_was_on(self):
        content = lab_results.whole()
        told = self.page(content)
        self.says("4.2%", told)
        self.says("the client on io_uring", told)
        for row in content["ladder"]:
            del row["waited_share"]
        self.assertNotIn("without a CPU", self.page(content))

    def test_machine_in_the_words_of_the_kernel_and_of_cmake(self):
        content = lab_results.whole()
        content["machine"].update(kernel="Linux 6.18.1 #1 SMP PREEMPT", compiler="GNU 12.2.0", mitigations={
            "meltdown": "Not affected", "spectre_v1": "Mitigation: barriers", "tsa": "Vulnerable: no microcode"})  # fmt: skip
        text = self.page(content)
        self.says("Linux 6.18.1, g++ 12.2.0", text)
        self.says("mitigations on for spectre_v1; none for tsa.", text)

    def test_rates_that_were_not_reached_are_told(self):
        content = lab_results.whole()
        self.says_not("Did not reach", self.page(content))
        content["ladder"][7]["latency"][1]["reached_per_s"] = 53_414
        content["ladder"][6]["latency"][1]["reached_per_s"] = 79_990
        text = self.page(content)
        self.says("in echoes per second: 7 thread at load 0.8 (53,414 of 80,000). Such", text)

    def test_what_the_client_says_of_itself_is_told(self):
        content = lab_results.whole()
        self.says_not("†", self.page(content))
        content["field"][1]["client_limits"] = ["cpu"]
        content["ladder"][1]["latency"][0]["client_limits"] = ["cpu", "late_sends"]
        text = self.page(content)
        self.says(
            "† For the marked rows the client was the limit, so that their throughput is the client", text
        )
        self.says(">211,020 †</text>", text)
        self.says("<td>211,020 †</td>", text)
        self.says_not("207,281 †", text)
        self.says('<th scope="row">1  A coroutine per connection †</th><td>0.5</td>', text)
        self.says("† In at least one round of 1 of 20 lines the client was at its own limit (its one thread had work for"
                  " more than 90 % of the time or more than 1 % of its messages left over 1 ms late)", text)  # fmt: skip
        self.assertEqual(text.count("†"), 5)

    def test_more_connections_are_compared_in_the_same_round(self):
        content = lab_results.whole()
        text = self.page(content)
        self.says('<tr><th scope="row">thread</th><td>2.410 [2.399,\u00a02.419]</td>', text)
        self.says(
            "A thread per connection, in times the CPU time of step 0: 2.410 [2.399,&nbsp;2.419] with 1; ",
            text,
        )
        self.says("A coroutine per connection, in times the CPU time of step 0: 1.021", text)
        content["scaling"][1]["points"][4]["ratio_to_step_0"].update(corrected_low=0.99)
        self.says("2.410 [2.399,&nbsp;2.419] with 10,000 connections.", self.page(content))
        self.says_not("1.021 [1.010,&nbsp;1.030] with 10,000", self.page(content))
        for row in content["scaling"]:
            for point in row["points"]:
                point["ratio_to_step_0"].update(corrected_low=0.9)
        self.says("With no number of connections a difference from step 0 could be seen.", self.page(content))
        for row in content["scaling"]:
            for point in row["points"]:
                point["ratio_to_step_0"].pop("corrected_low")
        text = self.page(content)
        self.says_not("in times the CPU time of step 0", text)
        self.says_not("With no number of connections", text)

    def test_figures_below_nothing(self):
        """The difference of two similar measurements can be negative."""
        content = lab_results.whole()
        content["ladder"][1].update(user_bytes_per_idle_connection=-12, system_calls_per_echo=-0.01)
        text = self.page(content)
        self.says("-12 + 8,171", text)
        self.says("<td>-0.01</td>", text)
        self.says_not('width="-', text)
        self.says_not("holds -12", text)

    def test_memory_of_a_connection_is_without_what_all_share(self):
        text = self.page(lab_results.whole())
        self.says("part is what 10,000 connections take more than 5,000, for each of these", text)
        self.says(
            "holds 311 bytes in the server's process, and 8,171 bytes in the kernel for both ends; 4.2 MiB more of",
            text.replace("&#x27;", "'"),
        )
        self.says("<td>311 [150,&nbsp;7,571]</td><td>8,171 [8,011,&nbsp;8,301]</td><td>4.2 MiB</td>", text)

    def test_through_tls(self):
        page = self.page(lab_results.whole())
        for told in ("<h2>Through TLS</h2>", "ringlet</th><td>9.40; 0.870 [0.859,", "nginx, in front of another</th>", "17,000"):  # fmt: skip
            self.assertIn(told, page)
        content = lab_results.whole()
        content["tls"][1] = {"name": "ringlet", "skipped": "it fell over"}
        self.assertIn("ringlet through TLS</dt><dd>it fell over", self.page(content))
        del content["tls"]
        self.assertNotIn("Through TLS", self.page(content))

    def test_quick_and_unfinished_runs_say_so(self):
        content = lab_results.whole()
        self.assertFalse(re.search("quick run|did not finish", self.page(content)))
        content.update(quick=True, finished=False)
        text = self.page(content)
        self.says("This is a quick run: it shows that everything works, and roughly what comes out.", text)
        self.says("Roughly: a coroutine per connection adds", text)
        self.says("The measurement did not finish", text)

    def test_percentiles_of_too_few_samples_are_left_out(self):
        content = lab_results.whole()
        content["ladder"][0]["latency"] = lab_results.latency(1, 9_999)
        text = self.page(content)
        self.assertIn("4 percentiles are not shown", text)  # 99.9 and 99.99 of two loads
        shown = re.findall(
            r'data-name="callbacks" data-backend="io_uring" data-load="0.5" data-percentile="([\d.]+)"', text
        )
        self.assertEqual(shown, ["50", "75", "90", "99"])


class Missing(Reports):
    def test_charts_without_figures_say_so(self):
        text = self.page(lab_results.empty())
        self.says_not("<svg", text)
        self.assertEqual(re.findall(r'id="missing-([\w-]+)">[A-Z][^<]+\.<', text), list(NAMES))
        self.says("Nothing was compared with callbacks", text)
        self.assertEqual(list((self.folder / "out" / "charts").iterdir()), [])

    def test_one_percentile_is_no_curve(self):
        content = lab_results.whole()
        for row in content["ladder"]:
            row["latency"] = lab_results.latency(1, samples=39)
        text = self.page(content)
        self.says('id="missing-latency-ladder">', text)
        self.says_not('id="missing-latency-field">', text)
        self.assertRegex(
            text, r"<th scope=.row.>0 callbacks</th>|<th scope=.row.>0  C callbacks"
        )  # its table

    def test_null_is_absent(self):
        content = lab_results.whole()
        nothing = dict.fromkeys(content["ladder"][1])
        content["ladder"][1] = {**nothing, "step": "1", "name": "coroutine"}
        with_null = self.page(content)
        content["ladder"][1] = {"step": "1", "name": "coroutine"}
        self.assertEqual(self.page(content), with_null)

    def test_any_figure_may_be_missing(self):
        for part in ("ladder", "field", "scaling"):
            for key in lab_results.whole()[part][0]:
                content = lab_results.whole()
                for row in content[part]:
                    if key not in ("step", "name") or part == "scaling" and key == "step":
                        row.pop(key, None)
                self.assertIn("</html>", make_page(content), f"{part} without {key}")

    def test_skipped_step(self):
        content = lab_results.whole()
        content["ladder"][6] = {
            "step": "6",
            "name": "fiber",
            "title": "A fiber",
            "skipped": "no <Boost.Context> here",
        }
        text = self.page(content)
        self.says("<dt>step 6 on io_uring, A fiber</dt><dd>no &lt;Boost.Context&gt; here</dd>", text)
        self.says("skipped: no &lt;Boost.Context&gt; here</text>", text)
        self.says_not('data-step="6"', text)
        self.says("Nothing was skipped", self.page(lab_results.whole()))

    def test_pictures_of_an_earlier_run_go_away(self):
        self.page(lab_results.whole())
        self.assertEqual(len(list((self.folder / "out" / "charts").iterdir())), len(NAMES))
        self.page(lab_results.empty())
        self.assertEqual(list((self.folder / "out" / "charts").iterdir()), [])


def make_page(content):
    told = report_results.parse(json.dumps(content))
    return page.page(told, page.all_charts(told))


class Axes(unittest.TestCase):
    def ticks(self, median):
        content = lab_results.whole()
        for row in content["ladder"]:
            if "ratio_to_step_0" in row:
                row["ratio_to_step_0"].update(median=median, low=median * 0.99, high=median * 1.01)
        drawing = charts.ladder(report_results.parse(json.dumps(content))).drawing
        return re.findall(r'text-anchor="middle">([\d.]+)<', "".join(drawing.parts))

    def test_every_range_of_ratios_has_ticks(self):
        for median in (0.2, 0.9, 0.99, 1, 1.01, 1.1, 1.3, 2, 10, 60):
            ticks = self.ticks(median)
            self.assertIn("1", ticks)
            self.assertGreaterEqual(len(ticks), 3, f"{median}: {ticks}")

    def test_labels_do_not_share_a_place(self):
        places = svg.spread([5, 5, 5, 90, 91], 10, 0, 100)
        self.assertEqual(sorted(places), places)
        for one, next_ in zip(places, places[1:]):
            self.assertGreaterEqual(next_ - one, 10 - 1e-9)
        self.assertTrue(0 <= places[0] and places[-1] <= 100, places)

    def test_linear_ticks_are_round(self):
        for low, high, ticks in ((0, 30, [0, 10, 20, 30]), (0.96, 1.04, [0.96, 0.98, 1.0, 1.02, 1.04])):
            self.assertEqual(svg.linear_ticks(low, high, 5), ticks)


class Files(Reports):
    def fails(self, status, words, content):
        out = self.report(content)
        self.assertEqual(self.ended.returncode, status, self.ended.stderr)
        self.assertRegex(self.ended.stderr, f"^report: .*{words}.*\n$")
        self.assertFalse((out / "report.html").exists())

    def test_what_is_no_result_is_refused(self):
        self.fails(WRONG_DATA, "no JSON", "{")
        self.fails(WRONG_DATA, "no result of the lab", "[]")
        self.fails(WRONG_DATA, "no result of the lab", {"schema": 2, "kind": "targets"})
        self.fails(WRONG_DATA, "schema 1; this program knows schema 2", {"schema": 1, "kind": "ringlet-lab"})

    def test_figures_of_the_wrong_kind_are_refused(self):
        for value in ("4", True, float("nan"), [1], {}):
            content = lab_results.whole()
            content["ladder"][2]["cpu_us_per_echo"] = value
            self.fails(WRONG_DATA, r"results.ladder\[2\].cpu_us_per_echo is not a number", content)
        content["ladder"][2] = {"step": "2"}
        self.fails(WRONG_DATA, r"results.ladder\[2\] has no name", content)

    def test_files_that_cannot_be_read_or_written(self):
        ended = run(self.folder / "nowhere.json", "-o", self.folder)
        self.assertEqual(
            (ended.returncode, ended.stderr),
            (NO_INPUT, f"report: {self.folder}/nowhere.json: No such file or directory\n"),
        )
        (self.folder / "out").write_text("a file")
        self.fails(CANNOT_CREATE, "out", lab_results.whole())

    def test_usage(self):
        ended = run("x.json")
        self.assertEqual(ended.returncode, USAGE)
        self.assertIn("--help explains the options", ended.stderr)
        self.assertIn("report.html", run("--help").stdout)

    def test_without_chromium(self):
        self.page(lab_results.whole())
        self.assertEqual(
            self.ended.stderr, "report: no PNG is made: Chromium is missing: install the package chromium\n"
        )
        self.assertEqual(
            sorted(path.name for path in (self.folder / "out" / "charts").iterdir()),
            sorted(f"{name}.svg" for name in NAMES),
        )

    def test_the_page_needs_nothing_else(self):
        self.assertEqual(
            re.findall(r"https?:|<script|@import|url\(|<img|src=", self.page(lab_results.whole())), []
        )


if __name__ == "__main__":
    unittest.main()
