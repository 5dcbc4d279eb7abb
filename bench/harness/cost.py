"""What servers cost: CPU time, system calls, instructions, memory."""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import measuring
from measuring import Failure, Missing, last_line, run_client, running_server, show_progress, warm_up

# Receives are parked after a second, and the kernel adds up the counters of its CPUs every second
# (vm.stat_interval): a reading at that time finds one or the other done, by chance.
HOLD_TIME, QUICK_HOLD_TIME = "3s", "1s"


WAITED_SHARE = 0.05  # of a run's time, for a CPU: more is reported


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run of the client cost its server. A throughput is of echoes per second."""

    cpu_nanoseconds_per_echo: float
    throughput: float
    waited_share: float


def measure_run(name, load, cpus):
    """One fresh server under one run of the client."""
    with running_server(name, cpus[0]) as server:
        warm_up(load, server, cpus[1])
        waiting = RunDelay(server.pid)
        before = cpu_nanoseconds(server.pid)
        throughput = run_client(load, server, cpus[1])
        used = cpu_nanoseconds(server.pid) - before
        return Run(used / load.echo_count, throughput, waiting.share())


def measure_cpu(name, load, cpus):
    return measure_run(name, load, cpus).cpu_nanoseconds_per_echo


def measure_throughput(name, load, cpus):
    return measure_run(name, load, cpus).throughput


def cpu_nanoseconds(pid):
    """CPU time of a process: of all its threads, including those that have ended."""
    clock = (~pid << 3) | 2  # what clock_getcpuclockid(3) makes of it
    try:
        return time.clock_gettime_ns(clock)
    except OSError as error:
        raise Failure(f"process {pid} has no CPU time: {error.strerror}") from None


def run_delay_nanoseconds(pid):
    """How long those of its threads that still live were ready to run and had no CPU."""
    waited = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it just ended
            waited += int(thread.read_text().split()[1])
    return waited


class RunDelay:
    """The part of the time, since this object was made, that a process was ready to run and had no CPU."""

    def __init__(self, pid):
        self.pid, self.began, self.waited = pid, time.monotonic_ns(), run_delay_nanoseconds(pid)

    def share(self):
        return (run_delay_nanoseconds(self.pid) - self.waited) / (time.monotonic_ns() - self.began)


def needs(program):
    if not shutil.which(program):
        raise Missing(f"{program} is missing: install the package {program}")


def count_system_calls(name, load, cpus):
    """System calls by name in one run of the client, counted by strace."""
    needs("strace")
    show_progress(f"system calls: {name}")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(name, cpus[0]))
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        warm_up(load, server, cpus[1])
        summary = folder / "summary"
        command = ["strace", "-c", "-f", "-U", "calls,name", "-o", str(summary), "-p", str(server.pid)]
        with tempfile.TemporaryFile() as said:
            strace = measuring.start(command, None, stdout=subprocess.DEVNULL, stderr=said)
            try:
                wait_until_traced(server.pid, strace)
                run_client(load, server, cpus[1])
                strace.send_signal(signal.SIGINT)  # lets go of the server and writes the summary
                strace.wait(measuring.END_SECONDS_LIMIT)
            finally:
                measuring.stop(strace)
        return read_strace_summary(summary.read_text())


def wait_until_traced(pid, strace):
    deadline = time.monotonic() + measuring.START_SECONDS_LIMIT
    while "TracerPid:\t0\n" in pathlib.Path(f"/proc/{pid}/status").read_text():
        if strace.poll() is not None or time.monotonic() > deadline:
            raise Missing("strace could not attach to the server (is tracing allowed here?)")
        time.sleep(0.01)


def read_strace_summary(text):
    """Calls by name, most frequent first, from lines of a count and a name."""
    found = re.findall(r"(?m)^ *(\d+) +(\w+)$", text)
    counts = {name: int(count) for count, name in found if name != "total"}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def count_instructions(name, load, cpus):
    """Instructions outside of the kernel in the whole life of a server, counted by callgrind."""
    needs("valgrind")
    show_progress(f"instructions: {name}")
    with tempfile.TemporaryDirectory() as folder:
        under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        with running_server(name, cpus[0], under) as server:
            run_client(load, server, cpus[1])
        return read_callgrind(server.last_words)


def read_callgrind(errors):
    counted = re.search(r"Collected : (\d+)", errors)
    if not counted:
        raise Failure("callgrind counted nothing: " + last_line(errors))
    return int(counted[1])


def count_allocations(name, load, cpus):
    """Calls of malloc, operator new and the like in the whole life of a server, counted by memcheck."""
    needs("valgrind")
    show_progress(f"allocations: {name}")
    under = ["valgrind", "--leak-check=no", "--undef-value-errors=no"]
    with running_server(name, cpus[0], under) as server:
        run_client(load, server, cpus[1])
    return read_memcheck(server.last_words)


def read_memcheck(errors):
    counted = re.search(r"total heap usage: ([\d,]+) allocs", errors)
    if not counted:
        raise Failure("memcheck counted nothing: " + last_line(errors))
    return int(counted[1].replace(",", ""))


def resident_bytes(pid):
    told = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(told[1]) * 1024


def available_bytes():
    """Memory of the machine that could be used now."""
    told = re.search(r"MemAvailable:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    return int(told[1]) * 1024


def per_echo(count, name, load, cpus):
    """The difference of two runs, one three times as long, which excludes connecting and ending."""
    short = count(name, load, cpus)
    long = count(name, load.with_echoes(3 * load.echoes), cpus)
    return (long - short) / (2 * load.echo_count)


def system_call_count(name, load, cpus):
    return sum(count_system_calls(name, load, cpus).values())


def hold(name, count, cpus, quick, client_options=()):
    """echo_bench's report on `count` connections that stay open and idle."""
    client = str(measuring.BUILD / "src/client/echo_bench")
    if "--hold" not in measuring.run_to_its_end([client, "--help"], None).stdout:
        raise Missing("echo_bench has no option --hold")
    show_progress(f"{count:,} idle connections")
    with measuring.running_server(name, cpus[0]) as server:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            command = [client, *client_options, "--hold", str(count), "--sources", "127.0.0.0/8"]
            command += ["--hold-time", QUICK_HOLD_TIME if quick else HOLD_TIME]
            command += ["--server-pid", str(server.pid), "-p", str(server.port)]
            command += ["--json", file.name, measuring.HOST]
            ended = measuring.run_to_its_end(command, cpus[1], server)
            with contextlib.suppress(ValueError):
                return json.load(file)["hold"]
    raise Missing(f"echo_bench --hold: {measuring.last_words(ended)}")
