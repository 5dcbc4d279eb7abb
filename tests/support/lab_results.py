"""Made-up lab results with every possible part."""

import json

STEPS = (
    ("0", "callbacks", "C callbacks, no coroutine", 1),
    ("1", "coroutine", "A coroutine per connection", 1.021),
    ("2", "child_task", "A child task per message", 1.038),
    ("3", "malloc_frames", "Frames from malloc instead of the pool", 1.004),
    ("4", "with_timeout", "with_timeout around each message", 1.071),
    ("5", "task_group", "A task group with a second coroutine that writes", 1.115),
    ("6", "fiber", "A stackful fiber (Boost.Context)", 0.957),
    ("7", "thread", "A thread per connection", 2.41),
)
FIELD = (
    ("echo_coro", "C++", "coroutine", 207281, 4.57, 1209),
    ("uring_echo", "C", "callback", 211020, 4.53, 700),
    ("epoll_echo", "C", "callback", 168000, 6.07, 300),
    ("Boost.Asio", "C++", "coroutine", 151000, 6.9, 1500),
    ("tokio", "Rust", "coroutine", 158000, 6.6, 900),
    ("Go net", "Go", "thread", 120500, 8.9, 6900),
    ("asyncio", "Python", "coroutine", 31798, 31.0, 8800),
)
PERCENTILES = ((50, 21), (75, 26), (90, 34), (99, 78), (99.9, 190), (99.99, 640))


ROUNDS = (1, 0.97, 1.04, 1.02)  # each relative to all together


def points(factor):
    return [[p, round(factor * us, 1)] for p, us in PERCENTILES]


def latency(factor, samples=200_000):
    return [{"load": load, "rate_per_s": 100_000 * load, "samples": samples, "percentiles": points(factor * (1 + load)),
             "rounds": [{"samples": samples / len(ROUNDS), "percentiles": points(factor * (1 + load) * round_)}
                        for round_ in ROUNDS]}
            for load in (0.5, 0.8)]  # fmt: skip


def at_field_rate(factor):
    of_load, _ = latency(factor)
    del of_load["load"]
    return [{**of_load, "rate_per_s": 20_000}]


def compared(ratio, comparisons=9):
    return {"pairs": 20, "comparisons": comparisons, "median": ratio,
            "low": round(ratio - 0.011, 4), "high": round(ratio + 0.009, 4),
            "corrected_low": round(ratio - 0.014, 4), "corrected_high": round(ratio + 0.012, 4)}  # fmt: skip


def step(number, name, title, ratio, backend="io_uring"):
    row = {
        "step": number, "name": name, "title": title, "backend": backend,
        "cpu_us_per_echo": round(4.53 * ratio, 3), "waited_share": 0.0423,
        "instructions_per_echo": 185 + 61 * int(number),
        "system_calls_per_echo": 0.046, "allocations_per_echo": 2.0 if number == "3" else 0,
        "context_switches_per_echo": 1.98 if number == "7" else 0.021,
        "user_bytes_per_idle_connection": 160 + 151 * int(number) ** 2,
        "kernel_bytes_per_idle_connection": 8171, "accept_close_us": 29.3,
        "idle": {"samples": 3, "fewest": 5000, "most": 10_000, "user_low": 150, "user_high": 7571,
                 "kernel_low": 8011, "kernel_high": 8301, "user_shared_bytes": 4_400_000},
        "latency": latency(ratio),
    }  # fmt: skip
    if ratio != 1:
        row["ratio_to_step_0"] = compared(ratio)
    return row


def whole():
    """Complete results, as a dictionary that the caller may change."""
    ladder = [step(*each) for each in STEPS]
    ladder += [step(number, name, title, 1.302 * ratio, "epoll") for number, name, title, ratio in STEPS[:2]]
    field = [{"name": name, "language": language, "style": "loop", "row": row, "throughput_per_s": throughput,
              "cpu_us_per_echo": cpu, "memory_bytes_per_connection": memory, "latency": at_field_rate(cpu / 4.5)}
             for name, language, row, throughput, cpu, memory in FIELD]  # fmt: skip
    scaling = [{"step": number, "name": name, "backend": "io_uring",
                "points": [{"connections": count, "cpu_us_per_echo": round(4.53 * ratio * factor, 3),
                            "ratio_to_step_0": compared(ratio, comparisons=15)}
                           for count, factor in ((1, 1.9), (10, 1.15), (100, 1), (1000, 1.35), (10_000, 1.9))]}
               for number, name, _, ratio in STEPS if number in "0147"]  # fmt: skip
    machine = {"processor": "Some CPU 7", "cores": 2, "memory_bytes": 32 * 2**30, "kernel": "6.18.1",
               "mitigations": "on", "congestion_control": "cubic", "compiler": "g++ 12.2.0", "flags": "-O2",
               "ringlet": "0.1.0", "client_backend": "io_uring"}  # fmt: skip
    tls = [{"name": name, "proxies": name == "nginx", "idle_bytes": 17_000,
            "loads": [{"load": "64 bytes", "cpu_us": 10.8 * ratio, **({"ratio_to_anchor": compared(ratio)} if ratio != 1 else {})}]}
           for name, ratio in (("C on epoll", 1), ("ringlet", 0.87), ("nginx", 2.1))]  # fmt: skip
    made = {"schema": 2, "kind": "ringlet-lab", "quick": False, "finished": True, "started": "2026-03-01T12:30:00",
            "seconds": 2534, "machine": machine, "ladder": ladder, "field": field, "scaling": scaling, "tls": tls}  # fmt: skip
    return json.loads(json.dumps(made))


def empty():
    return {"schema": 2, "kind": "ringlet-lab"}


def latencies_at_rate(rate, p50, p99=None, reached=None, limits=()):
    """A sample of latencies, in the form of a Sampler's."""
    told = {"samples": 9, "min": 1.0, "p50": p50, **({"p99": p99} if p99 else {})}
    total = {"throughput_per_s": reached or rate, "client_limits": list(limits), "latency_us": told}
    return {"rate_per_s": rate, "result": {"total": total}}
