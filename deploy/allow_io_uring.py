#!/usr/bin/env python3
"""Adds the three calls of io_uring to the seccomp profile of a container runtime.

Reads the profile that the runtime uses by default, and writes it with io_uring_setup, io_uring_enter
and io_uring_register allowed. Everything else stays as it was; a second run changes nothing more.
docs/guides/deployment.md says where the default profile is, and how to use the result.
"""

import argparse
import json
import os
import platform
import sys

CALLS = ("io_uring_setup", "io_uring_enter", "io_uring_register")
ALLOW = "SCMP_ACT_ALLOW"

# What Go, and therefore a profile, calls the machines of uname -m; and libseccomp's name for each.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}

# The oldest kernel that ringlet runs on: rules for newer ones are left out of a flat profile.
OLDEST_KERNEL = (5, 11)


class BadProfile(Exception):
    """Says in one line why the input is no seccomp profile."""


def read_profile(data):
    """The profile in these bytes."""
    try:
        profile = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadProfile(f"not JSON: {error}") from None
    if not isinstance(profile, dict):
        raise BadProfile("no seccomp profile: its outermost value is no object")
    if not isinstance(profile.get("defaultAction"), str):
        raise BadProfile('no seccomp profile: it has no "defaultAction"')
    rules = profile.get("syscalls")
    if not isinstance(rules, list):
        raise BadProfile('no seccomp profile: it has no list "syscalls"')
    for number, rule in enumerate(rules):
        if not is_rule(rule):
            raise BadProfile(f'no seccomp profile: entry {number} of "syscalls" is no rule')
    return profile


def is_rule(rule):
    return (isinstance(rule, dict) and isinstance(rule.get("action"), str)
            and (is_list_of_text(rule.get("names")) or isinstance(rule.get("name"), str)))


def is_list_of_text(value):
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def allow_io_uring(profile):
    """The profile, in which one rule of its own decides over the three calls: they are allowed."""
    rules = [rule for rule in map(without_our_calls, profile["syscalls"]) if rule]
    if profile["defaultAction"] != ALLOW:
        rules.append({"names": list(CALLS), "action": ALLOW})
    return {**profile, "syscalls": rules}


def without_our_calls(rule):
    """The rule for all other calls, or None if it has no other. Two rules for a call would clash."""
    if "names" not in rule:  # as profiles were written until Docker 1.12
        return None if rule["name"] in CALLS else rule
    others = [name for name in rule["names"] if name not in CALLS]
    if len(others) == len(rule["names"]):
        return rule
    return {**rule, "names": others} if others else None


def flatten(profile, arch):
    """The profile as a container without capabilities gets it on this architecture.

    Docker, Podman and CRI-O read conditions (includes, excludes, archMap) and apply them. containerd
    reads the profile of a pod as the OCI runtime specification has it, which knows none: a rule for
    the administrator would become a rule for everyone.
    """
    flat = {key: value for key, value in profile.items() if key not in ("archMap", "syscalls")}
    for entry in profile.get("archMap") or []:
        if entry["architecture"] == ARCHITECTURES[arch]:
            flat["architectures"] = [entry["architecture"], *(entry["subArchitectures"] or [])]
    flat["syscalls"] = [
        {key: value for key, value in rule.items() if key not in ("includes", "excludes", "comment")}
        for rule in profile["syscalls"] if applies(rule, arch)]
    return flat


def applies(rule, arch):
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("caps") or arch in (excludes.get("arches") or []):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    return has_kernel(includes, "0") and not has_kernel(excludes, "999")


def has_kernel(condition, default):
    wanted = condition.get("minKernel") or default
    return tuple(int(part) for part in wanted.split(".")) <= OLDEST_KERNEL


def parse_arguments():
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Adds io_uring_setup, io_uring_enter and io_uring_register to a seccomp profile "
                    "and writes the result to stdout.",
        epilog="Exit status: 0, or as in sysexits(3): 65 if the input is no profile, 66 if it cannot "
               "be read.")
    parser.add_argument("profile", nargs="?", default="-", metavar="PROFILE",
                        help="the default profile of the container runtime; -, the default: stdin")
    parser.add_argument("--flat", action="store_true",
                        help="also work out the conditions in the profile, for a container without "
                             "capabilities: needed for Kubernetes on containerd, which ignores them")
    machine = platform.machine()
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES),
                        default=MACHINES.get(machine, machine),
                        help="the nodes' architecture, for --flat; default: that of this machine")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    name = "stdin" if arguments.profile == "-" else arguments.profile
    try:
        if arguments.profile == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(arguments.profile, "rb") as file:
                data = file.read()
    except OSError as error:
        print(f"allow_io_uring.py: {name}: {error.strerror}", file=sys.stderr)
        return os.EX_NOINPUT
    try:
        profile = read_profile(data)
        if arguments.flat:
            profile = flat_or_bad(profile, arguments.arch)
    except BadProfile as error:
        print(f"allow_io_uring.py: {name}: {error}", file=sys.stderr)
        return os.EX_DATAERR
    print(json.dumps(allow_io_uring(profile), indent=4))
    return os.EX_OK


def flat_or_bad(profile, arch):
    try:
        return flatten(profile, arch)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadProfile(f"conditions of a kind that is not known: {error!r}") from None


if __name__ == "__main__":
    sys.exit(main())
