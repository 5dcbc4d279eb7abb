"""How a browser renders the report: every figure is drawn completely, without overlaps, in readable colours.

Run one with   /usr/bin/python3 tests/bench/report_page_test.py Pages.test_marks_are_the_figures
"""

import json
import math
import os
import pathlib
import re
import struct
import sys
import unittest
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from reporting import NAMES, Reports  # first: it knows where the report is
import chromium
import lab_results

MARKS = "[...document.querySelectorAll('[data-chart]')].map(mark => ({...mark.dataset, box: box(mark)}))"
TEXTS = (
    "[...document.querySelectorAll('svg text')].map(text => ({chart: text.closest('svg').id, text:"
    " text.textContent, box: box(text)}))"
)
BOX = (
    "const box = mark => { const b = mark.getBoundingClientRect(); return [b.left, b.top, b.right,"
    " b.bottom]; };"
)
LUMINANCE = """
const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(channel);
                              return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const paper = luminance(getComputedStyle(document.documentElement).backgroundColor);
const contrast = colour => { const [a, b] = [luminance(colour), paper].sort((x, y) => y - x);
                             return (a + 0.05) / (b + 0.05); };"""


class Pages(Reports):
    """The pages as Chromium renders them."""

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
            "Object.fromEntries(all(\"[...document.querySelectorAll('svg')].map(svg => [svg.id,"
            ' box(svg)])"))'
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
            "[...document.querySelectorAll('table')].map(table =>"
            " table.checkVisibility({contentVisibilityAuto: true}) ? table.getBoundingClientRect().height"
            " : 0)"
        )
        self.assertEqual(len(heights), 8)
        self.assertGreater(min(heights), 50, heights)

    def test_charts_are_told_to_who_cannot_see_them(self):
        browser = self.opened(lab_results.whole())
        told = browser.evaluate(
            "[...document.querySelectorAll('svg')].map(svg => [svg.getAttribute('role'),"
            " ...svg.getAttribute('aria-labelledby').split(' ').map(id =>"
            " document.getElementById(id).textContent)])"
        )
        self.assertEqual(len(told), len(NAMES))
        for role, title, description in told:
            self.assertEqual(role, "img")
            self.assertGreater(len(title), 10)
            self.assertRegex(description, r"\d")

    def test_nothing_is_left_behind(self):
        temporary = self.folder / "temporary"
        temporary.mkdir()
        self.report(lab_results.whole(), env={**os.environ, "TMPDIR": str(temporary)})
        self.assertEqual(self.ended.stderr, "")
        self.assertEqual(list(temporary.iterdir()), [])
        left = [path.parent.name for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")
                if str(temporary).encode() in contents(path)]  # fmt: skip
        self.assertEqual(left, [])

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


def contents(path):
    """The contents of a file that may be gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def look_at(path):
    """(width, height, bytes that differ from their neighbours) of a PNG."""
    content, place, packed = path.read_bytes(), 8, b""
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        packed += content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += length + 12
    raw = zlib.decompress(packed)
    return (*struct.unpack(">II", content[16:24]), len(raw) - raw.count(0))


def expected_marks(content):
    """The marks expected for the results, computed independently of the report."""
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
    for row in content["ladder"]:
        for curve in row["latency"]:
            for percentile, us in curve["percentiles"]:
                yield "latency-ladder", row["backend"], repr(curve["load"]), row["name"], repr(percentile), repr(us)
    for row in content["field"]:
        if row["name"] in ("uring_echo", "echo_coro", "tokio", "asyncio"):  # at 99 % 78, 79 and more, the median, the worst
            for percentile, us in row["latency"][0]["percentiles"]:
                yield "latency-field", row["name"], repr(percentile), repr(us)
    for row in content["scaling"]:
        for point in row["points"]:
            yield "scaling", row["backend"], repr(point["connections"]), row["name"], repr(point["cpu_us_per_echo"])


if __name__ == "__main__":
    unittest.main()
