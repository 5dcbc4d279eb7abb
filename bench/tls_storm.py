"""What a storm of TLS handshakes does to a client that is already served: tls_storm.py [BUILD]

One client echoes 64 bytes every 2 ms for five seconds; meanwhile 2,000 others shake hands at once, twice. The server runs
on one CPU. The measured client shares the other CPU with the storm, but has priority (SCHED_FIFO, and SCHED_IDLE for
the storm: this needs root). The same is measured for a minimal server in C, on epoll.
"""

import os
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def connect(port):
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + 10
    while True:
        try:
            client = trusting.wrap_socket(socket.create_connection((HOST, port)))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                sys.exit(f"tls_storm: nobody listens on port {port}")
            time.sleep(0.01)


def latencies(client, storm):
    """Milliseconds of each echo; the storm begins after a second."""
    samples, begin, running, left = [], time.monotonic(), None, 2
    while time.monotonic() < begin + 5:
        sent = time.perf_counter()
        client.sendall(bytes(64))
        if len(client.recv(100)) == 0:
            sys.exit("tls_storm: the server ended the connection")
        samples.append((time.perf_counter() - sent) * 1000)
        if left and time.monotonic() > begin + 1 and (running is None or running.poll() is not None):
            running, left = subprocess.Popen(storm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), left - 1
        time.sleep(0.002)
    if running.wait() != 0:
        sys.exit("tls_storm: the storm had errors")
    return sorted(samples)


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release").resolve()
    with tempfile.TemporaryDirectory(prefix="ringlet-storm-") as folder:
        chain, key = f"{folder}/chain.pem", f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        key, "-out", chain, "-days", "1", "-subj", "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
        os.sched_setaffinity(0, {1})
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        for name in ("ringlet", "C on epoll"):
            port = str(free_port())
            ours = [build / "src/server/echo_coro", "--quiet", "--port", port, "--tls-cert", chain, "--tls-key", key]
            command = ours if name == "ringlet" else [build / "bench/tls_epoll_echo", port, chain, key]
            storm = ["chrt", "-i", "0", build / "src/client/echo_bench", "--tls", "--insecure", "--full-handshakes", "-p", port,
                     "-t", "2000", "-c", "1", "-e", "1"]  # fmt: skip
            server = subprocess.Popen(["taskset", "-c", "0", *command])
            try:
                samples = latencies(connect(int(port)), storm)
            finally:
                server.terminate()
                server.wait()
            shown = [f"{label} {samples[int(len(samples) * share)]:.2f}" for label, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))]
            print(f"{name:12} {', '.join(shown)}, max {samples[-1]:.2f} ms; {len(samples)} echoes", flush=True)


main()
