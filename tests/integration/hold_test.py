"""echo_bench --hold from outside: it holds as many connections as it reports, finds servers that answer only once
or wrongly, reports at which connection a server stopped, and leaves no process behind."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from json_schema import complaints
from programs import (ECHO_BENCH, HOST, ROOT, UNAVAILABLE, USAGE, EchoCoro, descriptor_limit, port_of_nobody, run,
                      stderr_on_a_terminal, wait_until)
from scripted_server import ScriptedServer

SCHEMA = json.loads((ROOT / "docs/guides/echo_bench.schema.json").read_text())
SOFTWARE = 70  # sysexits(3)
FEW_DESCRIPTORS = 96  # a process keeps 32 of them for itself

# An address for this process only, because other processes may run the same tests.
OWN_SOURCE = f"127.{10 + os.getpid() // 250 % 200}.{1 + os.getpid() % 250}.7"


def hold(port, count, *arguments, **options):
    return run(ECHO_BENCH, "-p", port, "--hold", count, "--hold-time", "100ms", *arguments, **options)


def children(pid):
    """The processes that another one started and has not reaped."""
    try:
        listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in listed.split()]


def is_there(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Holding(unittest.TestCase):
    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def told(self, ended, **expected):
        """The content of the JSON file, which must match what was printed."""
        written = json.loads(self.json.read_text())
        self.assertEqual(list(complaints(written, SCHEMA)), [])
        hold = written["hold"]
        self.assertEqual({key: hold[key] for key in expected}, expected, ended.stdout + ended.stderr)
        self.assertRegex(ended.stdout, r"\AHold: {wanted} connections to [^\n]*\n"
                         r"Connections: {connections} held, {failed} failed, {not_tried} not tried; "
                         r"[^\n]*\nEchoes of 64 bytes at the start: {connections} right, "
                         r"{first_echo_errors} wrong or missing\n".format(**hold))
        last_right = hold["connections"] - hold["last_echo_errors"]
        self.assertIn(f"later: {last_right} right, {hold['last_echo_errors']} wrong or missing\n",
                      ended.stdout)
        self.assertEqual(hold["wanted"], hold["connections"] + hold["failed"] + hold["not_tried"])
        return hold

    def setUp(self):
        self.json = pathlib.Path(self.enter(tempfile.TemporaryDirectory())) / "result.json"


class AgainstEchoCoro(Holding):
    def test_several_processes_hold_all(self):
        server = self.enter(EchoCoro())
        ended = hold(server.port, 300, "--json", self.json, "--server-pid", server.pid,
                     preexec_fn=descriptor_limit(FEW_DESCRIPTORS))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        told = self.told(ended, wanted=300, connections=300, failed=0, not_tried=0, processes=5,
                         first_echo_errors=0, last_echo_errors=0, first_error="", hold_seconds=0.1)
        self.assertIsInstance(told["server_user_bytes_per_connection"], float)
        self.assertIsInstance(told["kernel_bytes_per_connection"], float)
        self.assertGreater(told["open_seconds"], 0)

    def test_all_are_open_at_the_same_time(self):
        """During the hold the server has a descriptor for each; afterwards none."""
        server = self.enter(EchoCoro())
        before = server.descriptor_count()
        held = server.descriptor_count() + 200
        client = subprocess.Popen(
            [str(ECHO_BENCH), "-p", str(server.port), "--hold", "200", "--hold-time", "1min"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        wait_until(lambda: server.descriptor_count() == before + 200, "200 connections to be held")
        client.terminate()
        self.assertEqual(client.wait(20), -signal.SIGTERM)
        wait_until(lambda: server.descriptor_count() == before, "all connections to be closed")

    def test_again_at_once(self):
        """No source is left in TIME_WAIT, unusable for a minute."""
        server = self.enter(EchoCoro())
        for _ in range(3):
            ended = hold(server.port, 100, "--sources", "127.9.8.7/32")
            self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
        self.assertEqual([row for row in rows if row[1].startswith("0708097F") and row[3] == "06"], [])

    def test_sources(self):
        seen = set()

        def echo(connection, whole):
            seen.add(connection.getpeername()[0])
            while True:
                connection.sendall(whole())

        for cidr, expected in (("127.4.5.6/32", {"127.4.5.6"}),
                               ("127.4.5.6/30", {"127.4.5.5", "127.4.5.6"}),
                               ("127.0.0.0/8", {f"127.0.0.{last}" for last in range(1, 21)})):
            with self.subTest(cidr=cidr), ScriptedServer(echo) as server:
                seen.clear()
                ended = hold(server.port, 20, "--sources", cidr)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                self.assertEqual(seen, expected)

    def test_source_that_is_in_use(self):
        server = self.enter(EchoCoro())
        taken = self.enter(socket.create_server((OWN_SOURCE, 10_000)))
        ended = hold(server.port, 10, "--sources", f"{OWN_SOURCE}/32")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        taken.close()

    def test_sources_that_another_holder_uses(self):
        server = self.enter(EchoCoro())
        before = server.descriptor_count()
        other = subprocess.Popen(
            [str(ECHO_BENCH), "-p", str(server.port), "--hold", "1000", "--hold-time", "1min",
             "--sources", f"{OWN_SOURCE}/32"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(other.wait)
        self.addCleanup(other.terminate)
        wait_until(lambda: server.descriptor_count() >= before + 1000, "1,000 connections to be held")
        ended = hold(server.port, 10, "--sources", f"{OWN_SOURCE}/32")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)

    def test_server_at_its_limit_of_connections(self):
        server = self.enter(EchoCoro("--max-connections", 50))
        ended = hold(server.port, 300, "--json", self.json, "--timeout", "3s")
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, r"\Aecho_bench: connection 51 of 300 was not served: the first "
                         r"echo: no answer within 3000 ms: has the server no descriptor left, or a "
                         r"limit of connections\?\n\Z")
        told = self.told(ended, wanted=300, connections=50, last_echo_errors=0)
        self.assertGreater(told["failed"], 0)
        self.assertGreater(told["not_tried"], 0)  # each would cost a timeout
        self.assertEqual(told["first_echo_errors"], told["failed"])

    def test_progress_only_on_a_terminal(self):
        server = self.enter(EchoCoro())
        arguments = ("-p", server.port, "--hold", 20, "--hold-time", "100ms")
        self.assertEqual(run(ECHO_BENCH, *arguments, "--progress").stderr, "")
        self.assertNotIn("held", stderr_on_a_terminal(ECHO_BENCH, *arguments, "--no-progress"))
        self.assertIn("20 of 20 connections held",
                      stderr_on_a_terminal(ECHO_BENCH, *arguments))


class AgainstScripts(Holding):
    def test_server_that_closes_after_the_first_echo(self):
        def once(connection, whole):
            connection.sendall(whole())

        with ScriptedServer(once) as server:
            ended = hold(server.port, 40, "--json", self.json)
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, r"\Aecho_bench: the last echo: [^\n]+\n\Z")
        self.told(ended, connections=40, failed=0, first_echo_errors=0, last_echo_errors=40)

    def test_one_wrong_bit_at_the_end(self):
        def second_is_wrong(connection, whole):
            connection.sendall(whole())
            message = whole()
            connection.sendall(message[:-1] + bytes([message[-1] ^ 1]))
            whole()

        with ScriptedServer(second_is_wrong) as server:
            ended = hold(server.port, 40, "--json", self.json)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr,
                         "echo_bench: the last echo: the answer is not what was sent\n")
        self.told(ended, connections=40, first_echo_errors=0, last_echo_errors=40)

    def test_wrong_from_the_start(self):
        """Some are correct, so that there is something to hold."""
        def tenth_is_wrong(connection, whole):
            number = server.connection_count
            message = whole()
            connection.sendall(bytes(64) if number >= 20 else message)
            connection.sendall(whole())

        with ScriptedServer(tenth_is_wrong) as server:
            ended = hold(server.port, 100, "--json", self.json)
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, r"\Aecho_bench: connection \d+ of 100 was not served: the "
                         r"first echo: the answer is not what was sent\n\Z")
        told = self.told(ended, last_echo_errors=0)
        self.assertGreater(told["first_echo_errors"], 0)

    def test_silent_at_the_end(self):
        def once(connection, whole):
            connection.sendall(whole())
            while True:
                whole()

        with ScriptedServer(once) as server:
            ended = hold(server.port, 20, "--json", self.json, "--timeout", "3s")
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr, "echo_bench: the last echo: no answer within 3000 ms\n")
        self.told(ended, connections=20, last_echo_errors=20)

    def test_nobody_listens(self):
        port = self.enter(port_of_nobody())
        ended = hold(port, 10)
        self.assertEqual((ended.returncode, ended.stdout), (UNAVAILABLE, ""))
        self.assertRegex(ended.stderr, rf"\Aecho_bench: cannot connect to {HOST}:{port}: [^\n]*"
                         r"Is the server running\?[^\n]*\n\Z")


class Ends(Holding):
    def start(self, server, **options):
        """A client of several processes that holds for long. Returns the client and its processes."""
        held = server.descriptor_count() + 200
        client = subprocess.Popen(
            [str(ECHO_BENCH), "-p", str(server.port), "--hold", "200", "--hold-time", "1min", "--json", str(self.json)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=descriptor_limit(FEW_DESCRIPTORS), **options)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        wait_until(lambda: server.descriptor_count() >= held, "200 connections to be held")
        pids = children(client.pid)
        self.assertEqual(len(pids), 4)
        return client, pids

    def ends_with_its_processes(self, signal_number):
        server = self.enter(EchoCoro())
        client, pids = self.start(server)
        client.send_signal(signal_number)
        said = client.communicate(timeout=20)
        self.assertEqual(client.returncode, -signal_number)
        wait_until(lambda: not any(map(is_there, pids)), f"the processes {pids} to end")
        return said

    def interrupted(self, signal_number, name):
        stdout, stderr = self.ends_with_its_processes(signal_number)
        held = int(re.search(r"^Connections: (\d+) held, 0 failed, \d+ not tried", stdout, re.MULTILINE)[1])
        self.assertIn("Interrupted: before all echoes at the end; until then 0 right, 0 wrong or missing\n", stdout)
        self.assertEqual(stderr, f"echo_bench: interrupted by {name}\n")
        written = json.loads(self.json.read_text())
        self.assertEqual(list(complaints(written, SCHEMA)), [])
        told = written["hold"]
        self.assertEqual((told["interrupted"], told["connections"]), (True, held))

    def test_interrupted(self):
        self.interrupted(signal.SIGINT, "SIGINT")

    def test_terminated(self):
        self.interrupted(signal.SIGTERM, "SIGTERM")

    def test_interrupted_on_a_terminal(self):
        """Every process of the group gets the signal."""
        server = self.enter(EchoCoro())
        client, _ = self.start(server, start_new_session=True)
        os.killpg(client.pid, signal.SIGINT)
        stdout, stderr = client.communicate(timeout=20)
        self.assertEqual((client.returncode, stderr), (-signal.SIGINT, "echo_bench: interrupted by SIGINT\n"))
        self.assertRegex(stdout, r"Connections: \d+ held, 0 failed")

    def test_killed(self):
        self.ends_with_its_processes(signal.SIGKILL)

    def test_process_that_ends_by_itself(self):
        server = self.enter(EchoCoro())
        client, pids = self.start(server)
        os.kill(pids[1], signal.SIGKILL)
        self.assertEqual(client.wait(20), SOFTWARE)
        self.assertEqual(client.stderr.read(), f"echo_bench: process {pids[1]}, which held "
                         "connections, ended by itself\n")
        self.assertFalse(any(map(is_there, pids)))


class Refusals(unittest.TestCase):
    def test_bad_options(self):
        table = (
            (["--hold", 0], "--hold"), (["--hold", "many"], "--hold"), (["--hold", 5, "-t", 2], "-t"),
            (["--hold", 5, "--rate", 2], "--rate"), (["--sources", "127.0.0.0/8"], "--hold"),
            (["--hold-time", "1s"], "--hold"), (["--server-pid", 1], "--hold"),
            (["--hold", 5, "--hold-time", "1"], "--hold-time"),
            (["--hold", 5, "--server-pid", 0], "--server-pid"),
            (["--hold", 5, "--server-pid", 2**30], "--server-pid .*No such file"),
            *((["--hold", 5, "--sources", cidr], "--sources") for cidr in
              ("127.0.0.1", "127.0.0.0/33", "127.0.0.0/-1", "127.0.0/8", "::1/128", "x/8", "/", "1.2.3.4/")),
            (["--hold", 64_513, "--sources", "127.0.0.1/32"], "--sources .*64512"),
            (["--hold", 5, "--sources", "127.0.0.1/32", "::1"], "--sources .*IPv4"),
        )
        for arguments, named in table:
            with self.subTest(arguments=arguments):
                ended = run(ECHO_BENCH, *arguments)
                self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""), ended.stderr)
                self.assertRegex(ended.stderr, rf"\Aecho_bench: [^\n]*{named}[^\n]*\n\Z")

    def test_more_than_all_processes_can_hold(self):
        ended = run(ECHO_BENCH, "--hold", 10_000, preexec_fn=descriptor_limit(FEW_DESCRIPTORS))
        self.assertEqual((ended.returncode, ended.stdout), (USAGE, ""))
        self.assertRegex(ended.stderr, r"--hold 10000 .*ulimit -n")


if __name__ == "__main__":
    unittest.main()
