"""ringlet_doctor from outside: its findings are true, and its advice fits the problem."""

import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import (DENY, PATIENCE_SECONDS, RINGLET_DOCTOR, USAGE, descriptor_limit,
                      environment_under_strace, run, strace, why_strace_cannot_trace)

IO_URING_WORKS, ONLY_EPOLL_WORKS, NOTHING_WORKS, CANNOT_WRITE = 0, 1, 2, 74
NEEDED = ("setup", "noop", "ringlet_ring")
FEATURES = ("nodrop", "wait_with_timeout", "registered_ring", "multishot_accept",
            "provided_buffers", "multishot_receive", "zero_copy_send", "defer_taskrun",
            "direct_descriptors", "accept_poll_first")


def environment(**more):
    """Our environment, without the variable that selects the servers' backend."""
    names = {**os.environ, **more}
    return {name: value for name, value in names.items()
            if name != "RINGLET_BACKEND" or name in more}


def locking(limit_kib):
    """The prefix of a command that limits how much memory it may lock.

    The kernel adds up what all processes of a user lock. Other tests run at the same time, so as
    root it runs as a separate user."""
    bytes_limit = limit_kib * 1024
    drop = ()
    if os.geteuid() == 0:
        drop = ("setpriv", "--reuid", str(20000 + os.getpid() % 40000),
                "--bounding-set=-ipc_lock", "--inh-caps=-all,+dac_override",
                "--ambient-caps=-all,+dac_override")
    return (*drop, "prlimit", f"--memlock={bytes_limit}:{bytes_limit}")


