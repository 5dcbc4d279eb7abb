"""What a user would take instead: the rows of benchmark.sh."""

import dataclasses
import subprocess

import measuring
from measuring import Failure


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    kind: str  # callback, coroutine or thread
    language: str
    style: str
    command: str  # with {port} in it
    missing: str = ""  # what to install, where it cannot run here


def field_rows():
    return []
