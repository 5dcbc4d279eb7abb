"""Mistakes that must not compile, with the part of the error message that says what to write instead."""

import os
import pathlib
import re
import subprocess
import unittest

from compiler import SECONDS_LIMIT, Compiler

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
CXX = os.environ["RINGLET_CXX"]
INCLUDE = ROOT / "src/runtime/include"

# The headers of each program, compiled once for all of them.
INCLUDED = """
#include <ringlet/ringlet.hpp>
#include <any>
#include <coroutine>
#include <string>
"""

PROGRAM = """
using namespace ringlet;
using namespace std::chrono_literals;
Task<> nothing() { co_return; }
Task<> work(TaskGroup& group, std::string text) {
    static_cast<void>(text);
    static_cast<void>(group);
    %s
    co_return;
}
"""

FOREIGN = """
struct Foreign {
    struct promise_type {
        Foreign get_return_object() { return {}; }
        std::suspend_never initial_suspend() { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };
};
"""

FIRST_LINES = {
    "Task<int&> f() { static int i = 0; co_return i; }": "a Task returns a value: for a reference return a pointer",
    "Result<int&> f();\nint g() { return *f(); }": "a Result holds a value: for a reference hold a pointer",
    "Result<std::error_code> f();\nbool g() { return f().has_value(); }": "T cannot be an error itself",
    "void f(TaskGroup& g, std::string s) { g.spawn(s, nothing); }": "the name of a task must outlive it",
    "Foreign f() { auto slept = co_await sleep_for(1s); static_cast<void>(slept); }":
        "what ringlet offers is awaited in a ringlet::Task",
    "Foreign f() { co_await nothing(); }": "what ringlet offers is awaited in a ringlet::Task",
    "Task<Result<int>> f(TcpStream s) { auto sent = co_await s.send_all(\"x\"); co_return sent; }":
        "co_return its .error()",
    "Task<> f(TcpStream s) { auto sent = co_await s.shutdown_write(); static_cast<void>(sent); }":
        "a Result is there already: take the co_await away",
    "Task<> f() { auto work = []() -> Task<> { co_return; };\nco_await work; }": "a function that returns a Task has to be called",
    "Task<> f(TcpStream s) { auto sent = co_await s.send_all(std::string()); static_cast<void>(sent); }":
        "send_all borrows the bytes until it has ended",
    "Task<> f(TcpStream s) { auto sent = co_await s.send_all(\"head\", std::string()); static_cast<void>(sent); }":
        "send_all borrows the bytes until it has ended",
    "Task<> f(PipeWriter s) { auto sent = co_await s.send_all(std::string()); static_cast<void>(sent); }":
        "send_all borrows the bytes until it has ended",
    "int f(ServeOptions o) { return exit_status(serve(o, [](TcpStream) -> Task<int> { co_return 1; })); }":
        "a handler returns Task<>, or Task<Result<void>>",
    "int f(ServeOptions o) { return exit_status(serve(o, [](int) -> Task<> { co_return; })); }":
        "a handler is a coroutine",
    "struct Stuck { Stuck(Stuck&&) = delete; };\nvoid f(Channel<Stuck>& c) { c.close(); }":
        "a Channel moves its values",
}

RIGHT = (
    "void f(TaskGroup& g) { auto many = [](int, int, int, int, int, int, int) -> Task<> { co_return; };\n"
    "g.spawn(many, 1, 2, 3, 4, 5, 6, 7); g.spawn({}, many, 1, 2, 3, 4, 5, 6, 7); }",
    "Task<std::string> f() { co_return {}; }",
    "Task<Result<void>> f() { co_return {}; }",
    "Task<std::pair<int, int>> f() { co_return {1, 2}; }",
    "Result<std::any> f() { return Errc::channel_closed; }",
    "struct Fixed { const int i; };\nTask<> f(Channel<Fixed>& c) { auto r = co_await c.recv(); auto v = c.try_recv();\n"
    "auto s = co_await c.send(Fixed{1}); static_cast<void>(r); static_cast<void>(v); static_cast<void>(s); }",
)