def why_no_io_uring():
    """Queried without the doctor: io_uring_setup(2) has the same number everywhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(425, 1, ctypes.create_string_buffer(120))
    if descriptor < 0:
        return f"no io_uring here: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    return None


def read_table(text):
    """The checks in a table, by name, as in the JSON."""
    checks = {}
    for line in text.splitlines():
        row = re.fullmatch(r"  (ok|low|no) +(\S+) +(.*)", line)
        advice = re.fullmatch(r"       -> (.+)", line)
        if row:
            name = row[2]
            assert name not in checks, f"{name} stands there twice"
            checks[name] = {"verdict": row[1], "value": row[3], "advice": ""}
        elif advice:
            assert not checks[name]["advice"], f"two advices for {name}"
            checks[name]["advice"] = advice[1]
    return checks


class Doctor(unittest.TestCase):
    def setUp(self):
        reason = why_no_io_uring()
        if reason:
            self.skipTest(reason)

    def asked(self, status, *under, **options):
        """The checks that the doctor prints when run under a command."""
        options.setdefault("env", environment())
        ended = run(*under, RINGLET_DOCTOR, **options)
        self.assertEqual((ended.returncode, ended.stderr), (status, ""), ended.stdout)
        return read_table(ended.stdout)

    def denied(self, status, answer, calls):
        return self.asked(status, DENY, answer, calls, "--")

    def finds(self, checks, name, verdict, value=".*", advice=".*"):
        check = checks[name]
        self.assertEqual(check["verdict"], verdict, check)
        self.assertRegex(check["value"], value)
        self.assertRegex(check["advice"], advice)


class WhatItFinds(Doctor):
    def test_this_machine(self):
        checks = self.asked(IO_URING_WORKS)
        for name in (*NEEDED, "nodrop", "epoll"):
            self.finds(checks, name, "ok", advice=r"\A\Z")
        self.assertIn(os.uname().release, checks["kernel"]["value"])
        self.finds(checks, "automatic", "ok", r"\Aio_uring\Z", r"\A\Z")
        self.assertGreaterEqual(set(checks), {*NEEDED, *FEATURES})

    def test_features_are_those_of_the_kernel(self):
        release = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))
        if release < (6, 1):
            self.skipTest("Linux 6.1 has all that is looked for")
        checks = self.asked(IO_URING_WORKS)
        for name in (*FEATURES, "epoll_pwait2"):
            self.finds(checks, name, "ok", advice=r"\A\Z")

    def test_features_are_really_tried(self):
        """Each feature is tried on the kernel, in a process other than the doctor's."""
        reason = why_strace_cannot_trace()
        if reason:
            self.skipTest(reason)
        for call, trace in (("io_uring_setup", "flags=(IORING_SETUP_SINGLE_ISSUER.*DEFER|0x3000 )"), ("io_uring_enter", "EXT_ARG"),
                            ("io_uring_register", "RING_FDS|0x14"), ("connect", "127.0.0.1"),
                            ("epoll_pwait2", "EPOLLIN")):
            ended = run("strace", "-f", "-qq", "-e", f"trace={call}", RINGLET_DOCTOR,
                        env=environment_under_strace())
            self.assertRegex(ended.stderr, rf"\[pid +\d+\] {call}\(.*({trace})")

    def test_json_and_table_agree(self):
        for status, under in ((IO_URING_WORKS, ()),
                              (ONLY_EPOLL_WORKS, (DENY, "EPERM", "io_uring_setup", "--")),
                              (NOTHING_WORKS, (DENY, "EPERM", "io_uring_setup,epoll_create1",
                                               "--"))):
            with self.subTest(status=status):
                table = self.asked(status, *under)
                ended = run(*under, RINGLET_DOCTOR, "--json", env=environment())
                self.assertEqual((ended.returncode, ended.stderr), (status, ""))
                found = json.loads(ended.stdout)
                self.assertEqual(found["schema_version"], 1)
                self.assertEqual(found["exit_status"], status)
                self.assertEqual(found["io_uring_works"], status == IO_URING_WORKS)
                self.assertEqual(found["epoll_works"], status != NOTHING_WORKS)
                self.assertEqual(found["backend"], ("io_uring", "epoll", "none")[status])
                keys = ("verdict", "value", "advice")
                self.assertEqual({name: {key: check[key] for key in keys}
                                  for name, check in found["checks"].items()}, table)

    def test_limits_are_those_of_the_process(self):
        found = json.loads(run(RINGLET_DOCTOR, "--json", preexec_fn=descriptor_limit(200)).stdout)
        self.assertEqual(found["checks"]["descriptors"]["data"], {"soft": 200, "hard": 200})
        first, last = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
                          .read_text().split())
        self.assertEqual(found["checks"]["local_ports"]["data"]["count"], last - first + 1)

    def test_what_is_not_ideal_has_advice(self):
        """Except for findings that only follow from another one with advice."""
        follows = r"not tried|refused"
        for under in ((), (DENY, "EPERM", "io_uring_setup", "--"),
                      (DENY, "ENOSYS", "epoll_create1,io_uring_register", "--")):
            ended = run(*under, RINGLET_DOCTOR, preexec_fn=descriptor_limit(64))
            for name, check in read_table(ended.stdout).items():
                with self.subTest(name, under=under):
                    if not re.search(follows, check["value"]):
                        self.assertEqual(check["verdict"] == "ok", check["advice"] == "", check)


