"""The documents are true: their code compiles, the files and tests that they name exist, and the
version is right.

A block that begins with ```cpp must compile; ```cpp wrong shows a mistake and is not compiled. A
block of statements is put into a coroutine with the declarations of COROUTINE.
"""

import os
import pathlib
import re
import sys
import unittest

import rules

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from compiler import Compiler

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
CXX = os.environ["RINGLET_CXX"]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
             *sorted((ROOT / "docs").rglob("*.md"))]

PREAMBLE = """\
#include <ringlet/ringlet.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
using namespace ringlet;
using namespace std::chrono_literals;
"""
COROUTINE = "[[maybe_unused]] Task<> fragment(TcpStream stream, Endpoint server, EventLoop& loop) {"

FENCE = re.compile(r"^```(?P<language>.*?)$\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"cpp", "cpp wrong", "cmake", "sh", ""}
TYPE = r"(template|struct|class|enum|namespace|using|constexpr)\b"
FUNCTION = r"[A-Za-z_][\w:<>,*& ]* [*&]?\w+\([^\[{]*\) \{$"


def blocks(text):
    """Yields (line number of the first line, language, code) of each fenced block."""
    for fence in FENCE.finditer(text):
        yield text.count("\n", 0, fence.start("code")) + 1, fence["language"], fence["code"]


def declares(code):
    """True for functions and types; false for statements."""
    return any(re.match(f"{TYPE}|{FUNCTION}", line) for line in code.splitlines())


def translation_unit(name, text):
    """One source with all blocks, each in its own namespace, with the line numbers of the document."""
    includes, bodies = [], []
    for line, language, code in blocks(text):
        if language != "cpp":
            continue
        includes += re.findall(r"^#include .*$", code, re.MULTILINE)
        code = re.sub(r"^#include .*$", "", code, flags=re.MULTILINE)
        bodies.append(f"namespace block_{line} {{")
        if declares(code):
            bodies.append(f'#line {line} "{name}"\n{code}')
        else:
            bodies.append(f'{COROUTINE}\n#line {line} "{name}"\n{code}\nco_return;\n}}')
        bodies.append("}")
    return "\n".join([*includes, *bodies, ""])


def unknown_languages(text):
    return [(line, language) for line, language, _ in blocks(text) if language not in LANGUAGES]


def literals_with_a_nul(text):
    """Character arrays converted to bytes with their NUL, which a string_view would leave out."""
    return re.findall(r'span(?:<const char>)?[({]"[^"]*"', text)


def first_program(text):
    return next((code for _, language, code in blocks(text) if language == "cpp"), None)


def missing_paths(text):
    """`paths/of/files` named in the text that do not exist. (Links: house_test.py.)"""
    named = re.findall(r"`((?:src|tests|docs|examples|cmake|bench|deploy)/[\w./-]+)`", FENCE.sub("", text))
    return [path for path in named if not (ROOT / path).exists()]


def missing_cases(text):
    """Test cases named as `tests/unit/NAME_test.cpp`, "case"; "case" that do not exist; in Python "test_it"."""
    def is_there(path, case):
        if not (ROOT / path).exists():
            return False
        begin = f"def {case}(self" if path.endswith(".py") else f'TEST_CASE("{case}")'
        return begin in with_whole_names((ROOT / path).read_text())

    named = re.findall(r'`(tests/[\w/.]+)`,\s+("[^"]+"(?:;\s+"[^"]+")*)', text)
    cases = [(path, " ".join(case.split())) for path, listed in named for case in re.findall(r'"([^"]+)"', listed)]
    return [case for path, case in cases if not is_there(path, case)]


def with_whole_names(source):
    """The source with each case name as one literal, because the formatter breaks long ones."""
    return re.sub(r"TEST_CASE\(\s+", "TEST_CASE(", re.sub(r'"\s*\n\s*"', "", source))


def floors(text):
    """The folders in a table whose rows begin with | NUMBER | `FOLDER` |."""
    return re.findall(r"^\| \d \| `(\w+)` \|", text, re.MULTILINE)


def versions(changelog):
    """The versions with a heading, newest first."""
    return re.findall(r"^## (\d+\.\d+\.\d+)\b", changelog, re.MULTILINE)


def header_version():
    header = (ROOT / "src/runtime/include/ringlet/version.hpp").read_text()
    return re.search(r'RINGLET_VERSION "(.*)"', header)[1]


def long_lines(text):
    """The lines of more than 120 columns, except unbreakable ones: tables, code blocks, pictures, comments."""
    prose = re.sub(r"^```.*?^```|<!--.*?-->", lambda found: "\n" * found[0].count("\n"), text, flags=re.M | re.S)
    return [line for line in prose.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))]


