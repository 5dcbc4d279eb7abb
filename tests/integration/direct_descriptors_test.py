"""Connections without process descriptors: there can be more of them than the descriptor limit allows."""

import os
import pathlib
import re
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import EchoCoro, descriptor_limit, wait_until

LIMIT = 64
WORKERS = 8


def limited(*arguments, **options):
    return EchoCoro(*arguments, preexec_fn=descriptor_limit(LIMIT), **options)


class Direct(unittest.TestCase):
    def setUp(self):
        with EchoCoro("--direct-descriptors") as server:
            if "direct descriptors" not in server.first_line:
                self.skipTest("no direct descriptors here (Linux 6.8, io_uring)")

    def test_more_connections_than_descriptors(self):
        wanted = LIMIT * WORKERS // 2
        with limited("--workers", WORKERS, "--max-connections", LIMIT * WORKERS) as server:
            self.assertIn(f", {WORKERS} workers, at most {LIMIT * WORKERS} connections "
                          f"({LIMIT} direct descriptors each)", server.first_line)
            clients = [server.connect() for _ in range(wanted)]
            for client in clients:
                client.echoes()
            self.assertLess(server.descriptor_count(), LIMIT)
            for client in reversed(clients):
                client.echoes()
                client.close()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertIn(f"{wanted} connections served, 0 cancelled", server.rest())

    def test_full_tables_keep_clients_waiting(self):
        with limited("--max-connections", LIMIT) as server:
            clients = [server.connect() for _ in range(3 * LIMIT)]
            for client in clients:
                client.echoes()
                client.close()
            self.assertEqual(server.ends_by(signal.SIGTERM), 0)
            self.assertIn(f"{3 * LIMIT} connections served, 0 cancelled", server.rest())

    def test_fewer_workers_than_the_connections_need(self):
        with limited("--max-connections", 1000, "--workers", 2) as server:
            server.expected_errors = (
                r"echo_coro: --max-connections 1000 is more than the 64 descriptors of each worker: 128 "
                r"are served at once \(--workers 16, or raise 'ulimit -n'\)\n")
            self.assertIn("at most 128 connections (64 direct descriptors each)", server.first_line)

    def test_table_of_its_own_only_when_needed(self):
        with EchoCoro("--max-connections", 10) as server:
            self.assertNotIn("direct", server.first_line)
        with EchoCoro("--max-connections", 10, "--direct-descriptors") as server:
            self.assertRegex(server.first_line, r"at most 10 connections \(\d+ direct descriptors\)")

    def test_falls_back_to_descriptors_of_the_process(self):
        environment = {**os.environ, "RINGLET_WITHOUT": "direct_descriptors"}
        for arguments, options in ((("--backend", "epoll"), {}), ((), {"env": environment})):
            with self.subTest(arguments), limited("--direct-descriptors", "--workers", 2, *arguments,
                                                  **options) as server:
                # What 64 leave after 32 and 4 for the second worker, or half of that for each.
                self.assertIn("at most 28 connections (64 descriptors)", server.first_line)
                with server.connect() as client:
                    client.echoes()

    def test_dump_names_who_is_connected(self):
        with EchoCoro("--direct-descriptors") as server:
            server.expected_errors = r"(?s).*"
            with server.connect() as client:
                client.echoes()
                server.process.send_signal(signal.SIGUSR1)
                peer = re.escape("127.0.0.1:%d" % client.getsockname()[1])
                wait_until(lambda: re.search(rf"(recv|send) on direct descriptor \d+, peer {peer},", server.said()),
                           "the list of tasks")


if __name__ == "__main__":
    unittest.main()