class WhatItAdvises(Doctor):
    def falls_back(self, answer, advice):
        """io_uring_setup is refused: one piece of advice, and all else follows from it."""
        checks = self.denied(ONLY_EPOLL_WORKS, answer, "io_uring_setup")
        self.finds(checks, "setup", "no", answer, advice)
        for name in (*NEEDED[1:], *FEATURES):
            self.finds(checks, name, "no", "not tried|refused", r"\A\Z")
        self.finds(checks, "epoll", "ok")
        self.finds(checks, "automatic", "low", r"\Aepoll: ", "advice above")
        return checks

    def test_container_that_forbids_io_uring(self):
        checks = self.falls_back("EPERM", "seccomp profile.*--security-opt seccomp=")
        self.finds(checks, "seccomp", "low", "active", "seccomp=unconfined.*io_uring_setup")

    def test_filter_that_hides_io_uring(self):
        checks = self.falls_back("ENOSYS", "Linux 5.11 or newer.*filter must allow")
        self.finds(checks, "seccomp", "low", "active", "unconfined")

    def test_sandbox_without_io_uring(self):
        self.falls_back("EOPNOTSUPP", "sandbox.*provider")

    def test_kernel_that_is_too_old(self):
        checks = self.falls_back("EINVAL", "too old: Linux 5.11")
        self.finds(checks, "seccomp", "ok", advice=r"\A\Z")

    def test_too_little_lockable_memory(self):
        reason = why_strace_cannot_trace()
        if reason:
            self.skipTest(reason)
        checks = self.asked(ONLY_EPOLL_WORKS, *strace("-e", "inject=io_uring_setup:error=ENOMEM"),
                            env=environment_under_strace())
        self.finds(checks, "setup", "no", "ENOMEM", "ulimit -l unlimited.*memlock=-1")
        self.finds(checks, "locked_memory", "low", "KiB|without limit", "LimitMEMLOCK=infinity")
        self.finds(checks, "automatic", "low", r"\Aepoll: ")

    def test_filter_that_kills(self):
        """It would kill a server that chooses its backend; the doctor survives."""
        checks = self.denied(ONLY_EPOLL_WORKS, "KILL", "io_uring_setup")
        self.finds(checks, "setup", "no", "SIGSYS", "seccomp profile.*RINGLET_BACKEND=epoll")
        self.finds(checks, "automatic", "no", r"\Anone: .*killed", "RINGLET_BACKEND=epoll")

    def test_filter_that_lets_only_the_setup_through(self):
        checks = self.denied(ONLY_EPOLL_WORKS, "EPERM", "io_uring_enter")
        self.finds(checks, "setup", "ok")
        self.finds(checks, "noop", "no", "EPERM", "io_uring_enter.*profile")
        self.finds(checks, "defer_taskrun", "no", "not tried", r"\A\Z")
        self.finds(checks, "automatic", "low", r"\Aepoll: ")

    def test_filter_that_forbids_what_ringlet_can_do_without(self):
        checks = self.denied(IO_URING_WORKS, "EPERM", "io_uring_register,epoll_pwait2")
        self.finds(checks, "registered_ring", "no", "EPERM", "allow io_uring_register")
        self.finds(checks, "epoll_pwait2", "no", "EPERM", "Linux 5.11")
        self.finds(checks, "automatic", "ok", r"\Aio_uring\Z")

    def test_neither_works(self):
        checks = self.denied(NOTHING_WORKS, "EPERM", "io_uring_setup,epoll_create1")
        self.finds(checks, "setup", "no", "EPERM", "seccomp profile")
        self.finds(checks, "epoll", "no", "EPERM", "allow epoll_create1")
        self.finds(checks, "epoll_pwait2", "no", "not tried")
        self.finds(checks, "automatic", "no", r"\Anone: neither")

    def test_no_epoll_is_no_harm_to_io_uring(self):
        checks = self.denied(IO_URING_WORKS, "ENOSYS", "epoll_create1")
        self.finds(checks, "epoll", "no", "ENOSYS", "nothing to fall back to")
        self.finds(checks, "automatic", "ok", r"\Aio_uring\Z")

    def test_children_and_datagrams(self):
        checks = self.asked(IO_URING_WORKS)
        self.finds(checks, "child_processes", "ok", "Process works")
        self.finds(checks, "datagram_segments", "ok", "one system call")
        for answer, said in (("ENOSYS", "ENOSYS"), ("KILL", "SIGSYS")):
            checks = self.asked(IO_URING_WORKS, DENY, answer, "pidfd_open", "--")
            self.finds(checks, "child_processes", "no", said, "allow pidfd_open.*Process::start fails")
            self.finds(checks, "datagram_segments", "ok")

    def test_tls(self):
        checks = self.asked(IO_URING_WORKS)
        self.finds(checks, "tls", "ok", r"OpenSSL 3.*: TLS 1.2 and 1.3 unless others")
        self.finds(checks, "kernel_tls", "ok", r"(not here .*no module tls|could encrypt).*ringlet::tls")

    def test_few_descriptors(self):
        checks = self.asked(IO_URING_WORKS, preexec_fn=descriptor_limit(64))
        self.finds(checks, "descriptors", "low", r"\A64 ", "ulimit -n.*LimitNOFILE=.*--ulimit")

    def test_hardly_any_descriptor(self):
        """A failure for another reason is not blamed on a filter."""
        checks = self.asked(IO_URING_WORKS, preexec_fn=descriptor_limit(4))
        for name in ("loopback", "epoll"):
            self.finds(checks, name, "no", "EMFILE", r"\Araise the descriptor limit")
        self.finds(checks, "multishot_accept", "no", "loopback interface", r"\A\Z")

    def test_environment_that_decides(self):
        for value, verdict, backend, advice in (
                ("auto", "ok", r"io_uring\Z", r"\A\Z"), ("", "ok", r"io_uring\Z", r"\A\Z"), ("io_uring", "ok", r"io_uring\Z", r"\A\Z"),
                ("epoll", "low", "epoll: RINGLET_BACKEND", "unset RINGLET_BACKEND"),
                ("kqueue", "no", "none: RINGLET_BACKEND=kqueue", "auto, io_uring or epoll")):
            with self.subTest(value):
                checks = self.asked(IO_URING_WORKS, env=environment(RINGLET_BACKEND=value))
                self.finds(checks, "automatic", verdict, rf"\A{backend}", advice)

    def test_environment_that_asks_for_what_is_refused(self):
        for status, call, backend in ((ONLY_EPOLL_WORKS, "io_uring_setup", "io_uring"),
                                      (IO_URING_WORKS, "epoll_create1", "epoll")):
            with self.subTest(backend):
                checks = self.asked(status, DENY, "EPERM", call, "--",
                                    env=environment(RINGLET_BACKEND=backend))
                self.finds(checks, "automatic", "no",
                           rf"\Anone: RINGLET_BACKEND={backend}, which does not work",
                           "unset RINGLET_BACKEND")


