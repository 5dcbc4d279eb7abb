"""Reads the lab's results, and refuses any other file. Any figure may be missing."""

import json
import math

ANYTHING = "a text, or the kernel's word for each weakness"
KIND, SCHEMA = "ringlet-lab", 2
# Some are differences of two measurements, and can be slightly negative.
NUMBER, TEXT, FLAG = "a number", "a text", "true or false"

RATIO = dict.fromkeys(
    ("pairs", "median", "low", "high", "comparisons", "corrected_low", "corrected_high"), NUMBER
)
LATENCY = [
    {
        "load": NUMBER,
        "rate_per_s": NUMBER,
        "reached_per_s": NUMBER,
        "client_limits": [TEXT],
        "samples": NUMBER,
        "percentiles": [[NUMBER]],
        "rounds": [{"samples": NUMBER, "percentiles": [[NUMBER]]}],
    }
]
SHAPE = {
    "quick": FLAG,
    "finished": FLAG,
    "started": TEXT,
    "seconds": NUMBER,
    "machine": {
        **dict.fromkeys(("processor", "kernel", "congestion_control"), TEXT),
        **dict.fromkeys(("compiler", "flags", "ringlet", "client_backend"), TEXT),
        **dict.fromkeys(("cores", "memory_bytes"), NUMBER),
        "mitigations": ANYTHING,
    },
    "ladder": [{
        **dict.fromkeys(("step", "name", "title", "backend", "skipped"), TEXT),
        "cpu_us_per_echo": NUMBER,
        "waited_share": NUMBER,
        "ratio_to_step_0": RATIO,
        "instructions_per_echo": NUMBER,
        "system_calls_per_echo": NUMBER,
        "allocations_per_echo": NUMBER,
        "context_switches_per_echo": NUMBER,
        "user_bytes_per_idle_connection": NUMBER,
        "kernel_bytes_per_idle_connection": NUMBER,
        "idle": dict.fromkeys(("samples", "fewest", "most", "user_low", "user_high", "user_shared_bytes",
                               "kernel_low", "kernel_high"), NUMBER),
        "accept_close_us": NUMBER,
        "latency": LATENCY,
    }],
    "field": [{
        **dict.fromkeys(("name", "language", "style", "row", "skipped"), TEXT),
        **dict.fromkeys(("throughput_per_s", "cpu_us_per_echo", "waited_share"), NUMBER),
        "client_limits": [TEXT],
        "memory_bytes_per_connection": NUMBER,
        "latency": LATENCY,
    }],
    "tls": [{
        **dict.fromkeys(("name", "skipped"), TEXT),
        "proxies": FLAG,
        "idle_bytes": NUMBER,
        "loads": [{"load": TEXT, "cpu_us": NUMBER, "ratio_to_anchor": RATIO}],
    }],
    "scaling": [{
        **dict.fromkeys(("step", "name", "backend"), TEXT),
        "points": [{**dict.fromkeys(("connections", "cpu_us_per_echo"), NUMBER), "ratio_to_step_0": RATIO}],
    }],
}  # fmt: skip
NEEDED = {"ladder": ("step", "name"), "field": ("name",), "scaling": ("name",), "tls": ("name",)}


class WrongResults(Exception):
    """What is wrong with the file, in one line."""


def is_right(value, kind):
    if kind == NUMBER:
        return type(value) in (int, float) and math.isfinite(value)
    if kind == ANYTHING and isinstance(value, dict):
        return all(isinstance(word, str) for word in value.values())
    return isinstance(value, bool if kind == FLAG else str)


def known(value, shape, place):
    """The value without parts that are null or not in the shape."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise WrongResults(f"{place} is not an object")
        kept = {key: known(value[key], shape[key], f"{place}.{key}") for key in shape
                if value.get(key) is not None}  # fmt: skip
        return {key: inner for key, inner in kept.items() if inner not in ({}, [])}
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise WrongResults(f"{place} is not a list")
        return [known(inner, shape[0], f"{place}[{index}]") for index, inner in enumerate(value)
                if inner is not None]  # fmt: skip
    if not is_right(value, shape):
        raise WrongResults(f"{place} is not {shape}: {json.dumps(value)[:60]}")
    return value


def parse(text):
    """All of it as one dictionary, where absent and null are the same.

    Errors  WrongResults: no JSON, another program's, another schema, a value of the wrong kind.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongResults(f"this is no JSON: {error}") from None
    if not isinstance(whole, dict) or whole.get("kind") != KIND:
        raise WrongResults(f'this is no result of the lab: it has no "kind": "{KIND}"')
    if whole.get("schema") != SCHEMA or isinstance(whole["schema"], bool):
        raise WrongResults(
            f"it has schema {json.dumps(whole.get('schema'))}; this program knows schema {SCHEMA}"
        )
    results = known(whole, SHAPE, "results")
    for part, names in NEEDED.items():
        for index, row in enumerate(results.setdefault(part, [])):
            for name in names:
                if name not in row:
                    raise WrongResults(f"results.{part}[{index}] has no {name}")
    for row in results["ladder"]:
        row.setdefault("title", row["name"])
        row.setdefault("backend", "io_uring")
        drop_broken_ratio(row)
    for row in results["scaling"]:
        row.setdefault("title", row["name"])
        row.setdefault("backend", "io_uring")
        for point in row.get("points", ()):
            drop_broken_ratio(point)
    for row in results["tls"]:
        for load in row.get("loads", ()):
            drop_broken_ratio(load, "ratio_to_anchor")
    results.setdefault("machine", {})
    return results


def drop_broken_ratio(row, name="ratio_to_step_0"):
    """A ratio has a median and both ends, in order, or there is none."""
    ratio = row.get(name, {})
    median, low, high = (ratio.get(key, 0) for key in ("median", "low", "high"))
    if not 0 < low <= median <= high:
        row.pop(name, None)
    elif not 0 < ratio.get("corrected_low", 0) <= ratio.get("corrected_high", 0):
        ratio.pop("corrected_low", None)


def base(results):
    """The row of step 0 that ratios refer to: the one on io_uring, or on epoll if there is no other."""
    steps = [row for row in results["ladder"] if row["step"] == "0" and "skipped" not in row]
    return next((row for row in steps if row["backend"] == "io_uring"), steps[0] if steps else None)


def is_on_epoll(row):
    """Whether a row must name its backend: each other backend is the only one of its step."""
    return row.get("backend") == "epoll"


def skipped(results):
    """(what, why) of everything that was not measured."""
    for row in results["ladder"]:
        if "skipped" in row:
            yield f"step {row['step']} on {row['backend']}, {row['title']}", row["skipped"]
    for row in results["field"]:
        if "skipped" in row:
            yield row["name"], row["skipped"]
    for row in results["tls"]:
        if "skipped" in row:
            yield f"{row['name']} through TLS", row["skipped"]