class Code(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        includes = ROOT / "src/runtime/include", ROOT / "src/tls/include"
        cls.compiler = cls.enterClassContext(Compiler(CXX, PREAMBLE, *includes))

    def compile_errors(self, name, text):
        """The compiler's messages about the blocks of a document; empty if they compile."""
        ended = self.compiler.check(translation_unit(name, text))
        return ended.stderr if ended.returncode else ""

    def test_code_compiles(self):
        for document in DOCUMENTS:
            with self.subTest(document.name):
                text = document.read_text()
                if first_program(text) is not None:
                    self.assertEqual(self.compile_errors(document.name, text), "")

    def test_code_that_does_not_compile(self):
        def errors_of(code):
            return self.compile_errors("NAME.md", f"text\n\n```cpp\n{code}\n```\n")

        self.assertEqual(errors_of("auto chunk = co_await stream.recv();"), "")
        self.assertEqual(errors_of("Task<int> one() {\n    co_return 1;\n}"), "")
        self.assertIn("NAME.md:4", errors_of("auto chunk = co_await stream.receive();"))
        self.assertIn("NAME.md:5", errors_of("Task<int> one() {\n    co_return nothing;\n}"))
        self.assertIn("missing.hpp", errors_of("#include <ringlet/missing.hpp>"))

    def test_wrong_code_is_left_alone(self):
        text = "```cpp wrong\nthis is no C++\n```\n"
        self.assertEqual(self.compile_errors("NAME.md", text), "")
        self.assertIsNone(first_program(text))


class Documents(unittest.TestCase):

    def test_no_literal_is_sent_with_its_nul(self):
        for document in [*DOCUMENTS, *sorted((ROOT / "examples").glob("*.cpp"))]:
            with self.subTest(document.name):
                self.assertEqual(literals_with_a_nul(document.read_text()), [])

    def test_blocks_have_a_known_language(self):
        for document in DOCUMENTS:
            with self.subTest(document.name):
                self.assertEqual(unknown_languages(document.read_text()), [])

    def test_first_program_of_the_readme_is_the_example(self):
        self.assertEqual(first_program((ROOT / "README.md").read_text()),
                         (ROOT / "examples/echo_server.cpp").read_text())

    def test_named_files_and_tests_exist(self):
        for document in DOCUMENTS:
            with self.subTest(document.name):
                self.assertEqual(missing_paths(document.read_text()), [])
                self.assertEqual(missing_cases(document.read_text()), [])

    def test_every_promise_has_a_test(self):
        promises = re.split(r"^\d+\. ", (ROOT / "docs/internals/promises.md").read_text(), flags=re.MULTILINE)[1:]
        self.assertGreater(len(promises), 10)
        self.assertEqual([promise for promise in promises if not re.search(r'\* `tests/[^`]*`,\s+"', promise)], [])

    def test_floors_are_those_of_the_rules(self):
        written = floors((ROOT / "docs/internals/README.md").read_text())
        self.assertEqual(written[::-1], list(rules.FLOORS))

    def test_changelog_begins_with_the_version(self):
        found = versions((ROOT / "CHANGELOG.md").read_text())
        self.assertEqual(found[:1], [header_version()])

    def test_every_example_has_its_line(self):
        page = (ROOT / "docs/README.md").read_text()
        for example in sorted((ROOT / "examples").glob("*.cpp")):
            self.assertIn(f"(../examples/{example.name})", page)

    def test_every_page_can_be_reached_from_the_start(self):
        start = (ROOT / "docs/README.md").read_text()
        for page in sorted((ROOT / "docs").rglob("*.md")):
            name = str(page.relative_to(ROOT / "docs"))
            if name not in ("README.md", "results/measurements.md"):
                self.assertIn(f"({name}", start)

    def test_lines_are_short(self):
        for document in DOCUMENTS:
            with self.subTest(document.name):
                self.assertEqual(long_lines(document.read_text()), [])

    def test_readme_is_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 130)

    def test_how_it_works_is_short(self):
        self.assertLessEqual(len((ROOT / "docs/internals/README.md").read_text().splitlines()), 150)


