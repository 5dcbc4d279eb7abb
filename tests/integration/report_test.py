"""The report shows what was measured, and nothing else.

Run one with   /usr/bin/python3 tests/integration/report_test.py Pages.test_marks_are_the_figures
"""

import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bench" / "report"
PATIENCE_SECONDS = 110
USAGE, WRONG_DATA, NO_INPUT, CANNOT_CREATE = 64, 65, 66, 73
NAMES = ("ladder", "field", "latency-ladder", "latency-field", "memory", "scaling")

sys.dont_write_bytecode = True
sys.path[:0] = [str(PROGRAM), str(PROGRAM.parent), str(ROOT / "tests" / "support")]
import chromium
import lab_results
import results as report_results
import sentences

MARKS = "[...document.querySelectorAll('[data-chart]')].map(mark => ({...mark.dataset, box: box(mark)}))"
TEXTS = "[...document.querySelectorAll('svg text')].map(text => ({chart: text.closest('svg').id, text: text.textContent, box: box(text)}))"
BOX = "const box = mark => { const b = mark.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };"
LUMINANCE = """
const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(channel);
                              return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const paper = luminance(getComputedStyle(document.documentElement).backgroundColor);
const contrast = colour => { const [a, b] = [luminance(colour), paper].sort((x, y) => y - x);
                             return (a + 0.05) / (b + 0.05); };"""


