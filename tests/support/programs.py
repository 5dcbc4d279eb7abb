"""Starts ringlet's programs like a user, talks to them, and makes sure that they end.

Every wait is bounded, and its failure says what it waited for. Nothing here depends on a fixed port.
"""

import contextlib
import ctypes
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RINGLET_BUILD_DIR", ROOT / "build/release")).resolve()
SANITIZED = bool(os.environ.get("RINGLET_SANITIZE"))
ECHO_CORO = BUILD / "src/server/echo_coro"
ECHO_BENCH = BUILD / "src/client/echo_bench"
RINGLET_DOCTOR = BUILD / "src/doctor/ringlet_doctor"
RINGLET_TOP = BUILD / "src/top/ringlet_top"
DENY = BUILD / "tests/deny"
BACKEND = os.environ.get("RINGLET_BACKEND", "io_uring")

HOST = "127.0.0.1"
PATIENCE_SECONDS = 40

# sysexits(3)
USAGE, NO_INPUT, NO_HOST, UNAVAILABLE = 64, 66, 68, 69
CANNOT_CREATE, UNWRITTEN, NO_PERMISSION = 73, 74, 77


def without_waiting(ended):
    """The stderr of a measurement, without the lines about waiting for another one on this machine."""
    lines = ended.stderr.splitlines(keepends=True)
    ended.stderr = "".join(line for line in lines if "waiting for another measurement" not in line)
    return ended


def wait_until(true, what, seconds=PATIENCE_SECONDS):
    """Calls repeatedly, and returns the first true result."""
    deadline = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waiting for {what}: not within {seconds} seconds")
        select.select([], [], [], 0.01)


def is_running(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def socket_of_process(pid, peer_address):
    """A duplicate of the process's socket that is connected to peer_address."""
    pidfd_open, pidfd_getfd = 434, 438  # the same numbers on every architecture; Linux 5.6
    system_call = ctypes.CDLL(None, use_errno=True).syscall

    def checked(*arguments):
        descriptor = system_call(*map(ctypes.c_long, arguments))
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return descriptor

    process = checked(pidfd_open, pid, 0)
    try:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                if not os.readlink(entry).startswith("socket:"):
                    continue
                candidate = socket.socket(fileno=checked(pidfd_getfd, process, int(entry.name), 0))
            except PermissionError:
                raise
            except OSError:
                continue  # closed meanwhile
            try:
                if candidate.getpeername() == peer_address:
                    return candidate
            except OSError:
                pass  # a listener has no peer
            candidate.close()
    finally:
        os.close(process)
    raise AssertionError(f"the server has no connection with {peer_address}")


def run(*command, **options):
    """Runs a program to its end. Returns the subprocess.CompletedProcess, with text."""
    try:
        return subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=PATIENCE_SECONDS, check=False, **options)
    except subprocess.TimeoutExpired as expired:
        raise AssertionError(f"waiting for {' '.join(map(str, command))} to end; it said: "
                             f"{expired.stdout} {expired.stderr}") from None


def stderr_on_a_terminal(*command):
    """Runs a program to its end, whose stderr is a terminal. Returns what it wrote there."""
    terminal, stderr = pty.openpty()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=stderr)
    os.close(stderr)
    written = b""
    try:
        while select.select([terminal], [], [], PATIENCE_SECONDS)[0]:
            try:
                written += os.read(terminal, 4096)
            except OSError:  # no process has it open: the program has ended
                process.wait(PATIENCE_SECONDS)
                return written.decode()
        raise AssertionError(f"waiting for {command[0]} to end on a terminal: {written}")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def descriptor_limit(count):
    """For preexec_fn: like `ulimit -n COUNT` before the program."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@contextlib.contextmanager
def port_of_nobody():
    """A port without a listener, reserved for as long as it is needed."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