class RulesFindMistakes(unittest.TestCase):
    """Each rule above fails when it should."""

    def test_long_line(self):
        long = "x" * 121
        self.assertEqual(long_lines(f"short\n| {long} |\n```sh\n{long}\n```\n<!-- {long} -->\n{long}\n"), [long])

    def test_literal_with_a_nul(self):
        wrong = 'stream.send_all(std::as_bytes(std::span("hello")));'
        self.assertEqual(literals_with_a_nul(wrong), ['span("hello"'])
        self.assertEqual(literals_with_a_nul(wrong.replace('"hello"', 'std::string_view("hello")')), [])

    def test_unknown_language(self):
        self.assertEqual(unknown_languages("```c++\n1\n```\n\n```sh\n1\n```\n"), [(2, "c++")])

    def test_first_program(self):
        text = "```sh\na\n```\n```cpp\nb\n```\n```cpp\nc\n```\n"
        self.assertEqual(first_program(text), "b\n")

    def test_missing_path(self):
        text = "`src/runtime` `tests/none.cpp` `build/none`\n```\n`src/none`\n```\n"
        self.assertEqual(missing_paths(text), ["tests/none.cpp"])

    def test_missing_case(self):
        good = '`tests/unit/base/version_test.cpp`, "version is three numbers with dots"'
        self.assertEqual(missing_cases(good), [])
        self.assertEqual(missing_cases(good.replace("three", "four")),
                         ["version is four numbers with dots"])
        self.assertEqual(missing_cases('`tests/unit/none_test.cpp`, "a"'), ["a"])
        several = good.replace("is three", "is\n  three") + ';\n  "a"; "b"\n* `tests/unit/none_test.cpp`,\n  "c"'
        self.assertEqual(missing_cases(several), ["a", "b", "c"])
        own = '`tests/house/documents_test.py`, "test_every_promise_has_a_test"'
        self.assertEqual(missing_cases(own), [])
        self.assertEqual(missing_cases(own.replace("every", "no")), ["test_no_promise_has_a_test"])

    def test_floors(self):
        text = "| 1 | `loop` | c, d | x |\n| 0 | `base` | e |\n| 12 | no floor | x |\n"
        self.assertEqual(floors(text), ["loop", "base"])

    def test_versions(self):
        self.assertEqual(versions("# Changes\n\n## 0.2.0, unreleased\n\n## 0.1.0\n"),
                         ["0.2.0", "0.1.0"])

    def test_statements_and_declarations(self):
        for code in ("for (;;) {\n}", "if (!sent) {\n}", "auto f = [] {\n};", "co_return;",
                     "loop.spawn([] {\n});", "std::thread worker([&loop] {\n});", "int one = 1;"):
            self.assertFalse(declares(code), code)
        for code in ("Task<> f(TcpStream stream) {\n}", "struct Pair {\n};", "int main() {\n}",
                     "template <class T>\nTask<T> f() {\n}"):
            self.assertTrue(declares(code), code)
