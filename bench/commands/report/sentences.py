"""The findings in words. A sentence claims a difference only if the corrected interval shows one."""

import datetime
import re

import results as lab_results
from pairs import pairs_needed
from svg import short

# step: (the subject of a sentence, its verb)
SUBJECTS = {
    "0": "Callbacks",
    "1": "A coroutine per connection",
    "2": "A coroutine with a child task for each message",
    "3": "Coroutines whose frames come from malloc",
    "4": "A coroutine with a timeout around each message",
    "5": "A task group with a second coroutine that writes",
    "6": "A stackful fiber per connection",
    "7": "A thread per connection",
}
PLURAL = ("3",)


def subject_of(row):
    subject = SUBJECTS.get(row.get("step"), row["title"])
    return f"{subject} on epoll" if lab_results.is_on_epoll(row) else subject


def percents(ratio):
    """Differences in percent (median, nearer end, farther end), none of them negative."""
    ends = [abs(ratio[key] - 1) * 100 for key in ("median", "low", "high")]
    digits = 1 if min(ends) >= 0.05 else 2
    return [f"{end:.{digits}f}" for end in (ends[0], *sorted(ends[1:]))]


def difference(ratio):
    """'none', 'more', 'less', or 'too few' pairs to say; from the interval that is corrected for many comparisons."""
    if "corrected_low" not in ratio:
        return "too few"
    low = min(ratio["low"], ratio["corrected_low"])
    high = max(ratio["high"], ratio["corrected_high"])
    if low <= 1 <= high:
        return "none"
    return "more" if low > 1 else "less"


def fewest_pairs(ratio):
    return pairs_needed(max(1, round(ratio.get("comparisons", 1))))


def sentence(row, whole=True):
    """A sentence on one step against step 0, or '' without a ratio. The first of many is a full one."""
    ratio = row.get("ratio_to_step_0")
    if not ratio:
        return ""
    subject, found, several = subject_of(row), difference(ratio), row["step"] in PLURAL
    interval = f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    if row["step"] == "0":
        subject, several = f"Callbacks on {row['backend']}", True
    end = "" if several else "s"
    if found == "too few":
        pairs = ratio.get("pairs", 0)
        few = f"{pairs:.0f} pair" + ("s are" if pairs != 1 else " is")
        return f"{subject}: {few} too few to say anything (the ratio was {ratio['median']:.2f})."
    if found == "none":
        told = f"No difference could be seen between {lower(subject)} and callbacks: the ratio is {interval}"
        if ratio["low"] <= 1 <= ratio["high"]:
            return f"{told}."
        return f"{told}, and of {ratio.get('comparisons', 1):.0f} such intervals one may miss 1 by chance."
    if ratio["low"] >= 2:
        ends = f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
        return (
            f"{subject} take{end} {ratio['median']:.2f} times {ends} the CPU"
            f" time{' of an echo' if whole else ''}."
        )
    median, near, far = percents(ratio)
    if found == "more":
        return (
            f"{subject} add{end} {median} % [{near},"
            f" {far}]{' to the CPU time of an echo on this machine' if whole else ''}."
        )
    return (
        f"{subject} save{end} {median} % [{near},"
        f" {far}]{' of the CPU time of an echo on this machine' if whole else ''}."
    )


def lower(text):
    return text[:1].lower() + text[1:]


def ladder(results):
    """A sentence for each compared step, except the one that all are compared with."""
    base = lab_results.base(results)
    rows = [row for row in results["ladder"]
            if row is not base and "skipped" not in row and "ratio_to_step_0" in row]  # fmt: skip
    if rows and all(difference(row["ratio_to_step_0"]) == "too few" for row in rows):
        most = max((row["ratio_to_step_0"] for row in rows), key=lambda ratio: ratio.get("pairs", 0))
        return [
            f"Too few runs to say what a coroutine costs: {most.get('pairs', 0):.0f} for each step, and it"
            f" takes {fewest_pairs(most)}."
        ]
    said = []
    for row in rows:
        said.append(sentence(row, whole=not any("CPU time of" in text for text in said)))
    return said


def scaling(results):
    """A sentence for each step that differs from step 0 with some number of connections, or one that says none does."""
    compared = [
        (row, point)
        for row in results["scaling"]
        for point in row.get("points", ())
        if "ratio_to_step_0" in point and "connections" in point
        if row.get("step") != "0" or lab_results.is_on_epoll(row)
    ]
    found = [(row, point, difference(point["ratio_to_step_0"])) for row, point in compared]
    if not found or all(verdict == "too few" for *_, verdict in found):
        return []
    said = {}
    for row, point, verdict in found:
        if verdict in ("more", "less"):
            ratio, subject = point["ratio_to_step_0"], subject_of(row)
            figures = f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
            said.setdefault(subject, []).append(f"{figures} with {point['connections']:,.0f}")
    if not said:
        return ["With no number of connections a difference from step 0 could be seen."]
    return [
        f"{subject}, in times the CPU time of step 0: {'; '.join(told)} connections."
        for subject, told in said.items()
    ]