def run(*arguments, **options):
    return subprocess.run([sys.executable, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, check=False, **options)  # fmt: skip


class Reports(unittest.TestCase):
    """Makes reports in a folder that is taken away."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-report-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def report(self, content, **options):
        """The folder with the report of some results."""
        source = self.folder / "results.json"
        source.write_text(content if isinstance(content, str) else json.dumps(content))
        self.ended = run(source, "-o", self.folder / "out", **options)
        return self.folder / "out"

    def page(self, content):
        """The text of the page, made without pictures: that is faster."""
        out = self.report(content, env={**os.environ, "PATH": ""})
        self.assertEqual(self.ended.returncode, 0, self.ended.stderr)
        return (out / "report.html").read_text()


class Pages(Reports):
    """What Chromium makes of it."""

    def setUp(self):
        super().setUp()
        try:
            chromium.find()
        except chromium.Unavailable as missing:
            self.skipTest(str(missing))

    def opened(self, content, width=800, scheme="light", media=""):
        self.page(content)
        browser = chromium.Browser()
        self.addCleanup(browser.__exit__)
        browser.use(scheme, media)
        browser.resize(width)
        browser.open(self.folder / "out" / "report.html")
        browser.evaluate(f"globalThis.all = what => {{ {BOX} return eval(what); }}; 0")
        return browser

    def marks(self, browser):
        return browser.evaluate(f"all({json.dumps(MARKS)})")

    def test_marks_are_the_figures(self):
        content = lab_results.whole()
        marks = self.marks(self.opened(content))
        found = sorted((mark["chart"], *(value for key, value in sorted(mark.items()) if key not in ("chart", "box")))
                       for mark in marks)  # fmt: skip
        self.assertEqual(found, sorted(expected_marks(content)))

    def test_marks_are_as_long_as_the_figures(self):
        marks = self.marks(self.opened(lab_results.whole()))

        def scales(chosen, size):
            return [size(mark["box"]) / math_of(float(mark["value"])) for mark in marks if chosen(mark)]

        math_of = float
        width = lambda box: box[2] - box[0]
        for figure in ("throughput_per_s", "cpu_us_per_echo"):
            self.all_alike(scales(lambda mark: mark.get("figure") == figure, width))
        self.all_alike(scales(lambda mark: mark["chart"] == "memory" and float(mark["value"]) > 1000, width))
        math_of = lambda value: abs(math.log(value))
        self.all_alike(
            scales(lambda mark: mark["chart"] == "ladder" and abs(float(mark["value"]) - 1) > 0.03, width)
        )
        for chart, axis, height in (
            ("scaling", "connections", float),
            ("latency-ladder", "percentile", math.log),
        ):
            points = [mark for mark in marks if mark["chart"] == chart and mark.get("load") in (None, "0.5")]
            centre = lambda mark, side: (mark["box"][side] + mark["box"][side + 2]) / 2
            points.sort(key=lambda mark: float(mark["value"]))
            slopes = [(centre(points[0], 1) - centre(mark, 1)) / (height(float(mark["value"])) - height(float(points[0]["value"])))
                      for mark in points if float(mark["value"]) > 1.5 * float(points[0]["value"])]  # fmt: skip
            self.all_alike(slopes, 0.08)
            points.sort(key=lambda mark: float(mark[axis]))
            places = [centre(mark, 0) for mark in points]
            self.assertTrue(all(a <= b + 0.6 for a, b in zip(places, places[1:])), places)

    def all_alike(self, values, tolerance=0.03):
        self.assertGreater(len(values), 3)
        self.assertGreater(min(values), 0)
        self.assertLess(max(values) / min(values), 1 + tolerance, values)

    def test_nothing_goes_wrong_and_nothing_is_fetched(self):
        browser = self.opened(lab_results.whole())
        browser.evaluate("new Promise(done => setTimeout(done, 200))")
        for event in browser.events:
            told = event["params"]
            self.assertNotEqual(event["method"], "Runtime.exceptionThrown", told)
            self.assertNotEqual(told.get("entry", {}).get("level"), "error", told)
            self.assertFalse(event["method"] == "Runtime.consoleAPICalled" and told["type"] == "error", told)
            if event["method"] == "Network.requestWillBeSent":
                self.assertRegex(told["request"]["url"], r"^(file:.*/report\.html|data:.*)$")

    def test_fits_into_the_window(self):
        for width in (800, 420):
            browser = self.opened(lab_results.whole(), width)
            self.assertLessEqual(browser.evaluate("document.documentElement.scrollWidth"), width)
        self.assertGreater(browser.evaluate("document.documentElement.scrollHeight"), 2000)

    def test_texts_of_charts_are_whole_and_apart(self):
        browser = self.opened(lab_results.whole())
        frames = browser.evaluate(
            "Object.fromEntries(all(\"[...document.querySelectorAll('svg')].map(svg => [svg.id, box(svg)])\"))"
        )
        self.assertEqual(sorted(frames), sorted(f"chart-{name}" for name in NAMES))
        texts = browser.evaluate(f"all({json.dumps(TEXTS)})")
        self.assertGreater(len(texts), 100)
        for number, text in enumerate(texts):
            left, top, right, bottom = text["box"]
            frame = frames[text["chart"]]
            self.assertTrue(
                frame[0] - 0.5 <= left and right <= frame[2] + 0.5, f"{text} is cut off by {frame}"
            )
            self.assertTrue(
                frame[1] - 0.5 <= top and bottom <= frame[3] + 0.5, f"{text} is cut off by {frame}"
            )
            for other in texts[:number]:
                apart = (other["box"][2] <= left or right <= other["box"][0]
                         or other["box"][3] <= top + 2 or bottom <= other["box"][1] + 2)  # fmt: skip
                self.assertTrue(apart, f"{text} lies on {other}")

    def test_light_and_dark_can_be_read(self):
        papers = []
        for scheme in ("light", "dark"):
            browser = self.opened(lab_results.whole(), scheme=scheme)
            papers.append(browser.evaluate(f"(() => {{ {LUMINANCE} return paper; }})()"))
            for selector, property_, least in (
                ("p, li, th, td, caption, figcaption, summary, h1, h2", "color", 4.5),
                ("svg text", "fill", 4.5),
                ("svg .curve", "stroke", 3),
                ("svg .ours, svg .user", "fill", 3),
            ):
                told = browser.evaluate(
                    f"(() => {{ {LUMINANCE} return [...document.querySelectorAll('{selector}')]"
                    f".map(one => contrast(getComputedStyle(one).{property_})); }})()")  # fmt: skip
                self.assertGreater(len(told), 3, selector)
                self.assertGreaterEqual(min(told), least, f"{selector} on {scheme}")
        self.assertGreater(papers[0], 0.9)
        self.assertLess(papers[1], 0.05)

    def test_print_is_on_paper_and_shows_every_table(self):
        browser = self.opened(lab_results.whole(), 700, "dark", "print")
        self.assertGreater(browser.evaluate(f"(() => {{ {LUMINANCE} return paper; }})()"), 0.9)
        heights = browser.evaluate(
            "[...document.querySelectorAll('table')].map(table => table.checkVisibility({contentVisibilityAuto: true}) ? table.getBoundingClientRect().height : 0)"
        )
        self.assertEqual(len(heights), 5)
        self.assertGreater(min(heights), 50, heights)

    def test_charts_are_told_to_who_cannot_see_them(self):
        browser = self.opened(lab_results.whole())
        told = browser.evaluate(
            "[...document.querySelectorAll('svg')].map(svg => [svg.getAttribute('role'), ...svg.getAttribute('aria-labelledby').split(' ').map(id => document.getElementById(id).textContent)])"
        )
        self.assertEqual(len(told), len(NAMES))
        for role, title, description in told:
            self.assertEqual(role, "img")
            self.assertGreater(len(title), 10)
            self.assertRegex(description, r"\d")

    def test_pictures(self):
        out = self.report(lab_results.whole())
        self.assertEqual((self.ended.returncode, self.ended.stderr), (0, ""))
        self.assertEqual(
            sorted(path.name for path in (out / "charts").glob("*.png")),
            sorted(f"{name}.png" for name in NAMES),
        )
        for name in NAMES:
            width, height, changes = look_at(out / "charts" / f"{name}.png")
            size = re.search(r'width="(\d+)" height="(\d+)"', (out / "charts" / f"{name}.svg").read_text())
            self.assertEqual((width, height), (2 * int(size[1]), 2 * int(size[2])))
            self.assertGreater(changes, 20_000, f"{name} is blank")


def look_at(path):
    """(width, height, bytes that differ from what is beside or above) of a PNG."""
    content, place, packed = path.read_bytes(), 8, b""
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        packed += content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += length + 12
    raw = zlib.decompress(packed)
    return (*struct.unpack(">II", content[16:24]), len(raw) - raw.count(0))


def expected_marks(content):
    """What must be drawn of the results, read in another way than the report reads them."""
    for row in content["ladder"]:
        ratio = row.get("ratio_to_step_0")
        if ratio:
            yield "ladder", row["backend"], *(repr(ratio[key]) for key in ("high", "low")), row["step"], repr(
                ratio["median"]
            )
        for side in ("kernel", "user"):
            yield "memory", row["backend"], side, row["step"], repr(row[f"{side}_bytes_per_idle_connection"])
    for row in content["field"]:
        for key in ("throughput_per_s", "cpu_us_per_echo"):
            yield "field", key, row["name"], repr(row[key])
    for part in ("ladder", "field"):
        for row in content[part]:
            for curve in row["latency"]:
                for percentile, us in curve["percentiles"]:
                    backend = [row["backend"]] if part == "ladder" else []
                    yield f"latency-{part}", *backend, repr(curve["load"]), row["name"], repr(
                        percentile
                    ), repr(us)
    for row in content["scaling"]:
        for point in row["points"]:
            yield "scaling", repr(point["connections"]), row["name"], repr(point["cpu_us_per_echo"])


class Words(Reports):
    def said(self, median, low, high, number="1", backend="io_uring", pairs=20):
        ratio = {"pairs": pairs, "median": median, "low": low, "high": high}
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
            "Coroutines whose frames come from malloc save 4.0 % [2.0, 5.0] of the CPU time of an echo on this machine.",
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

    def test_too_few_pairs(self):
        self.assertEqual(
            self.said(1.5, 1.4, 1.6, pairs=5),
            "A coroutine per connection: 5 pairs are too few to say anything (the ratio was 1.50).",
        )
        self.assertIn("adds", self.said(1.5, 1.4, 1.6, pairs=6))

    def test_machine(self):
        text = self.page(lab_results.whole())
        for words in (
            "Some CPU 7 (2 cores, 32 GiB of memory)",
            "Linux 6.18.1",
            "g++ 12.2.0",
            "1 March 2026",
            "ringlet 0.1.0",
        ):
            self.assertIn(words, text)

    def test_quick_and_unfinished_runs_say_so(self):
        content = lab_results.whole()
        self.assertNotRegex(self.page(content), "are rough|did not finish")
        content.update(quick=True, finished=False)
        text = self.page(content)
        self.assertIn("This is a quick run: the figures are rough.", text)
        self.assertIn("Roughly: a coroutine per connection adds", text)
        self.assertIn("The measurement did not finish", text)

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
        self.assertNotIn("<svg", text)
        self.assertEqual(re.findall(r'id="missing-([\w-]+)">[A-Z][^<]+\.<', text), list(NAMES))
        self.assertIn("Nothing was compared with callbacks", text)
        self.assertEqual(list((self.folder / "out" / "charts").iterdir()), [])

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
        self.assertIn("<dt>step 6 on io_uring, A fiber</dt><dd>no &lt;Boost.Context&gt; here</dd>", text)
        self.assertIn("skipped: no &lt;Boost.Context&gt; here</text>", text)
        self.assertNotIn('data-step="6"', text)
        self.assertIn("Nothing was skipped", self.page(lab_results.whole()))

    def test_pictures_of_an_earlier_run_go_away(self):
        self.page(lab_results.whole())
        self.assertEqual(len(list((self.folder / "out" / "charts").iterdir())), len(NAMES))
        self.page(lab_results.empty())
        self.assertEqual(list((self.folder / "out" / "charts").iterdir()), [])


def make_page(content):
    import page

    told = report_results.parse(json.dumps(content))
    return page.page(told, page.all_charts(told))


class Files(Reports):
    def fails(self, status, words, content):
        out = self.report(content)
        self.assertEqual(self.ended.returncode, status, self.ended.stderr)
        self.assertRegex(self.ended.stderr, f"^report: .*{words}.*\n$")
        self.assertFalse((out / "report.html").exists())

    def test_what_is_no_result_is_refused(self):
        self.fails(WRONG_DATA, "no JSON", "{")
        self.fails(WRONG_DATA, "no result of the lab", "[]")
        self.fails(WRONG_DATA, "no result of the lab", {"schema": 1, "kind": "targets"})
        self.fails(WRONG_DATA, "schema 2; this program knows schema 1", {"schema": 2, "kind": "ringlet-lab"})

    def test_figures_of_the_wrong_kind_are_refused(self):
        for value in ("4", -1, True, float("nan"), [1], {}):
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
        self.assertNotRegex(self.page(lab_results.whole()), r"https?:|<script|@import|url\(|<img|src=")


if __name__ == "__main__":
    unittest.main()
