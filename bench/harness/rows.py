"""The echo servers that are compared: the name of each, and its command."""

import dataclasses
import functools
import os
import shlex
import shutil

from places import BUILD, PEERS, PYTHON3
from processes import Missing, ask

PYTHON2 = os.environ.get("PYTHON2") or "python2"

# In the order of the log.
#   kind     callback   no coroutine per connection
#            coroutine  one coroutine, or a greenlet, per connection
#            thread     one light thread with a stack of its own per connection
#   runner   program: the server itself; NAME=VALUE: the same, with that in its environment; else
#            the interpreter of a source
#   server   a program in the build directory, or a source in bench/peers (x is x_echo.py)
#   package  what to install if the row cannot run
#
# name         port kind      runner          server                package
CLASSIC = """
libev          3100 callback  program         bench/libev_echo      libev-dev
epoll2         3900 callback  python2         epoll                 python2
epoll3         4000 callback  python3         epoll                 python3
twisted2       3600 callback  python2         twisted               Twisted<21
twisted3       3700 callback  python3         twisted               python3-twisted
asyncio_proto3 3850 callback  python3         asyncio_protocol      python3
echo_coro      3200 coroutine program         src/server/echo_coro  -
gevent2        3250 coroutine python2         gevent                gevent<23
gevent3        3300 coroutine python3         gevent                python3-gevent
tornado2       3400 coroutine python2         tornado               tornado<6
tornado3       3500 coroutine python3         tornado               python3-tornado
tornado_async3 3550 coroutine python3         tornado_native        python3-tornado
asyncio3       3800 coroutine python3         asyncio               python3
"""
FIELD = """
epoll          3005 callback  program         bench/epoll_echo      -
uring          3010 callback  program         bench/uring_echo      -
libev_uring    3015 callback  LIBEV_FLAGS=128 bench/libev_echo      libev-dev
libuv          3020 callback  program         bench/libuv_echo      libuv1-dev
node           3025 callback  node            node_echo.js          nodejs
java           3030 callback  java            java_echo.java        default-jdk-headless
pypy_epoll     3035 callback  pypy3           epoll                 pypy3
asio_epoll     3040 coroutine program         bench/asio_epoll_echo libasio-dev
asio_uring     3045 coroutine program         bench/asio_uring_echo libasio-dev
tokio          3050 coroutine program         bench/tokio_echo      librust-tokio-dev
uvloop         3055 coroutine python3         uvloop                python3-uvloop
trio           3060 coroutine python3         trio                  python3-trio
eventlet       3065 coroutine python3         eventlet              python3-eventlet
pypy_asyncio   3070 coroutine pypy3           asyncio               pypy3
st             3075 thread    program         bench/st_echo         libst-dev
fiber          3080 thread    program         bench/fiber_echo      libboost-fiber-dev
go             3085 thread    program         bench/go_echo         golang-go
erlang         3090 thread    escript         erlang_echo.escript   erlang-base
"""
JAVA_OPTIONS = ("-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true")
# What the peer itself imports: a package may be installed only in part.
IMPORTS = {
    "epoll": "import select; select.epoll",
    "asyncio_protocol": "import asyncio",
    "eventlet": "import eventlet; from eventlet.greenio import GreenSocket",
    "gevent": "from gevent import monkey; from gevent.server import StreamServer; monkey.patch_all()",
    "tornado": "from tornado.gen import coroutine; from tornado.ioloop import IOLoop; "
    "from tornado.iostream import StreamClosedError; from tornado.tcpserver import TCPServer",
    "tornado_native": "from tornado.iostream import StreamClosedError; from tornado.tcpserver import TCPServer",
    "twisted": "from twisted.internet import reactor; from twisted.internet.protocol import Factory, Protocol; "
    "from twisted.internet.interfaces import IHalfCloseableProtocol; from zope.interface import implementer",
}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    port: int
    kind: str
    runner: str
    server: str
    package: str  # or -
    in_field: bool

    @property
    def is_built(self):
        return self.runner == "program" or "=" in self.runner

    @property
    def program(self):
        return BUILD / self.server

    @property
    def directory(self):
        """The directory to run its command in."""
        return self.program.parent if self.is_built else PEERS

    def words(self):
        """The command as the log shows it."""
        port = str(self.port)
        if self.is_built:
            settings = [] if self.runner == "program" else [self.runner]
            at_port = ["--port", port] if self.name == "echo_coro" else [port]
            return [*settings, f"./{self.program.name}", *at_port]
        if self.runner == "java":
            return ["java", *JAVA_OPTIONS, self.server, port]
        source = self.server if "." in self.server else f"{self.server}_echo.py"
        return [self.runner, source, port]

    def anywhere(self):
        """The command, for any directory and any port."""
        words = ["{port}" if word == str(self.port) else word for word in self.command()]
        names = {f"./{self.program.name}": self.program}
        return [str(names.get(word, self.directory / word if (self.directory / word).is_file() else word)) for word in words]

    def command(self):
        first, *others = self.words()
        if "=" in first:
            return ["env", first, *others]
        return [{"python2": PYTHON2, "python3": PYTHON3}.get(first, first), *others]

    def why_not(self):
        """Why it cannot run here, or nothing."""
        hint = "" if self.package == "-" else f" (install the package {self.package})"
        if self.is_built:
            return "" if os.access(self.program, os.X_OK) else f"{self.program.name} is not built{hint}"
        if self.runner == "python2":
            return self.why_no_python2()
        if self.runner == "python3":
            return self.why_no_python3(hint)
        needed = "javac" if self.runner == "java" else self.runner  # java compiles its source first
        return "" if shutil.which(needed) else f"{needed} is missing{hint}"

    def why_no_python2(self):
        if not can(PYTHON2, "import sys; sys.exit(sys.version_info[0] != 2)"):
            if os.environ.get("PYTHON2"):
                return f"PYTHON2={PYTHON2} is no Python 2"
            return "Python 2 is missing (few systems still have it; PYTHON2 names one in another place)"
        if not can(PYTHON2, self.imports):
            return f"Python 2 has no whole {self.server} ({PYTHON2} -m pip install '{self.package}')"
        return ""

    def why_no_python3(self, hint):
        if not can(PYTHON3, "import sys; sys.exit(sys.version_info < (3, 8))"):
            return f"{PYTHON3} is no Python 3.8 or later (install the package python3, or set PYTHON3)"
        return "" if can(PYTHON3, self.imports) else f"Python 3 has no whole {self.server}{hint}"

    @property
    def imports(self):
        return IMPORTS.get(self.server, f"import {self.server}")


