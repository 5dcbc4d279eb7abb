"""What all Python peers share: read the port, listen, and fail with one clear line.

Runs in Python 2.7 and in Python 3.
"""

import contextlib
import errno
import os
import signal
import socket
import sys

HOST = "127.0.0.1"
BACKLOG = 4096
# The last versions that know Python 2: Debian 12 has no packages of them.
LAST_OF_PYTHON2 = {"gevent": "gevent<23", "tornado": "tornado<6", "twisted": "Twisted<21"}
USAGE, UNAVAILABLE = 64, 69  # exit statuses, as in sysexits.h

NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]

# Ctrl-C ends a peer as SIGTERM does: by the signal, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def fail(status, line):
    sys.stderr.write(line + "\n")
    sys.exit(status)


# Read before a package is imported, because importing takes longer.
PORT = int(sys.argv[1]) if len(sys.argv) == 2 and sys.argv[1].isdigit() else 0
if not 0 < PORT < 65536:
    fail(USAGE, "usage: %s PORT    (echoes on %s:PORT; PORT is 1 to 65535)" % (NAME, HOST))


@contextlib.contextmanager
def package(name):
    """Wraps the imports of a package, and says what to install if it is missing."""
    try:
        yield
    except Exception as error:  # a package may be installed only in part
        how = "install the package python3-%s" % name
        if sys.version_info[0] == 2:
            how = "python2 -m pip install '%s'" % LAST_OF_PYTHON2.get(name, name)
        fail(UNAVAILABLE, "%s: %s (%s)" % (NAME, error, how))


def listen():
    """Returns a non-blocking socket that listens on the port given on the command line.

    On Linux accepted sockets inherit TCP_NODELAY: it costs no system call per connection.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    try:
        listener.bind((HOST, PORT))
        listener.listen(BACKLOG)
    except socket.error as error:
        hint = " (another server runs there)" if error.errno == errno.EADDRINUSE else ""
        fail(UNAVAILABLE, "%s: %s:%d: %s%s" % (NAME, HOST, PORT, error.strerror, hint))
    return listener
