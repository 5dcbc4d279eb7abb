"""Which samples are taken, in which order: compared servers take turns, in random order in each round."""

import dataclasses
import random
import statistics

import encrypted
from measuring import Missing
from pairs import FEWEST_PAIRS
from steps import BASE, SCALED, STEPS

LOADS = (0.5, 0.8)  # of what step 0 can do
FIELD_RATE = 20_000  # per second: even the slowest of the field keep up with it
ROUNDS, QUICK_ROUNDS = 20, 3  # of CPU time, at least
CAPACITY = ("capacity", BASE.key)
COUNTED = ("instructions", "system_calls", "allocations", "context_switches")


@dataclasses.dataclass(frozen=True)
class Sample:
    key: tuple
    take: object  # take(sampler, journal) returns what is written down
    seconds: float  # that it takes about


class Plan:
    """A list of samples. `rounds(full, quick)` says how often something is repeated.

    Seconds are the times that samples took on two cores of an AMD EPYC. --help shows their sum.
    """

    def __init__(self, quick, field_rows):
        self.quick = quick
        self.random = random.Random(1)  # a continued measurement has the same order
        self.parts = {
            "machine": [Sample(("machine",), lambda sampler, _: sampler.machine(), 1)],
            "cpu": self.rounds("cpu", STEPS, ROUNDS, QUICK_ROUNDS, self.guess(0.3, 0.13), cpu),
            "latency": [Sample(CAPACITY, find_capacity, self.guess(78, 2)), *self.latencies()],
            "accept_close": self.rounds("accept_close", STEPS, 5, 1, self.guess(0.2, 0.07), accept_close),
            "counts": [
                *(self.counted(what, step) for what in COUNTED for step in STEPS),
                *self.rounds("idle_bytes", STEPS, 3, 1, self.guess(8, 3), bytes_per_connection),
            ],
            "scaling": self.scaling(),
            "tls": self.through_tls(),
            "field": self.field(field_rows),
        }

    def guess(self, full, quick):
        return quick if self.quick else full

    def shuffled(self, things):
        things = list(things)
        self.random.shuffle(things)
        return things

    def further_round(self, number):
        """One more round of CPU time; the same for the same number."""
        steps = list(STEPS)
        random.Random(number).shuffle(steps)
        return [Sample(("cpu", step.key, number), cpu(step.server), self.guess(0.3, 0.13)) for step in steps]

    def rounds(self, what, steps, full, quick, seconds, take):
        count = quick if self.quick else full
        return [
            Sample((what, step.key, number), take(step.server), seconds)
            for number in range(count)
            for step in self.shuffled(steps)
        ]

    def latencies(self):
        return [
            Sample(("latency", step.key, load, number), latency(step.server, load), self.guess(4.1, 2.4))
            for number in range(1 if self.quick else 4)
            for load in LOADS
            for step in self.shuffled(STEPS)
        ]

    def counted(self, what, step):
        def take(sampler, _):
            return getattr(sampler, what)(step.server)

        seconds = {"instructions": (1.1, 0.8), "system_calls": (3, 0.9), "allocations": (1.4, 1.2)}
        return Sample((what, step.key), take, self.guess(*seconds.get(what, (0.3, 0.13))))

    def scaling(self):
        counts = (1, 100, 1000) if self.quick else (1, 10, 100, 1000, 10_000)
        return [
            Sample(("scaling", step.key, connections, number), scaled(step.server, connections),
                   3.2 if connections == 10_000 else self.guess(0.45, 0.2))
            for number in range(1 if self.quick else 10)
            for connections in counts
            for step in self.shuffled(SCALED)
        ]  # fmt: skip

    def through_tls(self):
        names = (*encrypted.PEERS, *encrypted.FRONT_ENDS)
        asked = [(name, load) for load in (encrypted.PROXIED if self.quick else encrypted.LOADS) for name in names
                 if name in encrypted.PEERS or load in encrypted.PROXIED]  # fmt: skip
        samples = [
            Sample(("tls", load, name, number), tls_cpu(name, load), self.guess(1.5, 0.4))
            for number in range(1 if self.quick else FEWEST_PAIRS)
            for name, load in self.shuffled(asked)
        ]
        return [*samples, *(Sample(("tls", "idle", name), tls_idle(name), self.guess(10, 2)) for name in names)]

    def field(self, rows):
        samples = [
            Sample(("field", row.name, "cpu", number), cpu(row.command), self.guess(0.8, 0.35))
            for number in range(1 if self.quick else 5)
            for row in self.shuffled(rows)
        ]
        if self.quick:
            return samples
        samples += [Sample(("field", row.name, "idle"), idle(row.command), 4) for row in rows]
        samples += [
            Sample(("field", row.name, "latency", number), at_field_rate(row.command), 4.2)
            for number in range(3)
            for row in self.shuffled(rows)
        ]
        return samples


def cpu(server):
    return lambda sampler, _: sampler.cpu(server)


def accept_close(server):
    return lambda sampler, _: sampler.accept_close(server)


def bytes_per_connection(server):
    return lambda sampler, _: sampler.bytes_per_connection(server)


def tls_cpu(name, load):
    return lambda sampler, _: sampler.tls_cpu(name, load)


def tls_idle(name):
    return lambda sampler, _: sampler.tls_idle(name)


def idle(server):
    return lambda sampler, _: sampler.idle_bytes(server)


def scaled(server, connections):
    echoes = max(4, 40_000 // connections) if connections > 1 else 10_000
    return lambda sampler, _: sampler.cpu(server, connections, sampler.of(echoes, echoes // 4))


def latency(server, load):
    def take(sampler, journal):
        if CAPACITY not in journal:
            raise Missing("what step 0 can do is not known, and the rate follows from it")
        return sampler.latency(server, load * journal[CAPACITY])

    return take


def at_field_rate(server):
    return lambda sampler, _: sampler.latency(server, FIELD_RATE)


def find_capacity(sampler, journal):
    """Requests per second that step 0 sustains in an open loop."""
    samples = journal.all("cpu", BASE.key)
    if not samples:
        raise Missing("measure the part cpu first: where to look follows from it")
    closed_loop = statistics.median(sample["throughput"] for sample in samples)
    return sampler.capacity(BASE.server, closed_loop)
