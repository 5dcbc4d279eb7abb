"""A service manager for the programs that it starts: sd_listen_fds(3) and sd_notify(3)."""

import os
import pathlib
import select
import socket
import time

from programs import ECHO_CORO, HOST, PATIENCE_SECONDS, Program

FIRST_DESCRIPTOR = 3


def listening(address=(HOST, 0)):
    """A listening socket like systemd's: a path is a Unix socket."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    opened = socket.socket(family)
    opened.bind(address)
    opened.listen(1000)
    opened.setblocking(False)
    return opened


def name_of(opened):
    """The address in the form that echo_coro prints."""
    name = opened.getsockname()
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    return f"unix:{name}" if isinstance(name, str) else f"unix:@{name[1:].decode()}"


def given(sockets, *arguments, names=None, pid="$$", count=None, program=ECHO_CORO, **variables):
    """Starts a program with these sockets as its descriptors 3, 4 and so on."""
    copies = [os.dup(opened.fileno()) for opened in sockets]

    def place():
        high = [os.dup(copy) for copy in copies]
        while high and min(high) < FIRST_DESCRIPTOR + len(high):
            high = [os.dup(copy) for copy in high]
        for index, copy in enumerate(high):
            os.dup2(copy, FIRST_DESCRIPTOR + index, inheritable=True)

    set_names = f"export LISTEN_FDNAMES='{':'.join(names)}'; " if names else ""
    script = (f"{set_names}export LISTEN_FDS={len(sockets) if count is None else count} LISTEN_PID={pid}; "
              'exec "$@"')
    try:
        started = Program("sh", "-c", script, "sh", program, *arguments, close_fds=False, preexec_fn=place,
                          env={**os.environ, **variables})
    finally:
        for copy in copies:
            os.close(copy)
    started.name = pathlib.Path(program).name
    return started


def echoes(address, text=b"hello"):
    """Whether a connection to a tuple or a path echoes."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(address)
        client.sendall(text)
        return client.recv(100) == text


class Manager:
    """A socket that NOTIFY_SOCKET can name: a path, or an abstract name that begins with an @."""

    def __init__(self, name):
        self.variable = str(name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.variable[1:] if self.variable.startswith("@") else self.variable)
        self.seen = []

    def close(self):
        self.socket.close()

    def until(self, beginning):
        """The next message with this beginning, as a list of its lines."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
            message = self.socket.recv(4096).decode()
            self.seen.append(message)
            if message.startswith(beginning):
                return message.split("\n")
        raise AssertionError(f"waiting for {beginning}; there came: {self.seen}")

    def is_silent_of(self, beginning):
        """Whether no message with this beginning has come since."""
        while select.select([self.socket], [], [], 0)[0]:
            if self.socket.recv(4096).decode().startswith(beginning):
                return False
        return True
