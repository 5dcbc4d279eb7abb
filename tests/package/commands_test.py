"""The shell blocks of the documents are run unchanged in a copy of the tree, as a new user would.

A block that takes too long has a short form, and one that changes the machine says why it is not run, both in a
comment before it, which the rendered page does not show:

    <!-- short: ./benchmark.sh --list -->
    <!-- not run: sets options of the kernel -->
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LIMIT_SECONDS = 30 * 60
# Reasons for not running a block.
REASONS = ("sets options of the kernel", "needs Docker", "needs Kubernetes", "changes this system's services",
           "needs the network", "needs several machines", "waits for a client")
# What the README names is built as it says; what the other documents build, in a quarter of the time.
MANY_AS_ONE = """\
set(CMAKE_UNITY_BUILD ON CACHE BOOL "")
set(CMAKE_UNITY_BUILD_BATCH_SIZE 30 CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-g1" CACHE STRING "")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG" CACHE STRING "")
"""
# A minimal seccomp profile of a container runtime.
PROFILE = """{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]}"""


def shell_blocks(text):
    """Yields (line, marks, commands) of each block of shell commands; marks are the comments before it."""
    for block in re.finditer(r"((?:^<!-- (?:(?!-->).)*-->\n)*)^```(?:sh|shell|bash|console)\n(.*?)^```", text, re.M | re.S):
        marks = re.findall(r"<!-- (short|not run):\s(.*?)\s-->", block[1], re.S)
        yield text[:block.start(2)].count("\n"), dict(marks), block[2]


def first_program(text):
    return re.search(r"^```cpp\n(#include <ringlet.*?)^```", text, re.M | re.S)[1]


class Blocks(unittest.TestCase):
    def test_every_mark_is_one_that_is_known(self):
        for document in DOCUMENTS:
            for line, marks, _ in shell_blocks(document.read_text()):
                with self.subTest(document.name, line=line):
                    self.assertLessEqual(len(marks), 1)
                    if "not run" in marks:
                        self.assertIn(marks["not run"], REASONS)
                    # Each line is a complete command.
                    self.assertNotRegex(marks.get("short", ""), r"(?m)^\s*(-|&&)")

    def test_marks_are_read(self):
        text = "<!-- short: true -->\n```sh\nfalse\n```\n\n```sh\nexit 1\n```\n<!-- not run: needs Docker -->\n```sh\nrm\n```\n"
        self.assertEqual([(marks, commands) for _, marks, commands in shell_blocks(text)],
                         [({"short": "true"}, "false\n"), ({}, "exit 1\n"), ({"not run": "needs Docker"}, "rm\n")])


@unittest.skipIf(os.environ.get("RINGLET_SANITIZE"), "a stranger builds without sanitizers")
@unittest.skipUnless(os.environ.get("RINGLET_FULL"), "builds everything again: for tests/run.sh --full")
class Commands(unittest.TestCase):
    """The blocks of a document run in order, because later ones use what earlier ones built."""

    limit_seconds = 3600  # a document builds everything and measures

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-commands-")
        cls.addClassCleanup(folder.cleanup)
        cls.tree, cls.root = pathlib.Path(folder.name) / "ringlet", pathlib.Path(folder.name) / "root"
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=False).stdout
        if listed:
            for name in listed.decode().rstrip("\0").split("\0"):
                if (ROOT / name).exists():
                    (cls.tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, cls.tree / name, follow_symlinks=False)
        else:  # an unpacked archive
            shutil.copytree(ROOT, cls.tree, ignore=shutil.ignore_patterns("build", ".git"))

    def run_block(self, commands):
        if "benchmark.sh" in commands:  # a second measurement on the machine waits, and says so
            with open(ROOT / "benchmark.sh") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                return self.run_in_tree(commands)
        return self.run_in_tree(commands)

    def run_in_tree(self, commands):
        local, many_as_one = self.root / "usr/local", self.root.parent / "many_as_one.cmake"
        many_as_one.write_text(MANY_AS_ONE)
        environment = {
            **os.environ, "DESTDIR": str(self.root), "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count()),
            "PKG_CONFIG_PATH": ":".join(map(str, local.glob("**/pkgconfig"))),
            "PATH": f"{self.tree}/build/release/src/client:{os.environ['PATH']}",
        }
        for name in ("RINGLET_BUILD_DIR", "RINGLET_FULL", "RINGLET_BACKEND"):
            environment.pop(name, None)
        if not commands.startswith("cmake -S . -B build "):
            environment["CMAKE_TOOLCHAIN_FILE"] = str(many_as_one)
        ended = subprocess.run(["sh", "-eu", "-c", commands], cwd=self.tree, env=environment, timeout=LIMIT_SECONDS,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", check=False)
        self.assertEqual(ended.returncode, 0, f"{commands}\n{ended.stdout[-6000:]}")
        return ended.stdout

    def run_document(self, name):
        text = (ROOT / name).read_text()
        for line, marks, commands in shell_blocks(text):
            if "not run" in marks:
                continue
            with self.subTest(name, line=line):
                said = self.run_block(marks.get("short", commands))
                self.assertNotIn("warning:", said)

    def test_readme(self):
        (self.tree / "your_server.cpp").write_text(first_program((ROOT / "README.md").read_text()))
        self.run_document("README.md")
        self.assertTrue((self.tree / "your_server").exists(), "the last command built nothing")
        (self.tree / "server.cpp").write_text(first_program((ROOT / "docs/tutorial.md").read_text()))
        self.run_document("docs/tutorial.md")

    def prepare(self):
        """What a reader of the guides has done before: measured once, and installed that build."""
        if not (self.tree / "default.json").exists():
            self.run_block("./benchmark.sh log --only echo_coro --runs 1")
            self.run_block("cmake --install build/release --prefix /opt/ringlet")
            (self.tree / "default.json").write_text(PROFILE)  # comes with a container runtime

    def test_install_after_a_benchmark(self):
        self.prepare()


def add_documents():
    """A test for each document, so that each has its own time limit."""
    for document in DOCUMENTS:
        name = str(document.relative_to(ROOT))
        if name in ("README.md", "docs/tutorial.md") or not list(shell_blocks(document.read_text())):
            continue

        def run(self, name=name):
            self.prepare()
            self.run_document(name)
        setattr(Commands, "test_" + re.sub(r"\W", "_", name.lower()), run)


add_documents()


if __name__ == "__main__":
    unittest.main()
