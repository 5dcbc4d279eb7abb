"""Compares the example servers with the servers whose protocol they speak.

Each row has one load, made by a program that belongs to neither. Runs of both servers alternate, so that whatever else
the machine does affects both, and each pair gives one ratio of their CPU time per request. An example is a page of code
and does a small part of what the original does: the ratio shows the cost of the way of serving, not which program to use.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
import shutil
import statistics
import sys
import tempfile
import time
from typing import Callable

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

import building
import encrypted
from cost import cpu_nanoseconds
from measuring import HOST, START_SECONDS_LIMIT, Failure, Load, Missing
from measuring import alone, choose_cpus, command_line, describe_machine, free_port, last_words, positive_number
from measuring import run_command, run_to_its_end, running_server, show_progress
from pairs import FEWEST_PAIRS, measure_pairs, paired_ratio
from places import BUILD
from processes import start, stop
from rows import command_of
from samples import HELP as SAMPLES
from samples import Samples

EPILOG = """\
examples:
  ./benchmark.sh originals                    # all rows
  ./benchmark.sh originals --pairs 6 resp     # rows whose names begin with resp
  ./benchmark.sh originals --list

The servers run on one CPU, with one worker each, the client on another. Unless RINGLET_BUILD_DIR names a build directory
other than build/release, what the build needs is installed and the examples are built. "sh cmake/install_dependencies.sh
originals" installs the originals and the clients.
Exit status: 0; 64 wrong usage; 69 a server or a client is missing or failed; 130 interrupted.
"""

FILE_BYTES = 4096

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000; default_type text/plain;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; root {folder}; location = /hello {{ return 200 "{text}"; }} }}
}}
"""

HAPROXY = """
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen all
    bind 127.0.0.1:{port}
    server one {behind}
"""


# ---- the clients: each returns how many requests it has made --------------------------------------


def told_number(command, pattern, cpu):
    ended = run_to_its_end(command, cpu)
    told = re.search(pattern, ended.stdout)
    if ended.returncode != 0 or not told:
        raise Failure(f"{command[0]} ended with status {ended.returncode}: {last_words(ended)}")
    return int(told[1])


def redis_benchmark(pipeline, port, cpu, quick):
    count = (20_000 if quick else 200_000) * (1 if pipeline == 1 else 5)
    command = ["redis-benchmark", "-h", HOST, "-p", str(port), "-t", "set,get", "-n", str(count), "-P", str(pipeline), "-q", "-e"]
    ended = run_to_its_end(command, cpu)
    if ended.returncode != 0 or "GET: " not in ended.stdout or "rror from server" in ended.stdout + ended.stderr:
        raise Failure(f"redis-benchmark ended with status {ended.returncode}: {last_words(ended)}")
    return 2 * count


def wrk(path, port, cpu, quick):
    command = ["wrk", "-t1", "-c50", "-d1s" if quick else "-d3s", f"http://{HOST}:{port}{path}"]
    ended = run_to_its_end(command, cpu)
    told = re.search(r"(\d+) requests in", ended.stdout)
    if ended.returncode != 0 or not told or re.search("Non-2xx|Socket errors", ended.stdout):
        raise Failure("wrk: " + last_words(ended))
    return int(told[1])


def echo_bench(port, cpu, quick):
    load = Load(50, 1, 200 if quick else 2000)
    command = [str(BUILD / "src/client/echo_bench"), "-t", str(load.connections), "-e", str(load.echoes), "-p", str(port), HOST]
    ended = run_to_its_end(command, cpu)
    if ended.returncode != 0 or "errors: 0" not in ended.stdout:
        raise Failure("echo_bench: " + last_words(ended))
    return load.echo_count


