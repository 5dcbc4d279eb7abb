"""The tree keeps the house rules, and each rule finds the fault that it is for."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rules
import unity

ROOT = pathlib.Path(os.environ.get("RINGLET_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parents[2])).resolve()


def clang_format():
    """A clang-format that formats like ours: 19, or at least 15."""
    for name in ("clang-format-19", "clang-format"):
        if shutil.which(name):
            told = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
            if int(re.search(r"version (\d+)", told.stdout)[1]) >= 15:
                return name
    raise unittest.SkipTest("clang-format is missing: install the package clang-format-19")


class Tree(unittest.TestCase):
    def kept(self, rule, *arguments):
        complaints = list(rule(ROOT, *arguments))
        if complaints:
            self.fail(f"{len(complaints)} complaints:\n" + "\n".join(complaints))

    def test_includes_look_down(self):
        self.kept(rules.floors_look_down)

    def test_floors_of_headers_are_needed(self):
        self.kept(rules.floors_of_headers_are_needed)

    def test_includes_have_no_cycles(self):
        self.kept(rules.no_include_cycles)

    def test_kernel_has_few_doors(self):
        self.kept(rules.kernel_has_few_doors)

    def test_public_headers_are_clean(self):
        self.kept(rules.public_headers_are_clean)

    def test_programs_see_only_public_headers(self):
        self.kept(rules.programs_see_only_public_headers)

    def test_headers_and_tests_are_pairs(self):
        self.kept(rules.headers_and_tests_are_pairs)

    def test_every_awaiter_is_in_the_contract(self):
        self.kept(rules.every_awaiter_is_in_the_contract)

    def test_awaits_into_a_name(self):
        self.kept(rules.awaits_into_a_name)

    def test_nothing_is_left_to_do(self):
        self.kept(rules.nothing_is_left_to_do)

    def test_planted_mistakes_are_compiled(self):
        self.kept(rules.planted_mistakes_are_compiled)

    def test_no_trailing_space(self):
        self.kept(rules.no_trailing_space)

    def test_no_paths_of_one_machine(self):
        self.kept(rules.no_paths_of_one_machine)

    def test_files_are_short(self):
        self.kept(rules.files_are_short)

    def test_links_lead_somewhere(self):
        self.kept(rules.links_lead_somewhere)

    def test_public_types_have_docstrings(self):
        self.kept(rules.public_types_have_docstrings)

    def test_sources_are_formatted(self):
        self.kept(rules.sources_are_formatted, clang_format())

    def test_unity_builds_find_no_name_twice(self):
        self.kept(unity.no_name_twice_in_a_unity_build)

    def test_ci_runs_the_tests_and_nothing_else(self):
        self.kept(rules.ci_runs_the_tests_and_nothing_else)


class PlantedTree(unittest.TestCase):
    """Each rule finds its kind of fault in a small tree, at the right line, and nothing else."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def plant(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def finds(self, rule, *expected, arguments=()):
        """Checks the number of complaints, and that each has the expected words."""
        found = list(rule(self.root, *arguments))
        self.assertEqual(len(found), len(expected), found)
        for complaint, words in zip(found, expected):
            self.assertIn(words, complaint)

    def test_include_that_looks_up(self):
        public = "src/runtime/include/ringlet"
        self.plant(f"{public}/wait.hpp",
                   "#pragma once\n#include <ringlet/error.hpp>\n#include <ringlet/serve.hpp>\n"
                   "#include <ringlet/missing.hpp>\n#include <ringlet/ringlet.hpp>\n")
        self.plant(f"{public}/serve.hpp", "#include <ringlet/wait.hpp>\n")
        self.plant("src/runtime/serve/serve.cpp", "#include <ringlet/serve.hpp>\n")
        self.plant("src/runtime/net/socket.hpp", "#pragma once\n")
        self.plant("src/runtime/loop/timers.cpp",
                   '#include <vector>\n#  include "net/socket.hpp"\n#include <ringlet/wait.hpp>\n')
        self.plant("src/runtime/ring/uring/uring_ring.cpp", '#include "ring/epoll/epoll_ring.hpp"\n')
        self.plant("src/runtime/ring/epoll/epoll_ring.hpp", "#pragma once\n")
        self.finds(rules.floors_look_down, "wait.hpp:3: task looks up to ringlet/serve.hpp",
                   "wait.hpp:5: task looks up to ringlet/ringlet.hpp",
                   "timers.cpp:2: loop looks up to net/socket.hpp",
                   "uring_ring.cpp:1: one kernel knows of the other")

    def test_name_that_is_there_twice(self):
        self.plant("src/runtime/base/one.cpp",
                   "namespace ringlet {\nnamespace {\nusing std::byte;\nconstexpr int limit = (1 << 3);\n"
                   "struct Piece : Base {\n    int limits() { return 1; }\n};\n"
                   "template <class T>\nint size_of(const T& of, int = 4) noexcept {\n    return limit;\n}\n"
                   "const char* name_of(int) { return {}; }\nint Piece::two() { return 2; }\n} // namespace\nint outside() { return 1; }\n}\n")
        self.plant("src/runtime/net/two.cpp",
                   "namespace {\nusing std::byte;\nstd::array<int, 3> limit{1, 2, 3};\nclass Piece;\nclass Piece final {\n};\n"
                   "int Piece::two() { return 2; }\nint size_of(const T& one, int two) { return 2; }\nconst char* name_of(long) { return {}; }\n}\n"
                   "int outside() { return 1; }\n")
        self.plant("tests/unit/net/two_test.cpp", "namespace {\nint limit = 1;\n}\n")
        self.finds(unity.no_name_twice_in_a_unity_build, "net/two.cpp:3: limit is in src/runtime/base/one.cpp",
                   "net/two.cpp:4: Piece is in", "net/two.cpp:8: size_of(const T&, int) is in")

    def test_file_without_a_floor(self):
        self.plant("src/runtime/newcomer.hpp", "#pragma once\n")
        self.plant("src/runtime/attic/old.cpp", "\n")
        self.plant("src/runtime/include/ringlet/newcomer.hpp", "#pragma once\n")
        self.finds(rules.floors_look_down, "runtime/newcomer.hpp:1: stands on no floor",
                   "attic/old.cpp:1: stands on no floor", "ringlet/newcomer.hpp:1: stands on no floor")

    def test_floor_of_a_header_that_needs_none(self):
        for header in set(rules.FLOOR_OF_HEADER) - {"ringlet/mutex.hpp"}:
            self.plant(f"src/runtime/include/{header}", "#pragma once\n")
        self.plant("src/runtime/sync/when.cpp", "\n")
        self.finds(rules.floors_of_headers_are_needed, "mutex.hpp has a floor, and no file",
                   "when.hpp has a source")

    def test_include_cycle(self):
        self.plant("src/runtime/include/ringlet/task.hpp", "#include <ringlet/detail/operation.hpp>\n")
        self.plant("src/runtime/include/ringlet/detail/operation.hpp", '#include "task/x.hpp"\n')
        self.plant("src/runtime/task/x.hpp", "#include <ringlet/task.hpp>\n")
        self.plant("src/runtime/task/task.cpp", "#include <ringlet/task.hpp>\n")
        self.finds(rules.no_include_cycles,
                   "ringlet/detail/operation.hpp -> task/x.hpp -> ringlet/task.hpp -> ringlet/detail/operation.hpp")

    def test_second_door_to_the_kernel(self):
        self.plant("src/runtime/ring/uring/queue_memory.hpp", "#include <liburing.h>\n")
        self.plant("src/runtime/ring/epoll/epoll_ring.cpp", "#include <sys/epoll.h>\n")
        self.plant("src/runtime/serve/serve.cpp", "#include <liburing.h>\n#include <sys/epoll.h>\n")
        self.plant("examples/echo.cpp", "#include <liburing.h>\n")
        self.finds(rules.kernel_has_few_doors, "serve.cpp:1: only queue_memory.hpp",
                   "serve.cpp:2: only epoll_ring.cpp", "examples/echo.cpp:1")

    def test_public_header_that_shows_private_things(self):
        self.plant("src/runtime/include/ringlet/task.hpp",
                   '#include <ringlet/error.hpp>\n#include "sanitizer.hpp"\n#include <liburing.h>\n'
                   "#include <fmt/format.h>\n#include <ringlet/signals.hpp>\n#include <vector>\n")
        self.plant("src/runtime/include/ringlet/error.hpp", "#pragma once\n")
        self.finds(rules.public_headers_are_clean, "task.hpp:2", "task.hpp:3", "task.hpp:4",
                   "task.hpp:5: ringlet/signals.hpp is no public header")

    def test_program_that_includes_private_headers(self):
        self.plant("src/runtime/serve/signals.hpp", "#pragma once\n")
        self.plant("src/client/load.hpp", "#pragma once\n")
        self.plant("src/client/load.cpp", '#include "load.hpp"\n#include <ringlet/task.hpp>\n'
                                          '#include "../runtime/timers.hpp"\n')
        self.plant("examples/echo.cpp", '#include "serve/signals.hpp"\n')
        self.finds(rules.programs_see_only_public_headers, "load.cpp:3", "examples/echo.cpp:1")

    def test_header_without_a_test_and_test_without_a_header(self):
        for name in ("task", "timers"):
            self.plant(f"src/runtime/include/ringlet/{name}.hpp", "#pragma once\n")
        for name in ("task", "tasks"):
            self.plant(f"tests/unit/task/{name}_test.cpp", "\n")
        self.finds(rules.headers_and_tests_are_pairs, "timers.hpp has no test",
                   "there is no tasks.hpp")

    def test_awaiter_that_is_not_in_the_contract(self):
        self.plant("tests/contract/await_test.cpp", 'const Case cases[] = {{"Known", "wait"}, {"Outer::Awaiter", ""}};\n')
        for name in ("Known", "Forgotten"):
            self.plant(f"src/runtime/include/ringlet/{name.lower()}.hpp",
                       f"class [[nodiscard]] {name} final : public Wait {{\n    template <class P>\n"
                       "    bool await_suspend(std::coroutine_handle<P> waiting) { return true; }\n};\n")
        self.plant("src/runtime/include/ringlet/other.hpp",
                   "class Other {\npublic:\n    class Awaiter {\n"
                   "        bool await_suspend(std::coroutine_handle<P> waiting);\n    };\n};\n")
        self.finds(rules.every_awaiter_is_in_the_contract, "Forgotten is not in", "Other::Awaiter is not in")

    def test_exception_that_is_no_longer_needed(self):
        self.plant("src/runtime/loop/stack.hpp", "#pragma once\n")
        self.plant("tests/unit/loop/stack_test.cpp", "\n")
        self.finds(rules.headers_and_tests_are_pairs, "stack needs no exception")

    def test_forbidden_co_awaits(self):
        wrong = (
            "if (!co_await f()) return;", "if (auto x = co_await f(); x) {}",
            "if (g(co_await f())) {}", "while (co_await f()) {}",
            "do {} while (a && co_await f());", "switch (co_await f()) {}",
            "for (auto x : co_await f()) {}", "for (int i = 0; co_await f(i);) {}",
            "auto x = c ? co_await f() : 1;", "auto x = c ? 1 : g(co_await f());",
            "auto x = co_await f() ? 1 : 2;", "auto x = (co_await f()).ok ? 1 : 2;",
            "auto x = g(co_await f()) ? 1 : 2;", "CHECK(co_await f());",
            "REQUIRE((co_await f()) == 1);", 'CHECK_MESSAGE(1 == g(co_await f()), "why");',
            "RINGLET_ASSERT(co_await f(), g);", "else if (co_await\n f()) {}",
        )
        right = (
            "auto x = co_await f();\nif (!x) return;", "co_await f(c ? 1 : 2);",
            "co_return co_await f();", "if (c) co_await f();", "while (c) {\n co_await f();\n}",
            "auto y = c ? 1 : 2;\nco_await f();", "co_await f();\nauto y = c ? 1 : 2;",
            "if (c) { auto x = co_await f(); use(x ? 1 : 2); }",
            "if (c) {\n} else {\n co_await f();\n}",
            "for (int i = 0; i < 3; ++i) {\n co_await f();\n}",
            "run([]() -> T { co_await f(); });", "auto x = g(co_await f(), c ? 1 : 2);",
            "CHECK(run([&]() -> T {\n auto x = co_await f();\n co_return;\n}));",
            "// if (co_await f())", '/* ?: \n co_await */ s("if (co_await f())");',
            "char q = '?'; co_await f();",
        )
        for statement in wrong:
            with self.subTest(wrong=statement):
                self.plant("src/x.cpp", f"T t() {{\n{statement}\n}}\n")
                self.finds(rules.awaits_into_a_name, "src/x.cpp:2: co_await in ")
        for statement in right:
            with self.subTest(right=statement):
                self.plant("src/x.cpp", f"T t() {{\n{statement}\n}}\n")
                self.finds(rules.awaits_into_a_name)

    def test_forbidden_co_awaits_on_purpose(self):
        self.plant("tests/unit/task/compiler_test.cpp", "T t() { if (co_await f()) {} }\n")
        self.plant("tests/unit/task/task_test.cpp", "T t() { if (co_await f()) {} }\n")
        self.finds(rules.awaits_into_a_name, "task_test.cpp:1")

    def test_things_left_to_do(self):
        words = ["TO" + "DO", "FIX" + "ME", "X" * 3]
        for number, word in enumerate(words):
            self.plant(f"docs/{number}.md", f"fine\nhere: {word} later\n{word}S{word} is a word\n")
        self.finds(rules.nothing_is_left_to_do, *(f"{number}.md:2" for number in range(3)))

    def test_planted_mistake_that_nobody_makes(self):
        self.plant("tests/CMakeLists.txt", "add_executable(canary_stress a.cpp\n    ${ROOT}/src/runtime/net/b.cpp)\n")
        self.plant("src/runtime/net/b.cpp", "if (lives(Canary::one)) leak();\n")
        self.plant("src/runtime/net/c.cpp", "\nif (lives(Canary::two)) leak();\n")
        self.finds(rules.planted_mistakes_are_compiled, "c.cpp:2")

    def test_trailing_space(self):
        self.plant("a.md", "fine\n\nnot fine \n")
        self.plant("b.cpp", "fine\n\t\nno newline")
        self.plant("build/c.cpp", "a build folder \n")
        self.plant("out/CMakeCache.txt", "")
        self.plant("out/d.cpp", "another \n")
        self.finds(rules.no_trailing_space, "a.md:3: space", "b.cpp:2: space",
                   "b.cpp:3: no newline")

    def test_path_of_one_machine(self):
        self.plant("a.sh", "cd /" + "home/me/ringlet\n# see https://example.org/" + "work/x\n")
        self.finds(rules.no_paths_of_one_machine, "a.sh:1")

    def test_long_file(self):
        self.plant("src/a.cpp", "\n" * 400)
        self.plant("src/b.cpp", "\n" * 401)
        self.plant("tests/bench/peers_test.py", "\n" * 10)
        self.plant("tests/unit/a_test.cpp", "\n" * 1001)
        self.finds(rules.files_are_short, "src/b.cpp:401", "peers_test.py needs no exception",
                   "a_test.cpp:1001")

    def test_link_that_leads_nowhere(self):
        self.plant("docs/other.md", "# Here\n")
        self.plant("README.md",
                   "# A title: with words\n[a](docs/other.md) [b](docs/other.md#here)\n"
                   "[c](docs/missing.md)\n[d](https://example.org) [e](#a-title-with-words)\n"
                   "[f](#nowhere)\n[g](docs/other.md#gone)\n```\nx[0](y)\n```\n")
        self.finds(rules.links_lead_somewhere, "README.md:3: docs/missing.md",
                   "README.md:5: #nowhere", "README.md:6: docs/other.md#gone")

    def test_public_type_without_a_docstring(self):
        self.plant("src/runtime/include/ringlet/task.hpp",
                   "class Forward;\n/// Said.\nclass Said {\n};\nclass Unsaid {\n};\n"
                   "/// Said.\ntemplate <class T>\n    requires true\n"
                   "struct [[nodiscard]] Box {\n};\n"
                   "template <class T>\nstruct Bare {\n};\n"
                   "template <>\nstruct Box<int> {\n};\nenum class Colour { red };\n")
        self.finds(rules.public_types_have_docstrings, ":5: Unsaid", ":13: Bare", ":18: Colour")

    def test_source_that_is_not_formatted(self):
        program = clang_format()
        self.plant(".clang-format", "BasedOnStyle: LLVM\n")
        self.plant("src/good.cpp", "int f() { return 1; }\n")
        self.plant("src/bad.cpp", "int f() { return 1; }\nint g(){return 1;}\n")
        found = list(rules.sources_are_formatted(self.root, program))
        self.assertTrue(found)
        self.assertTrue(all(complaint.startswith("src/bad.cpp:2:") for complaint in found), found)

    def test_ci_that_does_something_else(self):
        right = '#!/bin/sh\n# Why.\nexec sh "$(dirname "$0")/../tests/run.sh"\n'
        rule = rules.ci_runs_the_tests_and_nothing_else
        self.finds(rule, "is missing")
        self.plant("README.md", "Run the tests with `make`.\n")
        self.plant(".ci/run", right)
        (self.root / ".ci/run").chmod(0o755)
        self.finds(rule, "README.md:1: does not name the test command")
        self.plant("README.md", "Run the tests with `sh tests/run.sh`.\n")
        (self.root / ".ci/run").chmod(0o644)
        self.plant(".ci/run", right)
        self.finds(rule, "not executable")
        (self.root / ".ci/run").chmod(0o755)
        self.finds(rule)
        self.plant(".ci/run", right + "make more\n")
        self.finds(rule, "make more")
        self.plant(".ci/run", right.replace("run.sh", "walk.sh"))
        self.finds(rule, "walk.sh")
        self.plant(".ci/run", right.replace('run.sh"', 'run.sh" || true'))
        self.finds(rule, "|| true")


if __name__ == "__main__":
    unittest.main()
