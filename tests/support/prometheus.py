"""Parses a server's metrics, and finds what `promtool check metrics` would complain about, and more."""

import re

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
LABEL = rf'({NAME})="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
TYPES = ("counter", "gauge", "histogram", "info")
# Units that Prometheus does not use, and its units for them.
UNITS = {"ms": "seconds", "milliseconds": "seconds", "us": "seconds", "microseconds": "seconds",
         "ns": "seconds", "nanoseconds": "seconds", "minutes": "seconds", "hours": "seconds",
         "kb": "bytes", "mb": "bytes", "kilobytes": "bytes", "bits": "bytes", "percent": "ratio"}


class Scrape:
    """`samples`: {(name, ((label, value), ...)): number}; `types`: {family: type}; `complaints`: all problems."""

    def __init__(self, text, openmetrics=False):
        self.samples, self.types, self.helps, self.complaints = {}, {}, {}, []
        self.openmetrics = openmetrics
        self.closed = set()  # finished families: their samples must be together
        self.family = None
        if not text.endswith("\n"):
            self.complain("the last line does not end")
        lines = text.splitlines()
        if openmetrics and (not lines or lines.pop() != "# EOF"):
            self.complain("no # EOF at the end")
        for line in lines:
            self.read(line)
        for family in self.types:
            self.check(family)

    def complain(self, words):
        self.complaints.append(words)

    def value(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]

    def total(self, name):
        return sum(value for (other, _), value in self.samples.items() if other == name)

    def names(self):
        return {name for name, _ in self.samples}

    def read(self, line):
        if line.startswith("#"):
            match = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
            if not match:
                return self.complain(f"neither HELP nor TYPE: {line}")
            table = self.helps if match[1] == "HELP" else self.types
            if match[2] in table:
                self.complain(f"twice: {line}")
            table[match[2]] = match[3]
            if self.family not in (None, match[2]):
                self.closed.add(self.family)
            self.family = match[2]
            return None
        match = SAMPLE.fullmatch(line)
        if not match:
            return self.complain(f"no sample: {line}")
        labels = tuple(sorted(re.findall(LABEL, match[2] or "")))
        if (match[1], labels) in self.samples:
            self.complain(f"twice: {line}")
        if len({name for name, _ in labels}) != len(labels):
            self.complain(f"a label twice: {line}")
        if self.family in self.closed or match[1] not in self.sample_names(self.family):
            self.complain(f"a sample that is not of {self.family}: {line}")
        try:
            self.samples[match[1], labels] = float(match[7])
        except ValueError:
            self.complain(f"no number: {line}")
        return None

    def sample_names(self, family):
        kind = self.types.get(family)
        if kind == "histogram":
            return {family + suffix for suffix in ("_bucket", "_sum", "_count")}
        if self.openmetrics:
            return {family + {"counter": "_total", "info": "_info"}.get(kind, "")}
        return {family}

    def check(self, family):
        kind = self.types[family]
        if kind not in TYPES or (kind == "info" and not self.openmetrics):
            self.complain(f"{family} has no type that is known: {kind}")
        if family not in self.helps:
            self.complain(f"{family} has no HELP")
        if kind == "counter" and family.endswith("_total") == self.openmetrics:
            self.complain(f"the counter {family} ends wrongly")
        if kind != "counter" and family.endswith("_total"):
            self.complain(f"{family} is no counter")
        if kind != "histogram" and family.endswith(("_bucket", "_sum", "_count")):
            self.complain(f"{family} ends as a part of a histogram does")
        for word in family.split("_"):
            if word in UNITS:
                self.complain(f"{family} is in {word}, not in {UNITS[word]}")
        if re.search(r"[A-Z]|__", family):
            self.complain(f"{family} is not in snake_case")
        if kind in family.split("_") and kind != "info":
            self.complain(f"{family} has its type in its name")
        if not self.sample_names(family) & self.names():
            self.complain(f"{family} has no sample")
        for (name, labels), value in self.samples.items():
            if name in self.sample_names(family) and kind in ("counter", "histogram") and value < 0:
                self.complain(f"{name}{labels} is negative")
        if kind == "histogram":
            self.check_histogram(family)

    def check_histogram(self, family):
        series = {}
        for (name, labels), value in self.samples.items():
            if name == f"{family}_bucket":
                bound = float(dict(labels)["le"])
                rest = tuple(label for label in labels if label[0] != "le")
                series.setdefault(rest, []).append((bound, value))
        for labels, buckets in series.items():
            bounds, counts = zip(*buckets)
            if list(bounds) != sorted(set(bounds)) or bounds[-1] != float("inf"):
                self.complain(f"the bounds of {family}{labels} do not rise to +Inf")
            if list(counts) != sorted(counts):
                self.complain(f"the buckets of {family}{labels} are not cumulative")
            if self.samples.get((f"{family}_count", labels)) != counts[-1]:
                self.complain(f"{family}_count{labels} is not what is in +Inf")
            if (f"{family}_sum", labels) not in self.samples:
                self.complain(f"{family}_sum{labels} is missing")


def names_in(expression):
    """The metric names in a PromQL expression: words that are not a function, label, keyword or duration."""
    expression = re.sub(r'"[^"]*"', '""', expression)
    expression = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", expression)
    expression = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    words = re.findall(rf"(?<![\w.])({NAME}(?::{NAME})*)\b(?!\s*\()", expression)
    return {word for word in words if word not in ("and", "or", "unless", "bool", "offset", "by", "without", "inf")}
