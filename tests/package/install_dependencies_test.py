"""cmake/install_dependencies.sh on bare machines: its messages, and that it then installs nothing."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
SCRIPT = ROOT / "cmake/install_dependencies.sh"


class InstallDependencies(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stubs = pathlib.Path(folder.name)
        # A machine without packages, package lists or root rights.
        self.stub("dpkg-query", "exit 0")
        self.stub("apt-cache", "exit 0")
        self.stub("apt-get", "echo 'apt-get must not run' >&2; exit 100")
        self.stub("sudo", "exit 1")
        self.stub("id", "echo 1000")

    def stub(self, name, text):
        path = self.stubs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run_script(self, *arguments):
        environment = {**os.environ, "PATH": f"{self.stubs}:{os.environ['PATH']}"}
        return subprocess.run(["sh", SCRIPT, *arguments], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False)

    def test_without_rights_one_command_names_everything(self):
        ended = self.run_script("build", "test")
        self.assertEqual((ended.returncode, ended.stdout), (69, ""))
        commands = [line for line in ended.stderr.splitlines() if "apt-get install" in line]
        self.assertEqual(len(commands), 1, ended.stderr)
        for package in ("g++", "make", "ninja-build", "liburing-dev", "strace", "clang-19", "libclang-rt-19-dev", "ccache"):
            self.assertIn(f" {package}", commands[0])
        self.assertNotIn("-N", commands[0])

    def test_check_without_lists_names_clang(self):
        ended = self.run_script("--check", "build", "test")
        self.assertEqual((ended.returncode, ended.stderr), (1, ""))
        self.assertRegex(ended.stdout, r"(?m)^missing: .*\bg\+\+ .*\bmake\b")
        self.assertRegex(ended.stdout, r"(?m)^missing, but optional: .*\bclang-19\b")

    def test_nothing_is_missing(self):
        packages = {word.strip("[]") for word in self.run_script("--list", "build", "test").stdout.split()}
        self.stub("dpkg-query", "".join(f"echo 'installed {name}'\n" for name in packages))
        ended = self.run_script("build", "test")
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, "", ""))

    def test_wrong_words_are_told(self):
        for words, complaint in ((("--nonsense",), "unknown option --nonsense"), (("nobody",), "unknown group nobody")):
            ended = self.run_script(*words)
            self.assertEqual((ended.returncode, ended.stdout), (64, ""))
            self.assertIn(complaint, ended.stderr)


if __name__ == "__main__":
    unittest.main()
