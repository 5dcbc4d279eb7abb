"""Installs what the rows need, and builds them, with the preset release."""

import os
import shutil
import subprocess
import sys
import tempfile

from measuring import say
from places import ROOT
from processes import Failure, Missing, start, stop

PRESET = ("--preset", "release")


class BuildFailed(Failure):
    """A build without which nothing can be measured has failed."""


def is_ours():
    """Whether the measured programs are built here, in build/release; a named build directory is used as it is."""
    return not os.environ.get("RINGLET_BUILD_DIR")


def prepare(*programs, groups=(), optional=()):
    """Installs what these groups and the build need, and builds the programs. Optional targets are built separately,
    and their failure is only reported. Each optional entry is the message for that, and its targets."""
    if not is_ours():
        return
    if run("sh", "cmake/install_dependencies.sh", "build", *groups, stdin=None) != 0:
        say("going on with what is installed")
    if not shutil.which("cmake"):
        raise Missing("cmake is missing: install the package cmake")
    say("building in build/release")
    # A new compiler's new warning must not prevent the measurement.
    must("the build failed", "cmake", *PRESET, "-DRINGLET_WERROR=OFF")
    must("the build failed", *targets(*programs))
    for trouble, *names in optional:
        # Ninja's -k 0: one that cannot be built does not keep the others from it
        may(trouble, *targets(*names), "--", "-k", "0")


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
