"""The gdb commands, in an idle process, in one stopped while a task runs, and in a core file."""

import contextlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BUILD, PATIENCE_SECONDS, ROOT, SANITIZED, Program, run

SUBJECT = BUILD / "tests/gdb_subject"
SOURCE = ROOT / "tests/support/gdb_subject.cpp"
COMMANDS = ROOT / "share/gdb/ringlet_gdb.py"

# g++ at -O0 on x86-64 emits where a coroutine is suspended, and what is in its frame.
KNOWS_LINES = "clang" not in os.environ.get("RINGLET_CXX", "g++") and platform.machine() == "x86_64"


def line_of(function):
    """The line with this mark in the subject."""
    lines = SOURCE.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"// line: {function}"))


def stands(function):
    """The description of a coroutine that is suspended at its marked await."""
    place = rf" at gdb_subject\.cpp:{line_of(function)}" if KNOWS_LINES else r", which begins at gdb_subject\.cpp:\d+"
    return rf"{function}{place}"


def gdb(*commands, process=None, core=None):
    """The output of gdb for the commands, stdout and stderr, with the subject as its program."""
    options = ["-p", process.pid] if process else [SUBJECT, core] if core else [SUBJECT]
    orders = [word for command in ("set confirm off", f"source {COMMANDS}", *commands) for word in ("-ex", command)]
    words = ["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off", *options, *orders]
    ended = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=3 * PATIENCE_SECONDS, check=False)
    return ended.stdout


def coroutines_in(said):
    """The lines of a task's backtrace, without addresses; gdb itself may have printed where a thread is."""
    return re.findall(r"^#\d+  0x[0-9a-f]+ in (.*)$", said.partition("\ntask ")[2], re.MULTILINE)


@contextlib.contextmanager
def subject():
    """The program, as soon as all of its tasks wait."""
    program = Program(SUBJECT)
    try:
        program.line()
        yield program
    finally:
        program.process.kill()
        program.wait("by SIGKILL")
        program.process.stdout.close()
        program.errors.close()


def why_gdb_cannot():
    if SANITIZED:
        return "a sanitizer's program cannot be looked at"
    if not shutil.which("gdb"):
        return "gdb is not installed"
    with subject() as program:
        said = gdb("ringlet tasks", process=program)
    if "Operation not permitted" in said or "ptrace" in said:
        return "gdb may not attach here (ptrace)"
    if "with debug information" in said:
        return "ringlet was built without debug information (-g)"
    return None


