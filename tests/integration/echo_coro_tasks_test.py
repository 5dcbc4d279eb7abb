"""What an operator sees of the tasks of echo_coro: a dump on SIGUSR1, and who holds the loop."""

import pathlib
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
            server.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: f"{peer}, for " in server.said(),
                       "the dump to name the connection's peer")
            text = server.said()
            self.assertRegex(text, r'(?m)^task ".*" \(serve\.cpp:\d+\) waits for ')
            self.assertRegex(text, r'(?m)^ +task "accept" \(serve\.cpp:\d+\) waits for accept on '
                                   r"descriptor \d+")
            self.assertRegex(text, r'(?m)^ +task "connection" \(serve\.cpp:\d+\) waits for recv '
                                   rf"on descriptor \d+, {peer}, for ")
            client.echoes(b"and on")

    def test_a_loop_that_nobody_holds_is_not_reported(self):
        with EchoCoro("--stall-limit", "1s") as server, server.connect() as client:
            client.echoes(b"quick")


if __name__ == "__main__":
    unittest.main()