def first_error(ended):
    return next((line for line in ended.stderr.splitlines() if "error:" in line), "it compiles")


class Refused(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compiler = cls.enterClassContext(Compiler(CXX, INCLUDED, INCLUDE))

    def compile(self, declarations, statement=""):
        return self.compiler.check(PROGRAM % statement + declarations)

    def compile_errors(self, statement):
        """The compiler's messages about the statement in a coroutine; empty if it compiles."""
        ended = self.compile("", statement)
        return ended.stderr if ended.returncode != 0 else ""

    def assert_refused(self, statement, words):
        errors = self.compile_errors(statement)
        self.assertTrue(errors, f"compiles, and must not: {statement}")
        self.assertIn(words, re.sub(r"\s+", " ", errors))

    def test_what_is_right_compiles(self):
        self.assertEqual("", self.compile_errors("group.spawn(nothing);"))
        self.assertEqual("", self.compile_errors('group.spawn("name", nothing);'))
        self.assertEqual("", self.compile_errors(
            "auto f = [text]() -> Task<> { co_return; }; "
            "auto done = co_await with_timeout(1s, f); static_cast<void>(done);"))

    def test_a_lambda_that_was_already_called(self):
        self.assert_refused("group.spawn([text]() -> Task<> { co_return; }());",
                            "pass the function and its arguments, not a task")

    def test_a_function_that_is_no_coroutine(self):
        self.assert_refused("group.spawn([] { return 1; });",
                            "must be a coroutine that returns a Task")

    def test_arguments_that_do_not_fit(self):
        self.assert_refused("group.spawn(nothing, 1);",
                            "cannot be called with these arguments")

    def test_a_task_that_is_awaited_without_a_move(self):
        self.assert_refused("auto task = nothing(); co_await task;", "deleted")

    def test_a_coroutine_given_to_run_blocking(self):
        self.assert_refused("auto done = co_await run_blocking(nothing);",
                            "calls a function that blocks, not a coroutine")

    def test_a_temporary_lambda_that_gcc_12_would_destroy_twice(self):
        version = subprocess.run([CXX, "-dM", "-E", "-x", "c++", "/dev/null"], capture_output=True,
                                 text=True, check=True).stdout
        major = re.search(r"__GNUC__ (\d+)", version)
        if "__clang__" in version or int(major[1]) >= 13:
            self.skipTest("this compiler does not destroy them twice")
        self.assert_refused(
            "auto done = co_await with_timeout(1s, [text]() -> Task<> { co_return; });",
            "give the callable a name, and pass the name")

    def test_the_first_error_says_what_is_wrong(self):
        """In separate programs, because some of them define functions."""
        for program, words in FIRST_LINES.items():
            with self.subTest(program):
                self.assertIn(words, first_error(self.compile(FOREIGN + program)))

    def test_what_looks_like_it_and_is_right(self):
        for program in RIGHT:
            with self.subTest(program):
                ended = self.compile(program)
                self.assertEqual((0, ""), (ended.returncode, ended.stderr))

    def test_compilers_that_cannot_compile_it_are_told_what_to_do(self):
        for option, words in (("-std=c++17", "ringlet needs C++20: compile with -std=c++20"),
                              ("-fno-exceptions", "compile without -fno-exceptions"),
                              ("-m32", "ringlet needs a 64-bit system")):
            with self.subTest(option):
                ended = subprocess.run([CXX, "-std=c++20", option, "-fsyntax-only", "-x", "c++", "-I", INCLUDE, "-"],
                                       input="#include <ringlet/ringlet.hpp>\n", capture_output=True, text=True,
                                       timeout=SECONDS_LIMIT, check=False)
                self.assertIn(words, first_error(ended))


if __name__ == "__main__":
    unittest.main()
