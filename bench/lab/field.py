"""What a user would take instead: the rows of benchmark.sh."""

import dataclasses
import os
import subprocess

import measuring
from measuring import Failure

LANGUAGES = {
    "libev": "C", "epoll": "C", "uring": "C", "libev_uring": "C", "libuv": "C", "st": "C",
    "echo_coro": "C++", "asio_epoll": "C++", "asio_uring": "C++", "fiber": "C++", "tokio": "Rust",
    "go": "Go", "erlang": "Erlang", "node": "JavaScript", "java": "Java",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    kind: str  # callback, coroutine or thread
    missing: str  # why it cannot run here, or nothing
    command: str  # with {port} in it

    @property
    def language(self):
        return LANGUAGES.get(self.name, "PyPy" if self.name.startswith("pypy") else "Python")


def field_rows():
    """All rows but those that need a Python 2, which few systems still have."""
    script = str(measuring.ROOT / "benchmark.sh")
    environment = {**os.environ, "RINGLET_BUILD_DIR": str(measuring.BUILD)}
    ended = subprocess.run(
        ["sh", script, "--commands", "--field"], env=environment, capture_output=True, text=True
    )
    if ended.returncode != 0:
        raise Failure(f"benchmark.sh --commands: {measuring.last_words(ended)}")
    rows = [Row(*line.split("\t")) for line in ended.stdout.splitlines()]
    return [row for row in rows if not row.name.endswith("2")]
