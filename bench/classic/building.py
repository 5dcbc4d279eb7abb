"""Installs what the rows need, and builds it, as the preset release."""

import shutil
import subprocess
import sys
import tempfile

from measuring import ROOT, say
from processes import Failure, Missing, start, stop

PRESET = ("--preset", "release")


class BuildFailed(Failure):
    """Nothing can be measured without it."""


def prepare(options):
    """What need not be there for every row is built apart, and its failure only told."""
    with_field = any(row.in_field for row in options.rows)
    groups = ["build", "bench", *["field"] * with_field, *["report"] * options.lab]
    if run("sh", "cmake/install_dependencies.sh", *groups, stdin=None) != 0:
        say("going on with what is installed")
    if not shutil.which("cmake"):
        raise Missing("cmake is missing: install the package cmake")
    say("building in build/release")
    # A new compiler with a new warning is no reason to measure nothing.
    must("the build failed", "cmake", *PRESET, "-DRINGLET_WERROR=OFF")
    must("the build failed", *targets("echo_coro", "echo_bench", "ringlet_doctor"))
    may("libev_echo could not be built: its row is left out", *targets("libev_echo"))
    if options.lab:
        must("the build of the ladder failed", *targets("ladder", "uring_echo", "epoll_echo"))
    if with_field:  # Ninja's -k 0: one that cannot be built does not keep the others from it
        trouble = "not all of the field could be built: some of its rows are left out"
        may(trouble, *targets("field_peers"), "--", "-k", "0")


def targets(*names):
    return ["cmake", "--build", *PRESET, "--target", *names]


def must(trouble, *command):
    ended_well, printed = run_quietly(command)
    if not ended_well:
        print(printed, end="", file=sys.stderr)
        raise BuildFailed(trouble)


def may(trouble, *command):
    ended_well, printed = run_quietly(command)
    if not ended_well:
        print("\n".join(printed.splitlines()[-20:]), file=sys.stderr)
        say(trouble)


def run_quietly(command):
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        status = run(*command, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        return status == 0, output.read()


def run(*command, **options):
    process = start(command, None, cwd=ROOT, **options)
    try:
        return process.wait()
    finally:
        stop(process)
