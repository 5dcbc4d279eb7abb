"""The file that a command's --json names."""

import json
import os
import sys

HELP = "write all samples here; -: to stdout, and the report to stderr"


class Samples:
    """Made before anything is printed: `-` is stdout, then used for nothing else, even by programs we start."""

    def __init__(self, path):
        self.path = path
        self.stdout = None
        if path is not None and str(path) == "-":
            sys.stdout.flush()
            self.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
            os.dup2(2, 1)

    def write(self, told):
        text = json.dumps(told, indent=2) + "\n"
        if self.stdout:
            self.stdout.write(text)
            self.stdout.flush()
        elif self.path is not None:
            self.path.write_text(text)