class Gdb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = why_gdb_cannot()
        if reason:
            raise unittest.SkipTest(reason)

    def check_tasks(self, said):
        """Checks the nine tasks of two loops, and what each waits for."""
        expected = [
            r"loop 0x[0-9a-f]+, thread 1 \(LWP \d+\): 8 tasks",
            rf'  1  task "stand_still" \(gdb_subject\.cpp:\d+\) waits for a sleep, in {stands("stand_still")}',
            r'  2  task "receive" \(gdb_subject\.cpp:\d+\) waits for recv on descriptor \d+, in '
            + stands("inner_receive"),
            r'  3  task "with_a_group" \(gdb_subject\.cpp:\d+\) waits for the end of group "group", in '
            + stands("with_a_group"),
            rf'    4  task "first child" \(gdb_subject\.cpp:\d+\) waits for a sleep, in {stands("sleep_long")}',
            rf'    5  task "second child" \(gdb_subject\.cpp:\d+\) waits for a sleep, in {stands("sleep_long")}',
            rf'  6  task "the event" \(gdb_subject\.cpp:\d+\) waits for Event, in {stands("wait_for_event")}',
            rf'  7  task "in_a_group_body" \(gdb_subject\.cpp:\d+\) waits for a sleep, in {stands("sleep_long")}',
            rf'    8  task "third child" \(gdb_subject\.cpp:\d+\) waits for a sleep, in {stands("sleep_long")}',
            r"loop 0x[0-9a-f]+, thread 2 \(LWP \d+\): 1 tasks",
            r'  9  task "own_mutex" \(gdb_subject\.cpp:\d+\) waits for Mutex "the register", in '
            + stands("wait_for_mutex"),
        ]
        lines = said.splitlines()
        first = next((index for index, line in enumerate(lines) if line.startswith("loop ")), len(lines))
        for pattern, line in zip(expected, lines[first:] + [""] * len(expected)):
            self.assertRegex(line, f"^{pattern}$", said)

    def check_backtrace(self, said):
        """Through three functions, one of which has a deadline."""
        frames = coroutines_in(said)
        self.assertEqual(len(frames), 3, said)
        for frame, function in zip(frames, ("inner_receive", "middle_receive", "receive")):
            self.assertRegex(frame, f"^{stands(function)}$")

    def test_in_a_process(self):
        with subject() as program:
            self.check_tasks(gdb("ringlet tasks", process=program))
            by_number = gdb("ringlet backtrace 2", process=program)
            self.check_backtrace(by_number)
            self.check_backtrace(gdb("ringlet backtrace receive", process=program))
            self.assertIsNone(program.process.poll(), "it goes on")

    def test_in_a_core_file(self):
        with tempfile.TemporaryDirectory(prefix="ringlet-gdb-") as folder:
            core = pathlib.Path(folder) / "core"
            with subject() as program:
                gdb(f"generate-core-file {core}", process=program)
            self.check_tasks(gdb("ringlet tasks", core=core))
            self.check_backtrace(gdb("ringlet backtrace 2", core=core))

    def test_through_coroutines_of_ringlet(self):
        """Between a task and its group is a template of ringlet's, and g++ emits nothing about its frame."""
        with subject() as program:
            said = gdb("ringlet backtrace with_a_group", process=program)
        frames = coroutines_in(said)
        self.assertEqual(len(frames), 2, said)
        self.assertRegex(frames[0], r"run_task_group at task_group\.hpp:\d+$" if KNOWS_LINES else "run_task_group")
        self.assertRegex(frames[1], f"^{stands('with_a_group')}$")

    @unittest.skipUnless(KNOWS_LINES, "only g++ tells what is in a frame")
    def test_variables(self):
        with subject() as program:
            said = gdb("ringlet backtrace 2 full", process=program)
        self.check_backtrace(said)
        self.assertIn("        calls = 1\n", said)
        self.assertRegex(said, r"(?m)^        memory = .*\{0, 0, 0, 0, 0, 0, 0, 0, 0, 0\}")

    def test_of_a_task_that_runs(self):
        said = gdb("break all_stand_still", "run", "ringlet tasks", "ringlet backtrace stand_still", "kill")
        self.assertRegex(said, r'(?m)^  1  task "stand_still" \(gdb_subject\.cpp:\d+\) runs$')
        self.assertIn("It runs on a thread", said)

    def test_whatever_the_program_stands_in_and_is_set(self):
        """Another language and another disassembly flavor; both are restored afterwards."""
        with subject() as program:
            said = gdb("set language c", "set disassembly-flavor intel", "ringlet tasks", "show language",
                       "show disassembly-flavor", process=program)
        self.check_tasks(said)
        self.assertRegex(said, r'source language is "c"')
        self.assertIn('disassembly flavor is "intel"', said)

    def test_mistakes_are_explained(self):
        with subject() as program:
            said = gdb("ringlet backtrace", process=program)
            self.assertIn("Which task? `ringlet tasks` numbers them.", said)
            said = gdb("ringlet backtrace nobody", process=program)
            self.assertIn("There is no task nobody.", said)
        self.assertIn("There is neither a process nor a core file.", gdb("ringlet tasks"))

    def test_a_program_without_ringlet(self):
        said = run("gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off", "/bin/true", "-ex",
                   f"source {COMMANDS}", "-ex", "starti", "-ex", "ringlet tasks", "-ex", "kill")
        self.assertIn("with debug information", said.stdout + said.stderr)


if __name__ == "__main__":
    unittest.main()
