"""The figures behind the charts, as tables."""

import dataclasses

import curves
import results as lab_results
import rounds
import sentences
from charts import kind_of, label_of
from svg import short

NOTHING = "–"
WAITED = ("of the time without a CPU", "waited_share")
LADDER = (
    ("CPU, µs per echo", "cpu_us_per_echo"),
    ("ratio to step 0", "ratio_to_step_0"),
    WAITED,
    ("accept and close, µs", "accept_close_us"),
    ("instruc­tions per echo", "instructions_per_echo"),
    ("system calls per echo", "system_calls_per_echo"),
    ("allo­cations per echo", "allocations_per_echo"),
    ("context switches per echo", "context_switches_per_echo"),
)


@dataclasses.dataclass(frozen=True)
class Table:
    caption: str
    headings: tuple
    rows: list  # of texts; a row of two is a name and why it was skipped


def cell(row, key):
    value = row.get(key)
    if value is None:
        return NOTHING
    if key == "ratio_to_step_0":
        return f"{value['median']:.3f} [{value['low']:.3f},\u00a0{value['high']:.3f}]"
    if key == "waited_share":
        return f"{value:.1%}"
    return f"{value:,.0f}" if "bytes" in key or key == "throughput_per_s" else short(value)


def measured(columns, rows):
    return [(heading, key) for heading, key in columns if any(key in row for row in rows)]


def ladder(results):
    columns = measured(LADDER, results["ladder"])
    rows = [
        (
            [label_of(row), f"skipped: {row['skipped']}"]
            if "skipped" in row
            else [label_of(row), *(cell(row, key) for _, key in columns)]
        )
        for row in results["ladder"]
    ]
    return Table("All figures of the ladder", ("step", *(heading for heading, _ in columns)), rows)


MEMORY = (
    ("bytes in the process", "user"),
    ("bytes in the kernel, both ends", "kernel"),
    ("in the process, however many there are", "user_shared_bytes"),
)


def memory(results):
    """Bytes of each idle connection, and of all together."""
    rows = [
        [label_of(row), *(memory_cell(row, key) for _, key in MEMORY)]
        for row in results["ladder"]
        if "skipped" not in row and "user_bytes_per_idle_connection" in row
    ]
    caption = "What an idle connection holds: the median of the samples [smallest, largest]"
    return Table(caption, ("step", *(heading for heading, _ in MEMORY)), rows)


def memory_cell(row, key):
    idle = row.get("idle", {})
    if key not in ("user", "kernel"):
        return bytes_in_words(idle[key]) if key in idle else NOTHING
    value, low, high = (
        row.get(f"{key}_bytes_per_idle_connection"),
        idle.get(f"{key}_low"),
        idle.get(f"{key}_high"),
    )
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if low is None or high is None else f"{value:,.0f} [{low:,.0f}, {high:,.0f}]"


def bytes_in_words(value):
    return f"{value / 2**20:,.1f} MiB" if abs(value) >= 2**20 else f"{value / 2**10:,.0f} KiB"


FIELD = (
    ("echoes per second", "throughput_per_s"),
    ("CPU, µs per echo", "cpu_us_per_echo"),
    WAITED,
    ("bytes of each of 5,000 connections", "memory_bytes_per_connection"),
)


def field(results):
    def name(row):
        kind = kind_of(row, ", ")
        return f"{row['name']} ({kind})" if kind else row["name"]

    def mark(row, key):
        return sentences.mark(row) if key == "throughput_per_s" and key in row else ""

    columns = measured(FIELD, results["field"])
    rows = [[name(row), f"skipped: {row['skipped']}"] if "skipped" in row
            else [name(row), *(cell(row, key) + mark(row, key) for _, key in columns)] for row in results["field"]]  # fmt: skip
    return Table("All servers of the field", ("server", *(heading for heading, _ in columns)), rows)