class OtherMachines(Doctor):
    """Namespaces in which a different setting applies only to the doctor."""

    def elsewhere(self, status, namespace, change, *under):
        reason = run("unshare", namespace, "sh", "-c", change)
        if reason.returncode:
            self.skipTest(f"no namespace of our own here: {reason.stderr.strip()}")
        return self.asked(status, "unshare", namespace, "sh", "-c", f'{change}; exec "$@"', "sh",
                          *under)

    def test_io_uring_is_disabled(self):
        denied = (DENY, "EPERM", "io_uring_setup", "--")
        for value, who in ((1, "only root"), (2, "nobody")):
            with self.subTest(value), tempfile.NamedTemporaryFile("w") as file:
                print(value, file=file, flush=True)
                checks = self.elsewhere(
                    ONLY_EPOLL_WORKS, "--mount",
                    f"mount --bind {file.name} /proc/sys/kernel/io_uring_disabled", *denied)
                self.finds(checks, "io_uring_disabled", "no", f"{value}: {who}",
                           "sysctl -w kernel.io_uring_disabled=0.*sysctl.d")
                self.finds(checks, "setup", "no", "EPERM", "sysctl -w kernel.io_uring_disabled=0")
                self.finds(checks, "seccomp", "ok")

    def test_io_uring_is_for_some_and_we_are_among_them(self):
        with tempfile.NamedTemporaryFile("w") as file:
            print(1, file=file, flush=True)
            checks = self.elsewhere(
                IO_URING_WORKS, "--mount",
                f"mount --bind {file.name} /proc/sys/kernel/io_uring_disabled")
            self.finds(checks, "io_uring_disabled", "ok", "1: only root", r"\A\Z")

    def test_few_may_wait_and_few_ports(self):
        checks = self.elsewhere(
            IO_URING_WORKS, "--net",
            "cd /proc/sys/net; echo 128 >core/somaxconn; echo 40000 40999 >ipv4/ip_local_port_range")
        self.finds(checks, "somaxconn", "low", r"\A128 ", "sysctl -w net.core.somaxconn=4096")
        self.finds(checks, "local_ports", "low", r"\A1,000 \(40000 to 40999\)",
                   "sysctl -w net.ipv4.ip_local_port_range=")
        # The loopback interface of a new namespace is down.
        for name in ("multishot_accept", "accept_poll_first", "multishot_receive", "zero_copy_send"):
            self.finds(checks, name, "no", "loopback interface", r"\A\Z")
        self.finds(checks, "loopback", "no", "ENETUNREACH", "ip link set lo up")

    def test_loopback_interface_that_went_down(self):
        """It still has its address: packets get no answer, but no filter is to blame."""
        checks = self.elsewhere(IO_URING_WORKS, "--net", "ip link set lo up; ip link set lo down")
        for name in ("multishot_accept", "accept_poll_first", "multishot_receive", "zero_copy_send"):
            self.finds(checks, name, "no", "loopback interface", r"\A\Z")
        self.finds(checks, "loopback", "no", "no answer", "ip link set lo up")

    def test_old_kernel(self):
        """Only its release name: setarch(8)."""
        checks = self.asked(ONLY_EPOLL_WORKS, "setarch", "--uname-2.6", DENY, "ENOSYS",
                            "io_uring_setup", "--")
        self.finds(checks, "kernel", "no", r"Linux 2\.6\.", r"Linux 5\.11.*6\.1")
        checks = self.asked(IO_URING_WORKS, "setarch", "--uname-2.6", *locking(500))
        self.finds(checks, "kernel", "ok", r"Linux 2\.6\.")
        self.finds(checks, "locked_memory", "low", r"\A500 KiB\Z", "ulimit -l unlimited")

    def test_kernels_that_count_rings_as_locked_memory(self):
        """Before Linux 5.12, and since 6.14; not for processes with CAP_IPC_LOCK."""
        version = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))
        if (5, 12) <= version < (6, 14):
            self.skipTest("this kernel does not count rings")
        checks = self.asked(ONLY_EPOLL_WORKS, *locking(64))
        self.finds(checks, "ringlet_ring", "no", "refused", "ulimit -l unlimited")
        self.finds(checks, "locked_memory", "low", r"\A64 KiB\Z", "ulimit -l unlimited")
        if os.geteuid() == 0:
            checks = self.asked(IO_URING_WORKS, "prlimit", "--memlock=65536:65536")
            self.finds(checks, "locked_memory", "ok", r"CAP_IPC_LOCK", r"\A\Z")


class CommandLine(unittest.TestCase):
    def test_help_and_version(self):
        for option, expected in (("--help", "Exit status: 0 .* 1 .* 2 .* 64 "),
                                 ("--version", r"\Aringlet_doctor \d+\.\d+\.\d+\n\Z")):
            ended = run(RINGLET_DOCTOR, option)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertRegex(ended.stdout, expected)

    def test_help_fits_a_terminal(self):
        text = run(RINGLET_DOCTOR, "--help").stdout
        self.assertEqual([line for line in text.splitlines() if len(line) > 100], [])

    def test_bad_options(self):
        for words in (["--jsn"], ["now"], ["--json=maybe"]):
            with self.subTest(words):
                ended = run(RINGLET_DOCTOR, *words)
                self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
                self.assertRegex(ended.stderr, r"\Aringlet_doctor: [^\n]+ \(see --help\)\n\Z")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            ended = subprocess.run([RINGLET_DOCTOR], stdout=full, stderr=subprocess.PIPE,
                                   text=True, timeout=PATIENCE_SECONDS, check=False)
        self.assertEqual(ended.returncode, CANNOT_WRITE)
        self.assertRegex(ended.stderr, r"\Aringlet_doctor: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
