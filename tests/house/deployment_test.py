"""What docs/guides/deployment.md and the files in deploy promise to operators: the script that opens a seccomp
profile, the systemd unit, the Kubernetes file, and that the page names only existing files."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("RINGLET_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parents[2])).resolve()
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs/guides/deployment.md"
CALLS = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
BAD_DATA, NO_INPUT = 65, 66  # sysexits(3)
EXPOSURE_LIMIT = 1.5  # 10 is the worst


def sample_profile():
    """A small profile with each kind of rule and condition that default profiles have."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "all"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["later"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
            {"names": ["earlier"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
            {"names": ["clone3"], "action": "SCMP_ACT_ALLOW",
             "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["s390x"]}},
        ],
    }


def actions(profile, call):
    """The actions of all rules that name the call, in either form."""
    return [rule["action"] for rule in profile["syscalls"]
            if call in rule.get("names", [rule.get("name")])]


class AllowIoUring(unittest.TestCase):
    def run_script(self, data, *options):
        if not isinstance(data, (str, bytes)):
            data = json.dumps(data)
        return subprocess.run([sys.executable, DEPLOY / "allow_io_uring.py", *options],
                              input=data.encode() if isinstance(data, str) else data,
                              capture_output=True, timeout=60, check=False)

    def written(self, data, *options):
        ended = self.run_script(data, *options)
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))
        return json.loads(ended.stdout)

    def refuses(self, status, words, ended):
        """Checks that it exits with the status, prints one line with the words, and writes no profile."""
        said = ended.stderr.decode()
        self.assertEqual((ended.returncode, ended.stdout), (status, b""), said)
        self.assertRegex(said, rf"\Aallow_io_uring\.py: [^\n]*{words}[^\n]*\n\Z")

    def test_adds_the_three_calls_and_nothing_else(self):
        before = sample_profile()
        after = self.written(before)
        self.assertEqual(after["syscalls"][-1], {"names": CALLS, "action": "SCMP_ACT_ALLOW"})
        after["syscalls"].pop()
        self.assertEqual(after, before)

    def test_file_and_stdin_give_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "default.json")
            path.write_text(json.dumps(sample_profile()))
            self.assertEqual(self.written("", path), self.written(sample_profile()))
            self.assertEqual(self.written(sample_profile(), "-"), self.written("", path))

    def test_twice_gives_the_same(self):
        for options in ((), ("--flat", "--arch", "amd64")):
            with self.subTest(options):
                once = self.run_script(sample_profile(), *options).stdout
                self.assertEqual(self.run_script(once, *options).stdout, once)
                self.assertEqual(once.count(b"io_uring_setup"), 1)

    def test_rules_that_refuse_the_calls_go(self):
        profile = sample_profile()
        profile["syscalls"] += [
            {"names": ["bpf", "io_uring_setup"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["io_uring_enter"], "action": "SCMP_ACT_KILL"},
            {"name": "io_uring_register", "action": "SCMP_ACT_ERRNO"},
        ]
        for default, expected in (("SCMP_ACT_ERRNO", ["SCMP_ACT_ALLOW"]), ("SCMP_ACT_ALLOW", [])):
            with self.subTest(default):
                after = self.written({**profile, "defaultAction": default})
                self.assertEqual([actions(after, call) for call in CALLS], [expected] * 3)
                self.assertEqual(actions(after, "bpf"), ["SCMP_ACT_ERRNO"])

    def test_flat_has_no_conditions(self):
        flat = self.written(sample_profile(), "--flat", "--arch", "amd64")
        keys = {key for rule in flat["syscalls"] for key in rule}
        self.assertLessEqual(keys, {"names", "action", "args", "errnoRet"})
        self.assertNotIn("archMap", flat)
        self.assertEqual(flat["architectures"], ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
        self.assertEqual([rule["names"] for rule in flat["syscalls"]],
                         [["read", "write"], ["ptrace"], ["clone3"], ["arch_prctl"], ["clone"], CALLS])
        self.assertEqual(actions(flat, "clone3"), ["SCMP_ACT_ERRNO"])

    def test_flat_is_for_one_architecture(self):
        def allowed(arch):
            flat = self.written(sample_profile(), "--flat", "--arch", arch)
            return flat.get("architectures"), *(actions(flat, c) for c in ("arch_prctl", "clone"))

        yes = ["SCMP_ACT_ALLOW"]
        self.assertEqual(allowed("riscv64"), (["SCMP_ARCH_RISCV64"], [], yes))
        self.assertEqual(allowed("s390x"), (None, [], []))

    def test_bad_json(self):
        for data in ("", "no JSON", '{"defaultAction": ', b"\xff\xfe\xfd", "[" * 100_000):
            with self.subTest(data[:20]):
                self.refuses(BAD_DATA, "stdin: not JSON: ", self.run_script(data))

    def test_json_that_is_no_profile(self):
        good = sample_profile()
        for data, words in (
                ([good], "no object"),
                ({"syscalls": []}, "defaultAction"),
                ({"defaultAction": "SCMP_ACT_ERRNO"}, "syscalls"),
                ({**good, "syscalls": {}}, "syscalls"),
                ({**good, "syscalls": [*good["syscalls"], {"names": ["a"]}]}, "entry 8 "),
                ({**good, "syscalls": [{"names": "a", "action": "b"}]}, "entry 0 ")):
            with self.subTest(words):
                self.refuses(BAD_DATA, f"no seccomp profile: .*{words}", self.run_script(data))

    def test_conditions_that_are_not_known(self):
        for rule in ({"includes": {"minKernel": "six"}}, {"includes": ["all"]}, {"excludes": {"arches": 1}}):
            with self.subTest(rule):
                profile = sample_profile()
                profile["syscalls"].append({"names": ["a"], "action": "SCMP_ACT_ALLOW", **rule})
                ended = self.run_script(profile, "--flat", "--arch", "amd64")
                self.refuses(BAD_DATA, "conditions of a kind that is not known", ended)
                self.written(profile)  # the runtime evaluates them

    def test_file_that_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            ended = self.run_script("", pathlib.Path(folder, "none.json"))
            self.refuses(NO_INPUT, "none.json: No such file", ended)
            self.refuses(NO_INPUT, "Is a directory", self.run_script("", folder))

    def test_help(self):
        ended = self.run_script("", "--help")
        self.assertEqual(ended.returncode, 0)
        for word in ("PROFILE", "--flat", "--arch", *CALLS):
            self.assertIn(word, ended.stdout.decode())
        self.assertTrue(os.access(DEPLOY / "allow_io_uring.py", os.X_OK))


def seconds(text):
    match = re.fullmatch(r"(\d+)s", text)
    if not match:
        raise AssertionError(f"{text} is no number of seconds")
    return int(match[1])


def drain_seconds(command):
    return seconds(re.search(r"--drain-timeout[ =](\S+)", command)[1])


class Unit(unittest.TestCase):
    text = (DEPLOY / "echo_coro.service").read_text()

    def values(self, key):
        return re.findall(rf"^{key}=(.*)$", self.text, re.MULTILINE)

    def analyze(self, *arguments):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is missing: install the package systemd")
        return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True,
                              timeout=60, check=False)

    def test_exposure_is_low(self):
        ended = self.analyze("security", "--offline=yes", str(DEPLOY / "echo_coro.service"))
        if "unrecognized option" in ended.stderr:
            self.skipTest("systemd-analyze is older than 250: it knows no --offline")
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
        self.assertIsNotNone(exposure, ended.stdout + ended.stderr)
        self.assertLessEqual(float(exposure[1]), EXPOSURE_LIMIT)

    def test_systemd_understands_every_line(self):
        """With an existing program in place of the one that is not installed."""
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder, "echo_coro.service")
            copy.write_text(self.text.replace("/usr/local/bin/echo_coro", shutil.which("true")))
            ended = self.analyze("verify", str(copy))
        about_us = [line for line in ended.stderr.splitlines() if "echo_coro" in line]
        self.assertEqual(about_us, [], ended.stderr)

    def test_stops_later_than_the_drain_ends(self):
        command, = self.values("ExecStart")
        self.assertEqual(self.values("KillSignal"), ["SIGTERM"])
        self.assertGreater(seconds(*self.values("TimeoutStopSec")), drain_seconds(command))

    def test_allows_io_uring(self):
        allowed, removed = self.values("SystemCallFilter")
        self.assertEqual(allowed.split(), ["@system-service", *CALLS])
        self.assertTrue(removed.startswith("~"))
        self.assertEqual(self.values("SystemCallErrorNumber"), ["EPERM"])
        self.assertNotIn("\nProcSubset=", self.text)

    def test_port_may_be_bound(self):
        port = re.search(r"--port (\d+)", *self.values("ExecStart"))[1]
        self.assertEqual(self.values("SocketBindAllow"), [f"tcp:{port}"])

    def test_the_page_explains_the_lines(self):
        page = PAGE.read_text()
        for named in re.findall(r"`(\w+)=([^`]*)`", page.split("## systemd")[1].split("\n## ")[0]):
            key, value = named
            if key in ("StateDirectory", "ReadWritePaths", "ProcSubset", "SystemCallFilter"):
                continue  # optional lines, and those that test_allows_io_uring checks
            self.assertIn(value, self.values(key), named)


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try:
            import yaml  # not in the standard library
        except ImportError:
            raise unittest.SkipTest("PyYAML is missing: install the package python3-yaml") from None
        cls.deployment, cls.service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
        cls.autoscaler, cls.budget = yaml.safe_load_all((DEPLOY / "kubernetes_autoscaler.yaml").read_text())
        cls.pod = cls.deployment["spec"]["template"]["spec"]
        cls.container, = cls.pod["containers"]

    def test_is_a_deployment_that_finds_its_pods(self):
        self.assertEqual((self.deployment["apiVersion"], self.deployment["kind"]),
                         ("apps/v1", "Deployment"))
        self.assertEqual(self.deployment["spec"]["selector"]["matchLabels"],
                         self.deployment["spec"]["template"]["metadata"]["labels"])

    def test_has_few_rights(self):
        pod, container = self.pod["securityContext"], self.container["securityContext"]
        self.assertIs(pod["runAsNonRoot"], True)
        self.assertGreater(pod["runAsUser"], 0)
        self.assertIs(container["readOnlyRootFilesystem"], True)
        self.assertIs(container["allowPrivilegeEscalation"], False)
        self.assertEqual(container["capabilities"], {"drop": ["ALL"]})

    def test_profile_is_where_the_page_puts_it(self):
        profile = self.pod["securityContext"]["seccompProfile"]
        self.assertEqual(profile["type"], "Localhost")
        self.assertIn(f"/var/lib/kubelet/seccomp/{profile['localhostProfile']}\n", PAGE.read_text())

    def test_stops_later_than_the_drain_ends(self):
        drain = drain_seconds(" ".join(self.container["args"]))
        pause = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = self.pod["terminationGracePeriodSeconds"]
        self.assertGreater(grace, drain + pause)
        for promise in (f"terminationGracePeriodSeconds: {grace}", f"({pause} s)", f"({drain} s)"):
            self.assertIn(promise, PAGE.read_text())

    def test_is_asked_at_the_port_it_listens_on(self):
        port, metrics = self.container["ports"]
        self.assertIn(f"--port={port['containerPort']}", self.container["args"])
        self.assertIn("--host=0.0.0.0", self.container["args"])
        self.assertIn(f"--metrics=0.0.0.0:{metrics['containerPort']}", self.container["args"])
        for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            self.assertEqual(self.container[probe]["httpGet"], {"path": path, "port": metrics["name"]})
        self.assertEqual(self.service["spec"]["ports"][0]["targetPort"], port["name"])

    def test_all_speak_of_the_same_pods(self):
        labels = self.deployment["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(self.service["spec"]["selector"], labels)
        self.assertEqual(self.budget["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(self.autoscaler["spec"]["scaleTargetRef"]["name"], self.deployment["metadata"]["name"])

    def test_grows_before_a_pod_is_full(self):
        metric, = self.autoscaler["spec"]["metrics"]
        self.assertEqual(metric["pods"]["metric"]["name"], "ringlet_connections")
        limit = re.search(r"--max-connections=(\d+)", " ".join(self.container["args"]))[1]
        self.assertLess(int(metric["pods"]["target"]["averageValue"]), int(limit))

    def test_has_resources(self):
        for kind in ("requests", "limits"):
            self.assertEqual(set(self.container["resources"][kind]), {"cpu", "memory"})


class Page(unittest.TestCase):
    def test_files_that_it_names_exist(self):
        named = set(re.findall(r"\b(?:deploy|docs|src|tests|examples|bench)/[\w./-]*\w", PAGE.read_text()))
        named = {path for path in named if not path.startswith("src/server/echo_coro")}  # build/...
        self.assertGreaterEqual(len(named), 3)
        self.assertEqual([path for path in sorted(named) if not (ROOT / path).exists()], [])

    def test_names_every_file_of_deploy(self):
        pages = PAGE.read_text() + (ROOT / "docs/guides/operations.md").read_text()
        for path in sorted(DEPLOY.iterdir()):
            if path.name != "__pycache__":
                self.assertIn(f"deploy/{path.name}", pages)

    def test_quotes_what_ringlet_says(self):
        """The messages in its table are prefixes of those in error.cpp."""
        source = (ROOT / "src/runtime/base/error.cpp").read_text()
        said = re.sub(r'"\s+"', "", source)
        quoted = re.findall(r"`((?:io_uring is|this kernel|this sandbox|not enough)[^`]*)`", PAGE.read_text())
        self.assertGreaterEqual(len(quoted), 6)
        self.assertEqual([words for words in quoted if words not in said], [])


if __name__ == "__main__":
    unittest.main()
