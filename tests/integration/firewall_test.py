"""A firewall on this machine or the server's refuses connections: none counts as made, on either backend.

io_uring once reported success for a connect refused by an ICMP message, and the first use of the socket failed.
"""

import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from machines import Machines, why_no_machines
from programs import ECHO_BENCH, UNAVAILABLE, run

PORT = 4447
CONNECTIONS = 20  # beyond one network device about half of the connects were reported as successes
ANSWERS = {
    "icmp type port-unreachable": "Connection refused",  # as iptables and ufw do
    "icmp type host-prohibited": "No route to host",  # as firewalld does
    "icmp type admin-prohibited": "No route to host",
    "tcp reset": "Connection refused",
}


def why_not():
    if not shutil.which("nft"):
        return "nft is missing: install the package nftables"
    return why_no_machines()


WHY_NOT = why_not()


def refuse(machine, answer):
    """Rejects all packets to the port with this answer. Returns why that is impossible, or nothing."""
    unlimited = run(*machine.on("sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0"))  # or most get no answer
    if unlimited.returncode:
        return unlimited.stderr.strip()
    rules = f"""flush ruleset
table ip refusing {{ chain input {{ type filter hook input priority 0; tcp dport {PORT} reject with {answer}; }}; }}"""
    return run(*machine.on("nft", rules)).stderr.strip()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Refused(unittest.TestCase):
    def nobody_connects(self, machine, answer, cause):
        for backend in ("io_uring", "epoll"):
            with self.subTest(answer=answer, backend=backend):
                ended = run(*machine.on(ECHO_BENCH, "-t", 4, "-c", CONNECTIONS // 4, "-e", 1, "-p", PORT,
                                        "--backend", backend, "--timeout", "20s", self.address))
                self.assertIn(f"\nConnections: 0 made, {CONNECTIONS} failed\n", ended.stdout, ended.stderr)
                self.assertIn(f"cannot connect to {self.address}:{PORT}: {cause}", ended.stderr)
                self.assertEqual(ended.returncode, UNAVAILABLE)

    def refused_by(self, refuser, client):
        for answer, cause in ANSWERS.items():
            trouble = refuse(refuser, answer)
            if trouble:
                self.skipTest(f"nft cannot refuse here: {trouble.splitlines()[0]}")
            self.nobody_connects(client, answer, cause)

    def test_on_this_machine(self):
        with Machines(1) as (machine,):
            self.address = machine.address
            self.refused_by(machine, machine)

    def test_on_the_other_machine(self):
        with Machines(2) as (server, client):
            self.address = server.address
            self.refused_by(server, client)


if __name__ == "__main__":
    unittest.main()
