"""What the report says about the field: few lines in charts, all in the tables, with the right words.

Run one with   /usr/bin/python3 tests/bench/report_field_test.py Field.test_few_lines_and_all_in_the_table
"""

import pathlib
import re
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from reporting import Reports  # first: it knows where the report is
import field_latency
import lab_results


class Field(Reports):
    def drawn(self, text):
        return set(re.findall(r'data-chart="latency-field" data-name="([^"]+)"', text))

    def test_few_lines_and_all_in_the_table(self):
        text = self.page(lab_results.whole())
        self.assertEqual(self.drawn(text), {"uring_echo", "echo_coro", "tokio", "asyncio"})
        for label in ("uring_echo: the best</text>", "tokio: the median</text>", "asyncio: the worst</text>"):
            self.says(label, text)
        self.says(">echo_coro</text>", text)
        for name, *_ in lab_results.FIELD:
            self.says(f'<th scope="row">{name}</th><td>20,000</td>', text)

    def test_rate_is_told_and_no_load(self):
        text = self.page(lab_results.whole())
        self.says(">20,000 echoes per second</text>", text)
        self.says_not("load not told", text)
        self.says_not("load 0:", text)

    def test_place_is_that_of_the_median_of_the_rounds(self):
        rows = lab_results.whole()["field"]
        (curve,) = rows[0]["latency"]
        for each in curve["rounds"]:
            each["percentiles"] = [[p, 9e6 if p == 99 else us] for p, us in each["percentiles"]]
        places = {row["name"]: place for row, place in field_latency.chosen(rows)}
        self.assertEqual(places["echo_coro"], "the worst")

    def test_few_servers(self):
        content = lab_results.whole()
        for count, places in (
            (1, {"echo_coro": "the best"}),
            (2, {"uring_echo": "the best", "echo_coro": "the worst"}),
        ):
            told = {row["name"]: place for row, place in field_latency.chosen(content["field"][:count])}
            self.assertEqual(told, places)
        self.assertEqual(field_latency.chosen([]), [])

    def test_thread_of_the_field_is_a_light_one(self):
        content = lab_results.whole()
        text = self.page(content)
        self.says(">Go · light thread · loop</text>", text)
        self.says("Go net (Go, light thread, loop)", text)
        self.says_not("Go · thread", text)


if __name__ == "__main__":
    unittest.main()
