"""What the report says about the rounds of a latency: a disturbance of the machine is not blamed on a step.

Run one with   /usr/bin/python3 tests/bench/report_rounds_test.py Rounds.test_bad_round_is_the_machines
"""

import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from reporting import Reports  # first: it knows where the report is
import lab_results


def set_p99(curve, values):
    for each, us in zip(curve["rounds"], values):
        each["percentiles"] = [[p, us if p == 99 else old] for p, old in each["percentiles"]]


class Rounds(Reports):
    def test_tables_show_the_median_with_smallest_and_largest(self):
        content = lab_results.whole()
        set_p99(content["ladder"][1]["latency"][0], (110, 9000, 120, 130))
        text = self.page(content)
        self.says("<td>125 [110,&nbsp;9,000]</td>", text)
        self.says("the median of the rounds [smallest, largest]", text)

    def test_bad_round_is_the_machines(self):
        content = lab_results.whole()
        self.says("the rounds of one and the same line differ by a factor of 1.1 at most", self.page(content))
        set_p99(content["ladder"][1]["latency"][0], (110, 9000, 120, 130))
        set_p99(content["ladder"][3]["latency"][1], (110, 221, 120, 130))
        text = self.page(content)
        self.says("At 99 %, the rounds of 2 of 20 lines differ by more than a factor of 2 (the most: 1 coroutine"
                  " at load 0.5, 110 to 9,000 µs).", text)  # fmt: skip
        self.says("say more about the machine than about the server", text)

    def test_difference_is_claimed_where_all_rounds_agree_at_all_loads(self):
        content = lab_results.whole()
        later = "A thread per connection answered later than step 0 at 99 %, in all rounds: 285 [274,&nbsp;293] µs against 118 [114,&nbsp;122] at load 0.5; "
        text = self.page(content)
        self.says(later, text)
        self.says_not("A coroutine per connection answered", text)
        set_p99(content["ladder"][7]["latency"][1], (300, 300, 300, 142))  # step 0 has one of 146
        text = self.page(content)
        self.says_not("A thread per connection answered later than step 0 at 99 %", text)
        self.says("A thread per connection answered later than step 0 at 50 %", text)

    def test_few_rounds_tell_nothing_apart(self):
        content = lab_results.whole()
        for row in content["ladder"]:
            for curve in row["latency"]:
                del curve["rounds"][3:]
        text = self.page(content)
        self.says_not("answered later", text)
        self.says("so no difference in latency is claimed", text)

    def test_results_of_one_round(self):
        content = lab_results.whole()
        for row in [*content["ladder"], *content["field"]]:
            for curve in row["latency"]:
                curve.pop("rounds")
        text = self.page(content)
        self.says("<caption>Latency in µs, of all rounds together</caption>", text)
        self.says_not("in latency is claimed", text)


if __name__ == "__main__":
    unittest.main()