def memory(results):
    for row in results["ladder"]:
        user, kernel = (row.get(f"{side}_bytes_per_idle_connection") for side in ("user", "kernel"))
        if row["step"] == "1" and user is not None and user >= 0:
            rest = f", and {kernel:,.0f} bytes in the kernel for both ends" if kernel is not None else ""
            shared = row.get("idle", {}).get("user_shared_bytes", 0)
            if shared >= 2**20:
                rest += f"; {shared / 2**20:.1f} MiB more of the process are the same for any number of them"
            return (
                f"While it waits, a connection with its coroutine holds {user:,.0f} bytes in the server's"
                f" process{rest}."
            )
    return ""


def is_ours(row):
    return bool(re.match(r"ringlet|echo_coro", row["name"], re.IGNORECASE))


def field(results):
    rows = [row for row in results["field"] if "cpu_us_per_echo" in row and "skipped" not in row]
    ours = [row for row in rows if is_ours(row)]
    if not ours or len(rows) < 2:
        return ""
    least = min(rows, key=lambda row: row["cpu_us_per_echo"])
    mine = min(ours, key=lambda row: row["cpu_us_per_echo"])
    told = f"{mine['name']} needed {short(mine['cpu_us_per_echo'])} µs"
    if least is mine:
        return (
            f"Of {len(rows)} servers {told} of CPU time per echo, the least; no interval says how sure"
            " that is."
        )
    return (f"Of {len(rows)} servers {least['name']} needed the least CPU time per echo, "
            f"{short(least['cpu_us_per_echo'])} µs; {told}.")  # fmt: skip


LIMITS = {
    "cpu": "its one thread had work for more than 90 % of the time",
    "late_sends": "more than 1 % of its messages left over 1 ms late",
}
MARK = "†"  # beside figures that the client limited


def mark(told):
    return f" {MARK}" if told.get("client_limits") else ""


def client_was_the_limit(rows):
    """The note on throughput that the client limited."""
    if not any(map(mark, rows)):
        return ""
    return f"{MARK} For the marked rows the client was the limit, so that their throughput is the client's."


def client_spoke(curves):
    """The note on latencies that the client limited."""
    limits = dict.fromkeys(limit for curve in curves for limit in curve.get("client_limits", ()))
    if not limits:
        return ""
    marked = sum(bool(mark(curve)) for curve in curves)
    reasons = " or ".join(LIMITS.get(limit, limit) for limit in limits)
    return (
        f"{MARK} In at least one round of {marked} of {len(curves)} lines the client was at its own limit ({reasons}):"
        " a part of their latency is the client's."
    )


def date(results):
    """The date as people write it; a text that is not a date stays as it is."""
    try:
        day = datetime.datetime.fromisoformat(results["started"])
    except (KeyError, ValueError):
        return results.get("started", "")
    return f"{day.day} {day:%B %Y}"


def machine(results):
    """Where, with what and when, in one sentence."""
    told = results["machine"]
    on = told.get("processor", "a machine that was not named")
    sizes = []
    if "cores" in told:
        sizes.append(f"{told['cores']:.0f} core" + ("s" if told["cores"] != 1 else ""))
    if "memory_bytes" in told:
        sizes.append(f"{told['memory_bytes'] / 2**30:.0f} GiB of memory")
    text = f"Measured on {on}" + (f" ({', '.join(sizes)})" if sizes else "")
    if "kernel" in told:
        text += f", Linux {told['kernel'].removeprefix('Linux ').split(' #')[0]}"
    if "compiler" in told:
        text += f", {re.sub('^GNU ', 'g++ ', told['compiler'])}" + (
            f" ({told['flags']})" if "flags" in told else ""
        )
    if date(results):
        text += f", on {date(results)}"
    if "seconds" in results:
        minutes = results["seconds"] / 60
        text += f", in {minutes:.0f} minutes" if minutes >= 2 else f", in {results['seconds']:.0f} seconds"
    text += "."
    if "ringlet" in told:
        text += f" ringlet {told['ringlet']}."
    return text


def mitigations(results):
    """Which processor flaws the kernel mitigates, at some cost, and which it does not."""
    told = results["machine"].get("mitigations", "")
    if isinstance(told, str):
        return told
    parts = []
    for words, beginning in (("on for", "Mitigation"), ("none for", "Vulnerable")):
        names = [name for name, state in sorted(told.items()) if state.startswith(beginning)]
        parts += [f"{words} {', '.join(names)}"] if names else []
    return "; ".join(parts)


def warnings(results):
    said = []
    if results.get("quick"):
        said.append("This is a quick run: it shows that everything works, and roughly what comes out.")
    if results.get("finished") is False:
        said.append("The measurement did not finish: what is missing here was not reached.")
    return said