def listening_port(pid):
    """The port on which a process listens, or None: its sockets among all listening ones (proc(5), state 0A)."""
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no IPv6 here
            rows = [line.split() for line in pathlib.Path(table).read_text().splitlines()[1:]]
            listening |= {f"socket:[{row[9]}]": int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            port = listening.get(os.readlink(entry))
            if port:
                return port
    return None


class Program:
    """One running program. `with` ends it by SIGTERM, and expects status 0 and nothing unexpected on
    stderr, such as a sanitizer's report."""

    def __init__(self, *command, **options):
        self.name = pathlib.Path(command[0]).name
        self.errors = tempfile.TemporaryFile()
        self.expected_errors = r""
        self.unread = b""
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            **{"stderr": self.errors, **options})
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if failure is None:
                if self.process.poll() is None:
                    self.process.send_signal(signal.SIGTERM)
                status = self.wait("by SIGTERM at the end of the test")
                if status != 0 or not re.fullmatch(self.expected_errors, self.said()):
                    raise AssertionError(f"{self.name} ended with {status}: {self.said()}")
        finally:
            said = self.said()
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.errors.close()
            if failure is not None and said:
                print(f"{self.name} said: {said}")

    def line(self):
        """The next line on stdout, without its newline."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self.unread:
            patience = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], patience)[0]:
                raise AssertionError(f"waiting for a line from {self.name}: {self.said()}")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise AssertionError(f"waiting for a line: {self.name} ended with "
                                     f"{self.wait('after its stdout')}: {self.said()}")
            self.unread += chunk
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def rest(self):
        """The unread rest of stdout, after the program has ended."""
        rest = self.unread + self.process.stdout.read()
        self.unread = b""
        return rest.decode()

    def said(self):
        """All of stderr so far."""
        return os.pread(self.errors.fileno(), 1 << 24, 0).decode(errors="replace")

    def wait(self, how="by itself"):
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"waiting for {self.name} to end {how}: {self.said()}") from None

    def ends_by(self, signal_number):
        self.process.send_signal(signal_number)
        return self.wait(f"by signal {signal_number}")

    def threads(self):
        """The names of its threads; the kernel's io_uring workers begin with iou-wrk."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return [(task / "comm").read_text().strip() for task in tasks]

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def resident_bytes(self):
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


class EchoCoro(Program):
    """echo_coro on a free port, ready for connections. `under` is a command to run it under."""

    def __init__(self, *arguments, under=(), **options):
        command = [*under, ECHO_CORO, "--port", 0, *arguments]
        if "--drain-timeout" not in arguments:
            command += ["--drain-timeout", "2s"]
        if "--drain-spread" not in arguments:
            command += ["--drain-spread", "0s"]  # connections at rest stay until the drain time is over
        super().__init__(*command, **options)
        self.name = "echo_coro"
        try:
            self.first_line = self.line()
            address = re.match(r"echo_coro listens on \[?([^ \]]+?)\]?:(\d+), ", self.first_line)
            if not address:
                raise AssertionError(f"its first line names no address: {self.first_line}")
        except AssertionError as failure:
            self.__exit__(failure)
            raise
        self.host, self.port = address[1], int(address[2])

    def connect(self, **options):
        return Connection(self.host, self.port, **options)


class Connection(socket.socket):
    """A TCP connection whose waits are bounded, and whose failures say what it waited for."""

    def __init__(self, host, port, receive_buffer_bytes=0):
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.settimeout(PATIENCE_SECONDS)
        if receive_buffer_bytes:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.connect((host, port))
        except OSError:
            self.close()
            raise

    def receive_exactly(self, count, what="an echo"):
        received = bytearray()
        while len(received) < count:
            try:
                chunk = self.recv(min(65536, count - len(received)))
            except socket.timeout:
                raise AssertionError(f"waiting for {what}: {len(received)} of {count} bytes "
                                     "came") from None
            if not chunk:
                raise AssertionError(f"waiting for {what}: the end came after {len(received)} of "
                                     f"{count} bytes")
            received += chunk
        return bytes(received)

    def receive_to_the_end(self, what="the end of the connection"):
        received = bytearray()
        while True:
            try:
                chunk = self.recv(65536)
            except socket.timeout:
                raise AssertionError(f"waiting for {what}: {len(received)} bytes came") from None
            if not chunk:
                return bytes(received)
            received += chunk

    def echoes(self, message=b"hello"):
        """Sends the message and compares what comes back. For messages that fit into a buffer."""
        self.sendall(message)
        echo = self.receive_exactly(len(message))
        if echo != message:
            raise AssertionError(f"sent {message[:40]!r}, got {echo[:40]!r}")

    def has_something(self):
        return bool(select.select([self], [], [], 0)[0])

    def reset(self):
        """Closes with a reset."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def strace(*options, log="/dev/null"):
    """The command prefix for strace that keeps the command our own child process."""
    return ["strace", "-D", "-f", "-qq", "-o", str(log), *options]


def why_strace_cannot_trace():
    if not shutil.which("strace"):
        return "strace is missing: install the package strace"
    tried = run(*strace("-e", "inject=io_uring_setup:error=EPERM"), "true")
    return f"strace cannot trace here: {tried.stderr.strip()}" if tried.returncode else None


def environment_under_strace(**more):
    """LeakSanitizer does not work under ptrace."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return {**os.environ, **more, "ASAN_OPTIONS": f"{options}:detect_leaks=0".lstrip(":")}
