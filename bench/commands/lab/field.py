"""What a user would choose instead of ringlet: the rows of benchmark.sh."""

import dataclasses
import shlex

import rows

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
    """All rows except those that need Python 2, which few systems still have."""
    return [of_row(row) for row in rows.all_rows() if row.runner != "python2"]


def of_row(row):
    words = ["env", f"--chdir={row.directory}", *row.command()[:-1]]  # all but the port
    return Row(row.name, row.kind, row.why_not(), shlex.join(words) + " {port}")
