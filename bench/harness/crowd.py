"""Clients in Python that echo in a closed loop, many at once, and what each of them measured.

A message names its client and its number: an echo that went astray ends the measurement. Latencies are counted in
steps of 2 %, so that a client that runs for long needs no list of samples.
"""

import gc
import json
import math
import os
import resource
import select
import socket
import struct
import sys
import time

HOST = "127.0.0.1"
MESSAGE = struct.Struct("=II56x")
STEP = math.log(1.02)
SLICES = 100  # of a second; perf_counter is CLOCK_MONOTONIC, the same in all processes


class Astray(Exception):
    """An echo that is not what was sent."""


class Client:
    """One connection: sends the next message when the last has come back whole."""

    __slots__ = ("number", "socket", "echoes", "first", "sent_at", "message", "received")

    def __init__(self, number):
        self.number, self.echoes, self.first, self.received = number, 0, None, b""
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self):
        self.message = MESSAGE.pack(self.number, self.echoes)
        self.sent_at = time.perf_counter()
        if self.socket.send(self.message) != len(self.message):
            raise Astray(f"client {self.number} could not send {len(self.message)} bytes at once")

    def take(self):
        """Receives what has come; returns the latency of the echo, if it is complete."""
        came = self.socket.recv(65536)
        if not came:
            raise Astray(f"the server ended the connection of client {self.number} after {self.echoes} echoes")
        self.received += came
        if len(self.received) < len(self.message):
            return None
        now = time.perf_counter()
        if self.received != self.message:
            raise Astray(f"client {self.number} got another echo than what it sent")
        self.received, self.echoes = b"", self.echoes + 1
        self.first = self.first or now
        return now - self.sent_at


def step_of(seconds):
    return round(math.log(max(seconds, 1e-6) / 1e-6) / STEP)


def percentile(counts, share):
    """The percentile in seconds, from counts by step."""
    wanted, seen = share * sum(counts.values()), 0
    for step in sorted(counts):
        seen += counts[step]
        if seen >= wanted:
            return 1e-6 * math.exp(step * STEP)
    return math.nan


def crowd(port, count, seconds_limit):
    """All connect at once, and echo until each has had its first. Times are from the first connect."""
    clients = [Client(number) for number in range(count)]
    poll, by_descriptor = select.epoll(), {client.socket.fileno(): client for client in clients}
    begin = time.perf_counter()
    for client in clients:
        client.socket.connect((HOST, port))
        client.socket.setblocking(False)
        client.send()
        poll.register(client.socket.fileno(), select.EPOLLIN)
    connected = time.perf_counter()
    missing = count
    while missing and time.perf_counter() < begin + seconds_limit:
        for descriptor, _ in poll.poll(0.1, 512):
            client = by_descriptor[descriptor]
            if client.take() is not None:
                missing -= client.echoes == 1
                client.send()
    end = time.perf_counter()
    firsts = sorted(client.first - begin for client in clients if client.first)
    return {"seconds": end - begin, "connected": connected - begin, "missing": missing,
            "median_first": firsts[len(firsts) // 2] if firsts else None,
            "echoes": sum(client.echoes for client in clients),
            "began": begin, "ended": end}  # fmt: skip


def established(port, count):
    """Lets served clients echo until stdin ends. Returns the echoes of each slice of time by latency."""
    clients = [Client(number) for number in range(count)]
    poll, by_descriptor = select.epoll(), {}
    for client in clients:
        client.socket.connect((HOST, port))
        client.send()
        while client.take() is None:  # it has been accepted
            pass
        client.socket.setblocking(False)
        by_descriptor[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    print("established", flush=True)
    for client in clients:
        client.send()
    slices = {}
    while True:
        for descriptor, _ in poll.poll(-1, 512):
            if descriptor == 0:
                return [[key / SLICES, counts] for key, counts in sorted(slices.items())]
            client = by_descriptor[descriptor]
            latency = client.take()
            if latency is not None:
                counts, step = slices.setdefault(int(time.perf_counter() * SLICES), {}), step_of(latency)
                counts[step] = counts.get(step, 0) + 1
                client.send()


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()
    what, *numbers = sys.argv[1:]
    try:
        told = {"crowd": crowd, "established": established}[what](*map(int, numbers))
    except (Astray, OSError) as error:
        sys.exit(f"{what}: {error}")
    print(json.dumps(told), flush=True)
    os._exit(0)  # closes all at once


if __name__ == "__main__":
    main()
