"""A compiler for many small programs that reads their common headers once."""

import pathlib
import subprocess
import tempfile

SECONDS_LIMIT = 600


class Compiler:
    """Compiles programs after a precompiled common header. A context manager, because it has a temporary folder."""

    def __init__(self, command, included, *folders):
        self.command = [command, "-std=c++20"]
        for folder in folders:
            self.command += ["-I", str(folder)]
        self.folder = tempfile.TemporaryDirectory(prefix="ringlet-compiler-")
        self.included = pathlib.Path(self.folder.name) / "included.hpp"
        self.included.write_text(included)
        # Both g++ and clang++ expect it under this name.
        precompiled = ["-x", "c++-header", self.included, "-o", f"{self.included}.gch"]
        subprocess.run([*self.command, *precompiled], timeout=SECONDS_LIMIT, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def check(self, program, *options):
        """The subprocess.CompletedProcess of a compilation without output."""
        return subprocess.run([*self.command, "-include", self.included, *options, "-fsyntax-only", "-x", "c++", "-"],
                              input=program, capture_output=True, text=True, timeout=SECONDS_LIMIT, check=False)
