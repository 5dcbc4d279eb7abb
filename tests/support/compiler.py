"""A compiler that reads the headers of many small programs once."""

import pathlib
import subprocess
import tempfile

SECONDS_LIMIT = 600


class Compiler:
    """Says what a compiler says of a program, after what all of them include. A context: it has a folder of its own."""

    def __init__(self, command, included, *folders):
        self.command = [command, "-std=c++20"]
        for folder in folders:
            self.command += ["-I", str(folder)]
        self.folder = tempfile.TemporaryDirectory(prefix="ringlet-compiler-")
        self.included = pathlib.Path(self.folder.name) / "included.hpp"
        self.included.write_text(included)
        # Both g++ and clang++ look for it under this name.
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
