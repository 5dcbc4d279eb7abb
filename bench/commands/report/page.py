"""One HTML page that needs nothing else: words, charts, and the tables behind them."""

import html
import pathlib
import re

import charts
import curves
import field_latency
import results as lab_results
import rounds
import sentences
import tables

HERE = pathlib.Path(__file__).resolve().parent
LOOK = (HERE / "look.css").read_text()


def all_charts(results):
    makers = (charts.ladder, charts.field, curves.latency_of_ladder, field_latency.chart, charts.memory,
              curves.scaling)  # fmt: skip
    return {chart.name: chart for chart in (make(results) for make in makers)}


def alone(drawing):
    """The drawing as a file of its own."""
    return drawing.render(LOOK).replace('class="chart"', 'class="chart alone"') + "\n"


# ---- pieces -------------------------------------------------------------------------------------


def escaped(text):
    """As HTML; an interval in brackets stays on one line."""
    text = html.escape(text).replace("\u00ad", "&shy;")
    return re.sub(r"\[[\d., ]+\]", lambda interval: interval[0].replace(" ", "&nbsp;"), text)


def paragraph(text, kind=""):
    return f'<p class="{kind}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>"


def listed(texts, kind=""):
    items = "".join(f"<li>{escaped(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def as_html(table):
    head = "".join(f'<th scope="col">{escaped(heading)}</th>' for heading in table.headings)
    body = ""
    for name, *cells in table.rows:
        if len(cells) == 1 < len(table.headings) - 1:
            inner = f'<td class="why" colspan="{len(table.headings) - 1}">{escaped(cells[0])}</td>'
        else:
            inner = "".join(f"<td>{escaped(cell)}</td>" for cell in cells)
        body += f'<tr><th scope="row">{escaped(name)}</th>{inner}</tr>'
    return (f'<div class="scroll"><table><caption>{escaped(table.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")  # fmt: skip


def behind(table, summary="The numbers"):
    """A table that is shown on request, and always in print."""
    return f"<details><summary>{summary}</summary>{as_html(table)}</details>" if table.rows else ""


def figure(chart, caption):
    if chart.drawing is None:
        return f'<p class="missing" id="missing-{chart.name}">{escaped(chart.missing)}</p>'
    return f"<figure>{chart.drawing.render()}<figcaption>{escaped(caption)}</figcaption></figure>"


# ---- sections -----------------------------------------------------------------------------------


def opening(results):
    findings = tables.findings(results)
    first, *others = findings or ["Nothing was compared with callbacks, so there is nothing to say yet."]
    text = (
        "<header><h1>What a coroutine costs</h1>"
        + paragraph(sentences.machine(results), "where")
        + "</header>"
    )
    text += "".join(paragraph(warning, "warning") for warning in sentences.warnings(results))
    text += paragraph(
        f"Roughly: {sentences.lower(first)}" if results.get("quick") and "CPU time of" in first else first,
        "lead",
    )
    if any("%" in text for text in sentences.ladder(results)):
        text += paragraph(
            "Of the CPU time that the same server needs with callbacks; in brackets the 95 % interval. A"
            " difference is claimed only where a wider interval shows one, corrected for all steps being looked at.",
            "note",
        )
    if others:
        text += listed(others, "findings")
    return text


def ladder(results, drawn):
    base = lab_results.base(results)
    over = f"step 0 on {base['backend']}" if base else "step 0"
    caption = (
        f"CPU time per echo divided by that of {over}, on a logarithmic axis: the median of the paired ratios"
        " with its 95 % interval. Blue where a difference could be seen: where a wider interval, which is not"
        " drawn and is corrected for the number of steps, does not hold 1. Grey where it does, or where there"
        " are too few pairs."
    )
    text = "<h2>From callbacks to threads, one step at a time</h2>" + paragraph(
        "Each step is the same echo server, written another way. Its runs and those of step 0 took turns, and"
        " each pair of runs gave one ratio of CPU time."
    )
    return (
        text
        + figure(drawn["ladder"], caption)
        + (as_html(tables.ladder(results)) if results["ladder"] else "")
    )


def field(results, drawn):
    caption = (
        "The least CPU time first; ringlet in blue. These have no intervals: differences of a few percent"
        f" mean nothing. {sentences.client_was_the_limit(results['field'])}".rstrip()
    )
    text = "<h2>Beside other servers</h2>" + figure(drawn["field"], caption)
    return text + (as_html(tables.field(results)) if results["field"] else "")


def overloaded(rows, label):
    """The servers that were asked for more than they could do."""
    late = [f"{label(row)}{curves.at_load(curve)} ({curve['reached_per_s']:,.0f} of {curve['rate_per_s']:,.0f})"
            for row, curve in curves.too_slow(rows)]  # fmt: skip
    if not late:
        return ""
    return paragraph(f"Did not reach the rate that was asked for, in echoes per second: {', '.join(late)}. Such latency is"
                     " that of a queue that grows, and says how long was measured.", "note")  # fmt: skip


def about_rounds(rows, label):
    told = rounds.agreement(rows, label)
    said = sentences.client_spoke([curve for _, curve in rounds.measured(rows)])
    return "".join(paragraph(words, "note") for words in (told, said) if words)


def latency(results, drawn):
    caption = (
        "Each nine of the horizontal axis takes as much room as the one before. All panels have one vertical"
        " axis, and it is logarithmic. The lines are of all rounds together; the table has what the rounds say."
    )
    of_field = (
        "Other servers, at one rate that the slowest keep up with, too: ringlet, and the best, the median and the"
        " worst of all at 99 %. The table has all of them."
    )
    text = "<h2>How long an echo takes</h2>" + figure(drawn["latency-ladder"], caption)
    text += behind(tables.latency_of_ladder(results))
    text += listed(rounds.differences(results["ladder"], lab_results.base(results)), "findings")
    text += about_rounds(results["ladder"], curves.short_label)
    text += overloaded(results["ladder"], curves.short_label)
    text += figure(drawn["latency-field"], of_field)
    text += behind(tables.latency_of_field(results))
    text += about_rounds(results["field"], lambda row: row["name"])
    text += overloaded(results["field"], lambda row: row["name"])
    count = curves.left_out([*results["ladder"], *results["field"]])
    if count:
        points = "1 percentile is" if count == 1 else f"{count} percentiles are"
        text += paragraph(f"{points} not shown, because fewer than ten samples lie beyond.", "note")
    return text


def memory(results, drawn):
    caption = (
        "What the server's process and the kernel hold for each connection that waits for a message:"
        " process + kernel. The kernel's part is what the whole machine grew by, and so that of both ends."
    )
    held = next((row["idle"] for row in results["ladder"] if "fewest" in row.get("idle", {})), {})
    if "most" in held:
        caption += (
            f" The process's part is what {held['most']:,.0f} connections take more than {held['fewest']:,.0f}, for each of"
            " these: what a server keeps however many there are, such as buffers for the next messages, is not in it."
        )
    return (
        "<h2>What an idle connection holds</h2>"
        + figure(drawn["memory"], caption)
        + behind(tables.memory(results))
    )


def scaling(results, drawn):
    text = "<h2>With more connections</h2>" + figure(
        drawn["scaling"],
        "CPU time of the server for one echo, while so many connections echo at once. These are medians, without"
        " intervals. What is compared is a step and step 0 of the same round: the ratios below.",
    )
    if drawn["scaling"].drawing:
        text += behind(tables.scaling(results)) + behind(tables.scaling_ratios(results), "The ratios")
        text += listed(sentences.scaling(results), "findings")
    return text


def through_tls(results, _):
    table = tables.tls(results)
    if not table.rows:
        return ""
    return (
        "<h2>Through TLS</h2>"
        + as_html(table)
        + paragraph(
            "TLS 1.3, ECDSA P-256, one core. An echo of so many bytes, or a connection with one echo; then the ratio to"
            " the server in C, which is the least that one can write with the same engine, in the same round. A front end decrypts"
            " and passes on to a plain echo server: it has two connections where the others have one.",
            "note",
        )
    )


def left_out(results):
    rows = list(lab_results.skipped(results))
    text = "<h2>What was skipped, and why</h2>"
    if not rows:
        return text + paragraph("Nothing was skipped.")
    items = "".join(f"<dt>{escaped(what)}</dt><dd>{escaped(why)}</dd>" for what, why in rows)
    return text + f'<dl class="skipped">{items}</dl>'


def how_to_read(results):
    cores = results["machine"].get("cores")
    several = f"{cores:.0f} cores" if cores and cores > 1 else "one core" if cores else "few cores"
    told = (
        (
            "[1.2, 3.0] is a 95 % interval: were all of it measured again and again, 19 of 20 such intervals"
            " would hold the true median."
        ),
        (
            "Of nine such intervals one misses by chance in every third report. So whether there is a difference"
            " is judged by a wider one, which leaves out so few of the lowest and of the highest ratios that"
            " chance shows a difference where there is none in at most 1 of 20 reports."
        ),
        (
            "21.0 [20.1, 24.7] of a latency is the median of its rounds, with the smallest and the largest. A step"
            " is called slower or faster than another only if no round of one lies among those of the other, at any load."
        ),
        (
            "An interval that holds 1 shows no difference. That is not proof that there is none, only that it"
            " is smaller than what this machine does by chance."
        ),
        (
            "CPU time is that of the server's threads, in the program and in the kernel. It is what a machine"
            " full of work has less of."
        ),
        (
            "A percentile is shown only where at least ten samples lie beyond it: 1,000 samples for 99 %,"
            " 10,000 for 99.9 %."
        ),
    )
    not_told = (
        (
            f"Server, client and kernel shared {several}, and messages went over loopback: no card, no"
            " driver, no cable. Throughput here is not that of a network."
        ),
        (
            "Most of an echo is the kernel's work. A server that does more for each message has a smaller"
            " share of it to lose or to win by coroutines."
        ),
        (
            "Where the client was at its limit, throughput says how the server groups its answers, not how"
            " fast it is. Look at CPU time instead."
        ),
        (
            "Latency of few microseconds is mostly that of waking a thread. On a machine that others use, the"
            " high percentiles are theirs."
        ),
    )
    known = {
        "the client on": results["machine"].get("client_backend"),
        "congestion control": results["machine"].get("congestion_control"),
        "mitigations": sentences.mitigations(results),
    }
    settings = [f"{words} {value}" for words, value in known.items() if value]
    lists = "".join(
        f"<h2>{heading}</h2><ul>" + "".join(f"<li>{escaped(item)}</li>" for item in items) + "</ul>"
        for heading, items in (("How to read this", told), ("What not to conclude", not_told))
    )
    return lists + (paragraph(f"Settings of the machine: {'; '.join(settings)}.", "note") if settings else "")


def page(results, drawn):
    parts = (ladder, field, latency, memory, scaling, through_tls)
    sections = "".join(f"<section>{text}</section>" for part in parts if (text := part(results, drawn)))
    style = LOOK + (HERE / "page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>What a coroutine costs</title><style>{style}</style></head>\n<body><main>"
        f"{opening(results)}{sections}<section>{left_out(results)}</section>"
        f"<section>{how_to_read(results)}</section></main></body></html>\n"
    )
