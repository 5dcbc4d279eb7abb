"""Every public header and every source compiles alone: each includes what it uses, which unity builds would hide."""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
# clang++ takes two thirds of g++'s time.
CLANG = shutil.which("clang++-19")
CXX, PRESET = (CLANG, "clang-dev") if CLANG else (os.environ["RINGLET_CXX"], "dev")
INCLUDES = [ROOT / "src/runtime/include", ROOT / "src/tls/include"]
SECONDS_LIMIT = 1200


def complaint(command, folder):
    """The compiler's first error, or nothing. It generates no code."""
    ended = subprocess.run([*command, "-fsyntax-only"], cwd=folder, capture_output=True, text=True, timeout=SECONDS_LIMIT, check=False)
    found = re.findall(r"^.*(?:error|warning): .*$", ended.stderr, re.MULTILINE)
    return found[0] if found else "" if ended.returncode == 0 else ended.stderr


def complaints(commands):
    """Of many (command, folder), at once."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [said for said in pool.map(lambda one: complaint(*one), commands) if said]


def without_output(command):
    """The words of a compile command that say what is compiled, and how, but not where to write it."""
    words = iter(shlex.split(command))
    return [word for word in words if word != "-c" and not (word == "-o" and next(words))]


@unittest.skipIf(os.environ.get("RINGLET_SANITIZE"), "does not depend on sanitizers")
@unittest.skipUnless(os.environ.get("RINGLET_FULL"), "takes minutes: for tests/run.sh --full")
class CompileAlone(unittest.TestCase):
    limit_seconds = 2 * SECONDS_LIMIT

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-alone-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def command_for(self, source):
        return [CXX, "-std=c++20", *(f"-I{folder}" for folder in INCLUDES), "-Wall", "-Wextra", source], self.folder

    def check_header(self, name, text):
        source = self.folder / (re.sub(r"\W", "_", name) + ".cpp")
        source.write_text(text)
        return self.command_for(source)

    def test_public_headers(self):
        names = [str(path.relative_to(folder)) for folder in INCLUDES for path in sorted(folder.rglob("*.hpp"))]
        self.assertGreater(len(names), 90)
        self.assertEqual(complaints([self.check_header(name, 2 * f"#include <{name}>\n") for name in names]), [])

    def test_sources(self):
        subprocess.run(["cmake", "--preset", PRESET, "-B", self.folder, f"-DCMAKE_CXX_COMPILER={CXX}"],
                       cwd=ROOT, stdout=subprocess.DEVNULL, timeout=SECONDS_LIMIT, check=True)
        # Precompiled headers are what the other commands read.
        targets = subprocess.run(["ninja", "-t", "targets", "all"], cwd=self.folder, capture_output=True, text=True, check=True).stdout
        precompiled = re.findall(r"^(\S*cmake_pch\.hxx\.[gp]ch):", targets, re.MULTILINE)
        subprocess.run(["ninja", *precompiled], cwd=self.folder, stdout=subprocess.DEVNULL, timeout=SECONDS_LIMIT, check=True)
        entries = json.loads((self.folder / "compile_commands.json").read_text())
        commands = {entry["file"]: (without_output(entry["command"]), entry["directory"]) for entry in entries
                    if entry["file"].startswith(f"{ROOT}/") and entry["file"].endswith(".cpp")}
        self.assertGreater(len(commands), 300)
        self.assertEqual(complaints(commands.values()), [])

    def test_a_missing_include_is_found(self):
        source = self.folder / "mistake.cpp"
        source.write_text("std::string text;\n")
        self.assertRegex(complaint(*self.command_for(source)), "error: .*std")


if __name__ == "__main__":
    unittest.main()
