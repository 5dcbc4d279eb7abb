"""Describes what is measured where, for the reader of a log."""

import contextlib
import os
import pathlib
import re
import resource

from places import BUILD, PYTHON3, ROOT
from processes import ask
from rows import PYTHON2


def raise_file_limit():
    """A server needs a descriptor for each connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def describe(options, cpus, congestion):
    system, compiler = os.uname(), found(BUILD / "CMakeCache.txt", r"^CMAKE_CXX_COMPILER:\w*=(.*)")
    model = found("/proc/cpuinfo", r"^(?:model name|Model|cpu model)\s*:\s*(.*)") or "unknown CPU"
    memory = int(found("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) / 1048576
    pinning = "not pinned: server and client share what CPUs there are"
    if cpus[0] is not None:
        pinning = "server on CPU {}, client on CPU {}".format(*cpus)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield "machine", f"{model}, {os.cpu_count()} CPUs, {memory:.1f} GiB"
    yield "kernel", f"{system.sysname} {system.release}, {system.machine}"
    yield "compiler", first_line(compiler or "c++", "--version")
    yield "liburing", first_line("pkg-config", "--modversion", "liburing") or "unknown"
    yield "python", f"{version_of(PYTHON3)}, {version_of(PYTHON2)}"
    yield "commit", commit()
    yield "pinning", pinning
    yield "congestion", congestion
    yield "files", f"{'unlimited' if files == resource.RLIM_INFINITY else files} descriptors per process"
    yield "load", f"echo_bench {options.load}, {options.runs} runs a row"
    if any(row.in_field for row in options.rows):
        yield "field", packages(row.package for row in options.rows if row.in_field and row.package != "-")


def found(path, pattern):
    try:
        match = re.search(pattern, pathlib.Path(path).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return match and match[1]


def first_line(*command):
    return (ask(*command) or "").partition("\n")[0]


def version_of(python):
    code = 'import sys; print("%s %d.%d.%d" % ((sys.executable,) + tuple(sys.version_info[:3])))'
    return first_line(python, "-c", code) or f"no {python}"


def commit():
    git = ("git", "-C", str(ROOT))
    name = first_line(*git, "rev-parse", "--short=12", "HEAD") or "unknown"
    changed = ask(*git, "status", "--porcelain", "--untracked-files=no")
    return f"{name} (dirty)" if changed else name


def packages(names):
    """With their versions, where dpkg knows them."""
    told = {ask("dpkg-query", "-W", "-f", "${Package} ${Version}", name) for name in names}
    return ", ".join(sorted(filter(None, told)))
