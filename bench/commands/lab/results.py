"""From the journal to the figures that the report shows."""

import contextlib
import statistics

import encrypted
import latencies
from pairs import TooFew, corrected_ratio, paired_ratio
from plan import CAPACITY, COUNTED, LOADS
from steps import BASE, SCALED, STEPS

SCHEMA = 2


def results(journal, field_rows, finished):
    return {
        "schema": SCHEMA,
        "kind": "ringlet-lab",
        "quick": journal.header["quick"],
        "finished": finished,
        "started": journal.header["started"],
        "seconds": round(journal.seconds),
        "machine": journal.get("machine"),
        "capacity_per_s": journal.get(*CAPACITY),
        "ladder": [of_step(journal, step) for step in STEPS],
        "field": [of_row(journal, row) for row in field_rows],
        "scaling": [of_scale(journal, step) for step in SCALED],
        "tls": [of_tls(journal, name) for name in (*encrypted.PEERS, *encrypted.FRONT_ENDS)],
    }


def median_of(values):
    values = list(values)
    return statistics.median(values) if values else None


def waited_share(samples):
    """The share of the time spent waiting for a CPU; older journals have none."""
    return median_of(sample["waited_share"] for sample in samples if "waited_share" in sample)


def of_step(journal, step):
    samples = journal.all("cpu", step.key)
    told = {"step": str(step.number), "name": step.name, "title": step.title, "backend": step.backend}
    told["cpu_us_per_echo"] = median_of(sample["cpu_us"] for sample in samples)
    told["cpu_us_samples"] = [sample["cpu_us"] for sample in samples]
    told["waited_share"] = waited_share(samples)
    told["ratio_to_step_0"] = ratio(journal, ("cpu", step.key), ("cpu", BASE.key), len(STEPS) - 1)
    for what in COUNTED:
        told[f"{what}_per_echo"] = journal.get(what, step.key)
    told.update(idle(journal.all("idle_bytes", step.key)))
    told["accept_close_us"] = median_of(journal.all("accept_close", step.key))
    told["latency"] = [
        {"load": load, **latencies.of_rounds(rounds)}
        for load in LOADS
        if (rounds := journal.all("latency", step.key, load))
    ]
    if not any(key[1:2] == (step.key,) for key in journal.values):
        told["skipped"] = journal.why_failed("cpu", step.key) or "not measured yet"
    return told


def pairs_of(journal, these, base):
    """The CPU time of samples whose keys begin with `these`, with that of `base` in the same round."""
    numbers = [key[-1] for key in journal.values if key[:-1] == these and (*base, key[-1]) in journal]
    return [
        (journal[(*these, number)]["cpu_us"], journal[(*base, number)]["cpu_us"])
        for number in sorted(numbers)
    ]


def ratio(journal, these, base, comparisons):
    pairs = pairs_of(journal, these, base)
    if not pairs:
        return None
    median, low, high = paired_ratio(pairs)
    told = {"pairs": len(pairs), "median": median, "low": low, "high": high, "comparisons": comparisons}
    with contextlib.suppress(TooFew):
        told["corrected_low"], told["corrected_high"] = corrected_ratio(pairs, comparisons)
    return told


def widest(journal):
    """The width of the widest corrected interval of a step's CPU time, as a share of its ratio; none if there is none."""
    widths = []
    for step in STEPS:
        pairs = pairs_of(journal, ("cpu", step.key), ("cpu", BASE.key))
        if step is BASE or not pairs:
            continue
        with contextlib.suppress(TooFew):
            low, high = corrected_ratio(pairs, len(STEPS) - 1)
            widths.append((high - low) / statistics.median(one / other for one, other in pairs))
    return max(widths, default=None)


def idle(samples):
    """Bytes per idle connection. For the process: the growth with twice as many, and apart what does not grow."""
    if not samples:
        return {}
    fewest, most = (held["connections"] for held in samples[0])
    user = [(many["user"] - few["user"]) / (most - fewest) for few, many in samples]
    kernel = [many["kernel"] / most for _, many in samples]
    shared = [few["user"] - bytes_ * fewest for bytes_, (few, _) in zip(user, samples)]
    return {
        "user_bytes_per_idle_connection": statistics.median(user),
        "kernel_bytes_per_idle_connection": statistics.median(kernel),
        "idle": {
            "samples": len(samples), "fewest": fewest, "most": most,
            "user_low": min(user), "user_high": max(user), "user_shared_bytes": statistics.median(shared),
            "kernel_low": min(kernel), "kernel_high": max(kernel),
        },
    }  # fmt: skip


def of_row(journal, row):
    told = {"name": row.name, "language": row.language, "row": row.kind}
    samples = journal.all("field", row.name, "cpu")
    if not samples:
        why = journal.why_failed("field", row.name)
        return {**told, "skipped": row.missing or why or "not measured yet"}
    held = journal.get("field", row.name, "idle") or {}
    at_rate = journal.all("field", row.name, "latency")
    return {
        **told,
        "throughput_per_s": median_of(sample["throughput"] for sample in samples),
        "cpu_us_per_echo": median_of(sample["cpu_us"] for sample in samples),
        "waited_share": waited_share(samples),
        "client_limits": latencies.limits(sample["client_limits"] for sample in samples),
        "memory_bytes_per_connection": held["user"] / held["connections"] if held else None,
        "latency": [latencies.of_rounds(at_rate)] if at_rate else [],
    }


def of_tls(journal, name):
    told = {"name": name, "proxies": name in encrypted.FRONT_ENDS, "loads": []}
    for load in encrypted.LOADS:
        samples = journal.all("tls", load, name)
        if samples:
            same = ("tls", load, name), ("tls", load, encrypted.ANCHOR)
            compared = None if name == encrypted.ANCHOR else ratio(journal, *same, len(encrypted.PEERS) - 1)
            told["loads"].append({"load": load, "cpu_us": median_of(sample["cpu_us"] for sample in samples),
                                  "ratio_to_anchor": compared})  # fmt: skip
    told["idle_bytes"] = journal.get("tls", "idle", name)
    if not told["loads"]:
        of_this = (why for key, why in journal.failures.items() if key[0] == "tls" and key[2] == name)
        told["skipped"] = next(of_this, "not measured yet")
    return told


def of_scale(journal, step):
    counts = sorted({key[2] for key in journal.values if key[:1] == ("scaling",)})
    comparisons = len(counts) * (len(SCALED) - 1)
    points = [
        {
            "connections": count,
            "cpu_us_per_echo": statistics.median(sample["cpu_us"] for sample in samples),
            "ratio_to_step_0": ratio(
                journal, ("scaling", step.key, count), ("scaling", BASE.key, count), comparisons
            ),
        }
        for count in counts
        if (samples := journal.all("scaling", step.key, count))
    ]
    return {"step": str(step.number), "name": step.name, "backend": step.backend, "points": points}
