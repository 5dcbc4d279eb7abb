"""Network namespaces that act as machines: each has its own address on one network, a bridge.

Their addresses and ports are separate from everything else on this machine.
"""

import contextlib
import os

from programs import run


def why_no_machines():
    """Why they are impossible here, or an empty string."""
    try:
        with Machines(1):
            return ""
    except (AssertionError, OSError) as failure:
        return f"no network namespaces here: {failure}"


def ip(*words):
    ended = run("ip", *words)
    if ended.returncode != 0:
        raise AssertionError(f"ip {' '.join(map(str, words))}: {ended.stderr.strip()}")


class Machine:
    def __init__(self, name, address):
        self.name, self.address = name, address

    def on(self, *command):
        """The words that run a command there, as one process, because ip(8) becomes that command."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]


class Machines:
    """`with Machines(3) as (server, *clients)`: they and all their settings are removed at the end."""

    def __init__(self, count):
        self.count = count

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            bridge = self.namespace(stack, "bridge")
            ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
            ip("-n", bridge, "link", "set", "bridge", "up")
            machines = []
            for number in range(1, self.count + 1):
                name = self.namespace(stack, number)
                ip("-n", bridge, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("-n", bridge, "link", "set", f"to{number}", "master", "bridge", "up")
                ip("-n", name, "address", "add", f"10.9.8.{number}/24", "dev", "eth0")
                for link in ("lo", "eth0"):
                    ip("-n", name, "link", "set", link, "up")
                machines.append(Machine(name, f"10.9.8.{number}"))
            self.gone = stack.pop_all()
            return machines

    def namespace(self, stack, name):
        name = f"ringlet-{os.getpid()}-{name}"
        ip("netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
        return name

    def __exit__(self, *_):
        self.gone.close()
