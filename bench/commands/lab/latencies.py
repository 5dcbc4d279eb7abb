"""The client's latencies of several rounds, as if they had been one round."""

import json
import math
import pathlib
import re
import statistics
import tempfile

import measuring
from measuring import Failure


def of_rounds(rounds):
    """Of samples of a Sampler, all at one rate: their latencies together, each round's own, and medians of the rest.

    One bad round dominates the high percentiles of all together: only the single rounds show that.
    """
    rate = rounds[0]["rate_per_s"]
    totals = [each["result"]["total"] for each in rounds]
    return {
        "rate_per_s": rate,
        "reached_per_s": statistics.median(total["throughput_per_s"] for total in totals),
        "client_limits": limits(total["client_limits"] for total in totals),
        **curve(merged([each["result"] for each in rounds])),
        "rounds": [curve(total["latency_us"]) for total in totals],
    }


def limits(told):
    """What limited the client in any of several runs; null stands for a run that was too short to be judged."""
    return sorted({limit for limits_ in told for limit in limits_ or []})


def curve(latency):
    percentiles = [[float(name[1:]), latency[name]] for name in latency if re.match(r"p\d", name)]
    return {"samples": latency["samples"], "percentiles": percentiles}


def merged(results):
    """The latencies of all results of echo_bench, added up by itself."""
    if len(results) == 1:
        return results[0]["total"]["latency_us"]
    settings = results[0].get(
        "settings"
    )  # each round has a server of its own, which listens at a port of its own
    with tempfile.TemporaryDirectory() as folder:
        whole, *parts = (pathlib.Path(folder, f"{number}.json") for number in range(len(results) + 1))
        for part, result in zip(parts, results):
            part.write_text(json.dumps({**result, "settings": settings}))
        command = [
            str(measuring.BUILD / "src/client/echo_bench"),
            "merge",
            *map(str, parts),
            "--json",
            str(whole),
        ]
        ended = measuring.run_to_its_end(command, None)
        if ended.returncode != 0:
            raise Failure(f"echo_bench cannot merge its results: {measuring.last_words(ended)}")
        return json.loads(whole.read_text())["total"]["latency_us"]


def is_kept(sample, share, p99_us):
    """Whether this share of the rate was reached, and 99 of 100 answers came within `p99_us`."""
    total = sample["result"]["total"]
    p99 = total["latency_us"].get("p99", math.inf)
    return total["throughput_per_s"] >= share * sample["rate_per_s"] and p99 <= p99_us
