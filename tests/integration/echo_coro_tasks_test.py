"""What an operator sees of the tasks of echo_coro: a dump on SIGUSR1, and which task blocks the loop."""

import contextlib
import pathlib
import re
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import EchoCoro, wait_until


class Tasks(unittest.TestCase):
    def test_sigusr1_lists_what_every_task_waits_for(self):
        with EchoCoro() as server, server.connect() as client:
            server.expected_errors = r"(?s)task .*"
            client.echoes(b"here")
            peer = "peer %s:%d" % client.getsockname()
            lines = (r'^task ".*" \(server\.cpp:\d+\) waits for ',
                     r'^ +task "accept" \(accepting\.cpp:\d+\) waits for accept on descriptor \d+, for ',
                     r'^ +task "echo" \(echo_coro\.cpp:\d+\) waits for recv on descriptor \d+, '
                     rf"{peer}, for ",
                     r"^[1-9]\d* live tasks; [1-9]\d* bytes in [1-9]\d* frames, records and sockets$")

            def are_listed():
                """The server may not be back in its recv when the first signal arrives."""
                server.process.send_signal(signal.SIGUSR1)
                return all(re.search(line, server.said(), re.MULTILINE) for line in lines)

            wait_until(are_listed, "a dump that names listener, connection and peer")
            client.echoes(b"and on")

    def test_sigusr1_counts_connections_that_are_alike(self):
        count = 5000
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(EchoCoro())
            server.expected_errors = r"(?s).*"
            clients = [stack.enter_context(server.connect()) for _ in range(count)]
            for client in clients:
                client.sendall(b"1")
            for client in clients:
                client.receive_exactly(1)

            def lists():
                server.process.send_signal(signal.SIGUSR1)
                clients[0].echoes(b"after the list")
                return server.said().rpartition(" live tasks; ")[0].rpartition("\n")[0]

            # When a signal arrives, one task may not be back in its recv; it then waits for its next turn.
            line = (rf'^{count} times task "echo" \(echo_coro\.cpp:\d+\) waits for recv, for [\d.]+ m?s to [\d.]+ m?s; '
                    r"for longest recv on descriptor \d+, peer 127\.0\.0\.1:\d+$")
            wait_until(lambda: re.search(line, lists(), re.MULTILINE), "a line that counts all connections")
            last = server.said().rpartition(f"{count} times")[2]
            self.assertLess(last.count("\n"), 20)
            self.assertIn('task "accept"', last)
            for client in clients:
                client.close()

    def test_a_loop_that_nobody_holds_is_not_reported(self):
        with EchoCoro("--stall-limit", "10s") as server, server.connect() as client:
            client.echoes(b"quick")


if __name__ == "__main__":
    unittest.main()
