"""How to take one sample of each kind, and how long that takes. A sample is anything that JSON can hold."""

import contextlib
import dataclasses
import json
import pathlib
import re
import tempfile
import threading

import cost
import encrypted
import latencies
import measuring
from measuring import Failure, Load

CONNECTIONS = 50
MESSAGE_BYTES = 64

# A rate is kept if this share of it was reached, and 99 of 100 answers came within this time.
KEPT_SHARE, KEPT_P99_US = 0.98, 10_000


class Sampler:
    """Takes samples on two CPUs: the server on one, the client on the other."""

    def __init__(self, cpus, quick, folder):
        self.cpus, self.quick, self.folder = cpus, quick, folder

    def of(self, count, quickly):
        return quickly if self.quick else count

    def machine(self):
        """What the client reports about itself and its machine."""
        with measuring.running_server("uring_echo", self.cpus[0]) as running:
            client = self.run_client(running, "-t", "1", "-c", "1", "-e", "1")["runs"][0]["client"]
        machine, build = client["machine"], client["build"]
        return {
            "processor": machine["cpu"],
            "cores": machine["cpus_online"],
            "memory_bytes": machine["memory_bytes"],
            "kernel": machine["kernel"],
            "mitigations": machine["mitigations"],
            "congestion_control": machine["congestion_control"],
            "compiler": build["compiler"],
            "flags": build["flags"],
            "ringlet": client["program"].split()[-1],
            "client_backend": client["backend"],
        }

    def run_client(self, running, *options):
        """The result of echo_bench."""
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            command = [str(measuring.BUILD / "src/client/echo_bench"), "-p", str(running.port)]
            command += ["--size", str(MESSAGE_BYTES), *options, "--json", file.name, measuring.HOST]
            ended = measuring.run_to_its_end(command, self.cpus[1], running)
            text = file.read()
            result = json.loads(text) if text else {}
            if ended.returncode != 0 and not was_only_too_slow(result):
                raise Failure(f"the client failed: {measuring.last_words(ended)}")
            return result

    def cpu(self, server, connections=CONNECTIONS, echoes=None):
        """CPU microseconds of the server per echo, the part of the time that it waited for a CPU, echoes per second,
        and how the client limited those."""
        echoes = echoes or self.of(1000, 300)
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            load = Load(connections, 1, echoes, MESSAGE_BYTES, ("--json", file.name))
            run = cost.measure_run(server, load, self.cpus)
            limits = json.loads(pathlib.Path(file.name).read_text())["total"]["client_limits"]
        return {"cpu_us": run.cpu_nanoseconds_per_echo / 1000, "throughput": run.throughput,
                "waited_share": run.waited_share, "client_limits": limits}  # fmt: skip

    def accept_close(self, server):
        """CPU microseconds of the server per connection that opens, echoes once and closes."""
        load = Load(10, self.of(500, 100), 1, MESSAGE_BYTES)
        return cost.measure_cpu(server, load, self.cpus) / 1000

    def instructions(self, server):
        load = Load(CONNECTIONS, 1, self.of(200, 40), MESSAGE_BYTES)
        return cost.per_echo(cost.count_instructions, server, load, self.cpus)

    def system_calls(self, server):
        load = Load(CONNECTIONS, 1, self.of(500, 100), MESSAGE_BYTES)
        return cost.per_echo(cost.system_call_count, server, load, self.cpus)

    def allocations(self, server):
        load = Load(CONNECTIONS, 1, self.of(100, 20), MESSAGE_BYTES)
        return cost.per_echo(cost.count_allocations, server, load, self.cpus)

    def context_switches(self, server):
        """Per echo, over all threads of the server; threads that end meanwhile count as last seen."""
        load = Load(CONNECTIONS, 1, self.of(1000, 300), MESSAGE_BYTES)
        with measuring.running_server(server, self.cpus[0]) as running:
            measuring.warm_up(load, running, self.cpus[1])
            with SwitchCounter(running.pid) as counter:
                measuring.run_client(load, running, self.cpus[1])
            return counter.total / load.echo_count

    def idle_bytes(self, server, count=5000):
        """Bytes of the server and of the kernel for `count` idle connections, all together."""
        told = cost.hold(server, count, self.cpus, self.quick)
        if told["connections"] != told["wanted"]:
            raise Failure(f"{server} held {told['connections']} of {told['wanted']} connections")
        return {
            "connections": count,
            "user": told["server_user_bytes_per_connection"] * count,
            "kernel": told["kernel_bytes_per_connection"] * count,
        }

    @contextlib.contextmanager
    def through_tls(self, name):
        """The command of a server that speaks TLS; behind a front end an echo server runs meanwhile."""
        encrypted.make_certificate(self.folder)
        with contextlib.ExitStack() as stack:
            if name in encrypted.PEERS:
                yield encrypted.peers(self.folder)[name]
            else:
                behind = stack.enter_context(measuring.running_server("echo_coro", self.cpus[1]))
                yield encrypted.front_ends(self.folder, f"{measuring.HOST}:{behind.port}")[name]

    def tls_cpu(self, name, load):
        load = encrypted.LOADS[load]
        if self.quick:
            load = dataclasses.replace(load, in_turn=max(1, load.in_turn // 10), echoes=max(1, load.echoes // 10))
        with self.through_tls(name) as server:
            return {"cpu_us": cost.measure_cpu(server, load, self.cpus) / 1000}

    def tls_idle(self, name):
        """Bytes of the server's process for each idle connection."""
        with self.through_tls(name) as server:
            told = cost.hold(server, self.of(5000, 500), self.cpus, self.quick, encrypted.TLS)
        if told["connections"] != told["wanted"]:
            raise Failure(f"{name} held {told['connections']} of {told['wanted']} connections")
        return told["server_user_bytes_per_connection"]

    def bytes_per_connection(self, server):
        """Bytes of some idle connections, and of twice as many, to separate the cost of each from what all share."""
        fewest = self.of(5000, 1500)
        return [self.idle_bytes(server, count) for count in (fewest, 2 * fewest)]

    def capacity(self, server, at_most):
        """The highest rate that is kept twice, found by going down in twentieths of `at_most`."""
        for twentieths in range(20, 0, -1):
            rate = at_most * twentieths / 20
            if self.keeps(server, rate) and self.keeps(server, rate):
                return rate
        raise Failure(f"{server} keeps not even {rate:.0f} requests per second")

    def keeps(self, server, rate):
        sample = self.latency(server, rate, self.of(5, 0.5))
        return latencies.is_kept(sample, KEPT_SHARE, KEPT_P99_US)

    def latency(self, server, rate, seconds=None):
        """The client's result for echoes at a rate that does not wait for answers (an open loop)."""
        seconds, warm_up = seconds or self.of(3, 2), self.of(1, 0.3)
        with measuring.running_server(server, self.cpus[0]) as running:
            result = self.run_client(
                running, "-t", str(CONNECTIONS), "-e", "1000000000", "--rate", f"{rate:.0f}",
                "--duration", f"{seconds * 1000:.0f}ms", "--warmup", f"{warm_up * 1000:.0f}ms"
            )  # fmt: skip
        return {"rate_per_s": rate, "result": result}


def was_only_too_slow(result):
    """Whether all errors are requests for which a slow server left no connection: the rate is then not kept."""
    total = result.get("total", {})
    return 0 < total.get("never_sent", 0) == total["errors"]


class SwitchCounter:
    """Looks at the threads of a process every few milliseconds."""

    SECONDS_BETWEEN = 0.02

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}/task")
        self.first, self.last = {}, {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    @property
    def total(self):
        return sum(count - self.first.get(name, 0) for name, count in self.last.items())

    def look(self):
        for thread in self.folder.iterdir():
            try:
                status = (thread / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):  # it just ended
                continue
            self.last[thread.name] = sum(map(int, re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)))

    def watch(self):
        while not self.ended.wait(self.SECONDS_BETWEEN):
            self.look()

    def __enter__(self):
        self.look()
        self.first = dict(self.last)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.look()