@functools.lru_cache(maxsize=None)
def can(python, code):
    """A command called python2 can be a wrapper without a Python: only running it shows that."""
    return ask(python, "-c", code) is not None


def all_rows():
    for table in (CLASSIC, FIELD):
        for line in table.split("\n")[1:-1]:
            name, port, *others = line.split()
            yield Row(name, int(port), *others, in_field=table is FIELD)


# ---- names on a command line ---------------------------------------------------------------------

# Beside the rows: the steps of the ladder, and the C peers by the names of their programs.
PROGRAMS = {
    "ladder": "bench/ladder",
    **dict.fromkeys(("epoll_echo", "libev_echo", "uring_echo", "tls_epoll_echo", "zero_copy_echo"), "bench"),
}


def row_called(name):
    return next((row for row in all_rows() if row.name == name), None)


def refuse_missing(server):
    """Reports why a row cannot run here, before anything is started."""
    row = row_called((shlex.split(server) or [""])[0])
    why_not = row and row.why_not()
    if why_not:
        raise Missing(f"{row.name}: {why_not}")


def command_of(server, port):
    """The command of a server that was named on the command line."""
    if "{port}" in server:
        return shlex.split(server.replace("{port}", str(port)))
    name, *options = shlex.split(server) or [""]
    row = row_called(name)
    if row:
        return [*(word.replace("{port}", str(port)) for word in row.anywhere()), *options]
    if name in PROGRAMS:
        at_port = ["--port", str(port)] if name == "ladder" else [str(port)]
        return [str(BUILD / PROGRAMS[name] / name), *at_port, *options]
    if name.endswith(".py") and (PEERS / name).exists():
        return [PYTHON3, str(PEERS / name), str(port), *options]
    raise Missing(f"'{server}' is neither a known server nor a command with {{port}}; see --help")
