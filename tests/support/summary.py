"""Summarises ctest's JUnit files.

summary.py FILE.xml FILE.log    one preset: a line, and the output of each test that failed
summary.py --total FOLDER       all presets: why tests were skipped, and the line that counts
"""

import collections
import pathlib
import re
import sys
import xml.etree.ElementTree


LONGEST_OUTPUT_LINES = 300  # of a failed program


def programs(path):
    """Yields (name, status, output) for each program that ctest ran; status is passed, failed or skipped."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        output = case.findtext("system-out") or ""
        if case.find("failure") is not None or case.get("status") == "fail":
            status = "failed"
        elif case.find("skipped") is not None:
            status = "skipped"
        else:
            status = "passed"
        yield case.get("name"), status, output


def read(path):
    """Yields (name, status, reason) for each case. A program that names its cases counts as these, plus a failed one
    if it failed without naming one; any other program counts as one."""
    for program, ended, output in programs(path):
        cases = re.findall(r"^::case (passed|failed|skipped) (.*)$", output, re.MULTILINE)
        for status, name in cases:
            name, _, why = name.partition(" :: ")
            yield f"{program}: {name}", status, why or "no reason given"
        if not cases or (ended == "failed" and "failed" not in {status for status, _ in cases}):
            yield program, ended, reason(output)


def shortened(output):
    lines = [line for line in output.splitlines() if not line.startswith(("::case passed", "::case skipped"))]
    return "\n".join(lines[-LONGEST_OUTPUT_LINES:])


def reason(output):
    for line in output.splitlines():
        if line.startswith("SKIP: "):
            return line.removeprefix("SKIP: ")
    return "no reason given"


def one(xml_path, log_path):
    if not xml_path.exists():
        print(log_path.read_text(errors="replace"))
        print("ctest wrote no result")
        return
    counts = collections.Counter()
    for name, status, output in programs(xml_path):
        if status == "failed":
            print(f"-- FAILED: {name}\n{shortened(output)}")
    for _, status, _ in read(xml_path):
        counts[status] += 1
    print(f"== {xml_path.stem}: {counts['passed']} passed, {counts['failed']} failed, "
          f"{counts['skipped']} skipped")


def total(folder):
    counts = collections.Counter()
    skipped = collections.defaultdict(list)
    failed = []
    for path in sorted(folder.glob("*.xml")):
        for name, status, why in read(path):
            counts[status] += 1
            if status == "skipped":
                skipped[why].append(f"{path.stem}: {name}")
            elif status == "failed":
                failed.append(f"{path.stem}: {name}")
    for path in sorted(folder.glob("*.skipped")):
        counts["skipped"] += 1
        skipped[path.read_text().strip().removeprefix("SKIP: ")].append(path.stem)
    for path in sorted(folder.glob("*.failed")):
        counts["failed"] += 1
        failed.append(path.read_text().strip())
    for log in sorted(folder.glob("*.log")):
        if not log.name.endswith(".build.log") and not log.with_suffix(".xml").exists():
            counts["failed"] += 1
            failed.append(f"{log.stem}: ctest wrote no result")
    for why, names in sorted(skipped.items()):
        print(f"skipped, {len(names)} tests: {why}\n    " + "\n    ".join(names[:3])
              + (f"\n    and {len(names) - 3} more" if len(names) > 3 else ""))
    for name in failed:
        print(f"FAILED {name}")
    if (folder / "times").exists():
        print("\n".join(f"took {line}" for line in (folder / "times").read_text().splitlines()))
    if counts["passed"] == 0:
        counts["failed"] += 1
        print("no test passed: nothing was tested")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if sys.argv[1] == "--total":
    sys.exit(total(pathlib.Path(sys.argv[2])))
one(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