def tls(results):
    """The cost of each server with each load, with the ratio to the server in C."""
    measured = [row for row in results["tls"] if "skipped" not in row]
    loads = list(dict.fromkeys(load["load"] for row in measured for load in row.get("loads", ()) if "load" in load))
    rows = []
    for row in measured:
        of = {load["load"]: load for load in row.get("loads", ()) if "load" in load}
        held = f"{row['idle_bytes']:,.0f}" if "idle_bytes" in row else NOTHING
        name = f"{row['name']}, in front of another" if row.get("proxies") else row["name"]
        rows.append([name, *(tls_cell(of.get(load, {})) for load in loads), held])
    return Table("CPU of the server through TLS, µs for each echo or connection, and in relation to C",
                 ("server", *loads, "bytes of an idle connection"), rows)  # fmt: skip


def tls_cell(load):
    if "cpu_us" not in load:
        return NOTHING
    ratio = load.get("ratio_to_anchor")
    compared = f"; {ratio['median']:.3f} [{ratio['low']:.3f},\u00a0{ratio['high']:.3f}]" if ratio else ""
    return short(load["cpu_us"]) + compared


def latency(rows, name):
    """µs at each percentile, a line for each server and load."""
    loads = curves.by_load(rows)
    wanted = sorted({p for lines in loads.values() for *_, points in lines for p, _ in points})
    told = []
    at = "load" if any("load" in curve for _, curve in rounds.measured(rows)) else "per second"
    for load, lines in loads.items():
        for _, row, curve, points in lines:
            by_percentile = dict(points)
            samples = f"{curve['samples']:,.0f}" if "samples" in curve else NOTHING
            told.append(
                [
                    name(row) + sentences.mark(curve),
                    f"{load:g}"
                    if at == "load"
                    else f"{curve['rate_per_s']:,.0f}"
                    if "rate_per_s" in curve
                    else NOTHING,
                    samples,
                    *(latency_cell(curve, p, by_percentile) for p in wanted),
                ]
            )
    caption = "Latency in µs, of all rounds together"
    if any(rounds.of(curve, p) for _, curve in rounds.measured(rows) for p in rounds.SHOWN):
        caption += (
            f"; at {' % and '.join(map(str, rounds.SHOWN))} % the median of the rounds [smallest, largest]"
        )
    return Table(caption, ("server", at, "samples", *(f"{p:g} %" for p in wanted)), told)


def latency_cell(curve, percentile, by_percentile):
    found = rounds.of(curve, percentile) if percentile in rounds.SHOWN else None
    return (
        str(found) if found else short(by_percentile[percentile]) if percentile in by_percentile else NOTHING
    )


def latency_of_ladder(results):
    return latency(results["ladder"], lambda row: label_of(row))


def latency_of_field(results):
    return latency(results["field"], lambda row: row["name"])


def scaling(results):
    lines = [(curves.name_of(row), dict(curves.points_of(row))) for row in results["scaling"]]
    counts = sorted({count for _, points in lines for count in points})
    rows = [
        [name, *(short(points[count]) if count in points else NOTHING for count in counts)]
        for name, points in lines
    ]
    return Table("µs of CPU time per echo", ("connections", *(f"{count:,.0f}" for count in counts)), rows)


def scaling_ratios(results):
    """Each step beside step 0, with the same number of connections in the same round."""
    lines = [
        (
            curves.name_of(row),
            {point["connections"]: point for point in row.get("points", ()) if "connections" in point},
        )
        for row in results["scaling"]
        if row.get("step") != "0" or lab_results.is_on_epoll(row)
    ]
    lines = [line for line in lines if any("ratio_to_step_0" in point for point in line[1].values())]
    counts = sorted({count for _, points in lines for count in points})
    rows = [
        [name, *(cell(points.get(count, {}), "ratio_to_step_0") for count in counts)]
        for name, points in lines
    ]
    return Table(
        "CPU time per echo divided by that of step 0 in the same round: median [95 % interval]",
        ("connections", *(f"{count:,.0f}" for count in counts)),
        rows,
    )


def findings(results):
    """The main findings, in words; the first is the one that readers look for."""
    return [*sentences.ladder(results), *filter(None, (sentences.memory(results), sentences.field(results)))]