def through_tls(load, port, cpu, quick):
    """Echoes through TLS; with one on each connection it is the handshakes that count."""
    each, in_turn = load.echoes, load.in_turn
    if quick:
        each, in_turn = max(each // 10, 1), max(in_turn // 10, 1)
    command = [str(BUILD / "src/client/echo_bench"), *load.options, "-t", str(load.connections), "-c", str(in_turn), "-e", str(each),
               "--size", str(load.size), "-p", str(port), HOST]  # fmt: skip
    ended = run_to_its_end(command, cpu)
    if ended.returncode != 0 or "errors: 0" not in ended.stdout:
        raise Failure("echo_bench --tls: " + last_words(ended))
    return load.connections * in_turn * each


def s_time(kind, port, cpu, quick):
    """OpenSSL's own measurement of handshakes, one after another: TLS 1.2, since of 1.3 it never reads the ticket."""
    command = ["openssl", "s_time", "-connect", f"{HOST}:{port}", f"-{kind}", "-tls1_2", "-time", "1" if quick else "3"]
    return told_number(command, r"(\d+) connections in \d+ real seconds", cpu)


def dnsperf(port, cpu, quick):
    with tempfile.NamedTemporaryFile("w", prefix="ringlet-queries-") as queries:
        print("example.test A", file=queries, flush=True)
        command = ["dnsperf", "-s", HOST, "-p", str(port), "-d", queries.name, "-c", "10", "-l", "1" if quick else "3"]
        return told_number(command, r"(?s)Queries completed: +(\d+) \(100.*NOERROR \d+ \(100", cpu)


# A connection through the proxy, one echo, the end; ten at a time.
SOCKS_CLIENT = """
import concurrent.futures, socket, struct, sys
port, behind, count = map(int, sys.argv[1:])
def connect(_):
    for _ in range(count // 10):
        with socket.create_connection(("127.0.0.1", port)) as to:
            to.sendall(b"\\5\\1\\0")
            assert to.recv(2, socket.MSG_WAITALL) == b"\\5\\0"
            to.sendall(b"\\5\\1\\0\\1" + socket.inet_aton("127.0.0.1") + struct.pack(">H", behind))
            assert to.recv(10, socket.MSG_WAITALL)[:2] == b"\\5\\0"
            to.sendall(b"x" * 64)
            assert to.recv(64, socket.MSG_WAITALL) == b"x" * 64
with concurrent.futures.ThreadPoolExecutor(10) as threads:
    list(threads.map(connect, range(10)))  # whatever one throws is thrown here
print(f"connections: {count}")
"""


def socks_client(behind, port, cpu, quick):
    count = 500 if quick else 3000
    command = [sys.executable, "-c", SOCKS_CLIENT, str(port), str(behind), str(count)]
    return told_number(command, r"connections: (\d+)", cpu)


# ---- the rows -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """Two servers, as functions from a port to a command, and the load for both."""

    name: str
    original: str
    ours: Callable
    theirs: Callable
    load: Callable
    programs: tuple  # and files from the root, that it takes
    protocol: str = "tcp"


def example(name):
    return str(BUILD / f"examples/example_{name}")


def write(folder, name, text):
    path = pathlib.Path(folder, name)
    path.write_text(text)
    return str(path)


def rows(folder, behind):
    def nginx(port):
        return ["nginx", "-p", folder, "-c", write(folder, "nginx.conf", NGINX.format(folder=folder, port=port, text="Hello, world!\\n"))]

    def haproxy(port):
        return ["haproxy", "-q", "-f", write(folder, "haproxy.cfg", HAPROXY.format(port=port, behind=f"{HOST}:{behind}"))]

    def redis(port):
        return ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", folder]

    def dnsmasq(port):
        return ["dnsmasq", "-k", "-p", str(port), "-C", "/dev/null", "--no-resolv", "--no-hosts", "-u", "root", "-i", "lo", "-z",
                f"--pid-file={folder}/dnsmasq.pid", "--address=/example.test/192.0.2.7"]  # fmt: skip

    for pipeline in (1, 16):
        yield Row(f"resp, pipeline {pipeline}", "redis-server", lambda port: [example("resp_server"), f"{HOST}:{port}"], redis,
                  functools.partial(redis_benchmark, pipeline), ("redis-server", "redis-benchmark"))  # fmt: skip
    for path, what in (("/hello", "text"), ("/file", "file")):
        yield Row(f"http, {what}", "nginx", lambda port: [example("http_server"), f"{HOST}:{port}", folder], nginx,
                  functools.partial(wrk, path), ("nginx", "wrk"))  # fmt: skip
    yield Row("proxy, echo", "haproxy", lambda port: [example("reverse_proxy"), f"{HOST}:{port}", f"{HOST}:{behind}"], haproxy,
              echo_bench, ("haproxy",))  # fmt: skip
    yield Row("socks5, connection", "microsocks", lambda port: [example("socks5"), f"{HOST}:{port}"],
              lambda port: ["microsocks", "-i", HOST, "-p", str(port)], functools.partial(socks_client, behind), ("microsocks",))  # fmt: skip
    yield Row("dns, answer", "dnsmasq", lambda port: [example("dns_answerer"), f"{HOST}:{port}", "example.test=192.0.2.7"], dnsmasq,
              dnsperf, ("dnsmasq", "dnsperf"), "udp")  # fmt: skip


def all_rows(folder, behind):
    yield from rows(folder, behind)
    yield from tls_rows(folder, behind)


def tls_rows(folder, behind):
    def by(command):
        def at(port):
            encrypted.make_certificate(folder)
            return command_of(command, port)

        return at

    peers, front_ends = encrypted.peers(folder), encrypted.front_ends(folder, f"{HOST}:{behind}")
    ours, in_c = by(peers["ringlet"]), by(peers[encrypted.ANCHOR])
    for name, load in encrypted.LOADS.items():
        yield Row(f"tls, {name}", encrypted.ANCHOR, ours, in_c, functools.partial(through_tls, load), ("openssl",))
    for name, command in front_ends.items():
        for load in encrypted.PROXIED:
            yield Row(f"tls proxy, {load.removeprefix('full ')}", name, ours, by(command),
                      functools.partial(through_tls, encrypted.LOADS[load]), encrypted.NEEDED[name])  # fmt: skip
    pem, key = encrypted.certificate_files(folder)
    s_server = by(f"openssl s_server -4 -quiet -rev -accept {{port}} -cert {pem} -key {key}")
    for kind in ("new", "reuse"):
        yield Row(f"tls, s_time -{kind}", "s_server", ours, s_server, functools.partial(s_time, kind), ("openssl",))


def is_bound(port, protocol):
    table = pathlib.Path(f"/proc/net/{protocol}").read_text()
    state = "0A" if protocol == "tcp" else "07"
    return re.search(rf"(?m)^ *\d+: [0-9A-F]+:{port:04X} \S+ {state} ", table) is not None


@contextlib.contextmanager
def running(command, port, protocol, cpu):
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = start(command, cpu, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + START_SECONDS_LIMIT
            while not is_bound(port, protocol):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise Failure(f"{command[0]} does not serve: {said.read().strip()[-300:]}")
                time.sleep(0.01)
            yield process
        finally:
            stop(process)


def nanoseconds_per_request(row, which, cpus, quick):
    port = free_port()
    command = (row.ours if which == "ringlet" else row.theirs)(port)
    with running(command, port, row.protocol, cpus[0]) as process:
        row.load(port, cpus[1], True)  # page faults and first allocations are not the subject
        before = cpu_nanoseconds(process.pid)
        count = row.load(port, cpus[1], quick)
        return (cpu_nanoseconds(process.pid) - before) / count


# ---- the program ----------------------------------------------------------------------------------


def read_options(arguments):
    parser = command_line("benchmark.sh originals", __doc__, EPILOG)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only those whose names begin so")
    parser.add_argument("--pairs", type=positive_number, default=10, help="pairs of runs (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help=SAMPLES)
    return parser.parse_args(arguments)


def measure(row, options, cpus):
    missing = [name for name in row.programs if not shutil.which(name) and not pathlib.Path("/", name).is_file()]
    if missing:
        raise Missing(f"{', '.join(missing)} not found: run cmake/install_dependencies.sh originals")
    names = ("ringlet", row.original)
    once = functools.partial(nanoseconds_per_request, row, cpus=cpus, quick=options.quick)
    pairs = measure_pairs(names, options.pairs, once, lambda text: show_progress(f"{row.name}: {text}"))
    show_progress("")
    ratio = paired_ratio(pairs)
    ours, theirs = (statistics.median(samples) / 1000 for samples in zip(*pairs))
    verdict = "" if options.pairs >= FEWEST_PAIRS else f"  (too few pairs: {FEWEST_PAIRS} say which is cheaper)"
    print(f"{row.name:20} {ours:9.2f} {theirs:9.2f}  {row.original:12} {ratio[0]:6.3f}  {ratio[1]:.3f} to {ratio[2]:.3f}{verdict}",
          flush=True)  # fmt: skip
    return {"row": row.name, "original": row.original, "cpu_nanoseconds_per_request": pairs,
            "ratio": dict(zip(("median", "low", "high"), ratio))}  # fmt: skip


def run(options):
    samples = Samples(options.json)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringlet-originals-"))
        names = [row.name for row in all_rows(folder, 0)]
        unknown = [name for name in options.rows if not any(row.startswith(name) for row in names)]
        if unknown:
            raise Missing(f"no row begins with '{unknown[0]}': the rows are {', '.join(names)}")
        if options.list:
            print("\n".join(names))
            return
        building.prepare("echo_coro", "echo_bench", "examples", "tls_epoll_echo", groups=["bench"])
        pathlib.Path(folder, "file").write_bytes(b"x" * FILE_BYTES)
        cpus = choose_cpus()
        stack.enter_context(alone())
        behind = stack.enter_context(running_server("echo_coro", cpus[1]))
        print(f"server CPU per request [us]; {options.pairs} pairs; ratio: ringlet's divided by the original's\n\n"
              f"{'':20} {'ringlet':>9} {'original':>9}  {'':12} {'ratio':>6}  95 % interval")  # fmt: skip
        wanted = tuple(options.rows) or ("",)
        results = [measure(row, options, cpus) for row in all_rows(folder, behind.port) if row.name.startswith(wanted)]
        samples.write({"machine": describe_machine(cpus, "loopback"), "rows": results})


if __name__ == "__main__":
    run_command(read_options, run)
