"""Load from several machines, here network namespaces: each runs what a pod of deploy/kubernetes_load.yaml would
run, all begin at the same moment, and their results are merged."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from machines import Machines, why_no_machines
from programs import ECHO_BENCH, ECHO_CORO, PATIENCE_SECONDS, ROOT, Program, run

try:
    import yaml
except ImportError:
    yaml = None

CLIENTS = 3
TOO_LATE = 75  # EX_TEMPFAIL of sysexits(3)
WHY_NOT = why_no_machines() if yaml else "PyYAML is missing: install the package python3-yaml"


def container():
    job = yaml.safe_load((ROOT / "deploy/kubernetes_load.yaml").read_text())
    return job["spec"]["template"]["spec"]["containers"][0]


@unittest.skipIf(WHY_NOT, WHY_NOT)
class ManyMachines(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-machines-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def pod(self, machine, index, start, *arguments):
        """The command that the Job would run there; its stdout and termination message go to files."""
        pod = container()
        known = {"START": str(start), "REPORT": str(self.folder / f"report{index}")}
        self.assertEqual([one["name"] for one in pod["env"]], list(known))
        script = [word.replace("/usr/local/bin/echo_bench", str(ECHO_BENCH)) for word in pod["command"]]
        self.assertNotEqual(script, pod["command"])
        with open(self.folder / f"{index}.json", "w") as printed:
            return subprocess.Popen(machine.on(*script, *arguments), stdin=subprocess.DEVNULL, stdout=printed,
                                    env={**os.environ, **known, "JOB_COMPLETION_INDEX": str(index)})

    def test_load_of_three_machines_is_merged(self):
        with Machines(1 + CLIENTS) as (on_server, *on_clients):
            with Program(*on_server.on(ECHO_CORO, "--host", on_server.address, "--port", 3200, "--drain-timeout", "2s")) as server:
                server.line()
                load = ["-t", "20", "--warmup", "1s", "--duration", "3s", f"{on_server.address}:3200"]
                start = int(time.time()) + 3
                pods = [self.pod(machine, index, start, *load) for index, machine in enumerate(on_clients)]
                for index, pod in enumerate(pods):
                    self.assertEqual(pod.wait(PATIENCE_SECONDS), 0, (self.folder / f"report{index}").read_text())
                server.process.send_signal(signal.SIGTERM)
                server.wait()
                served = int(re.search(r"stopped: (\d+)", server.rest())[1])
        self.merged([self.folder / f"{index}.json" for index in range(CLIENTS)], start, served)

    def merged(self, paths, start, served):
        everything = self.folder / "all.json"
        ended = run(ECHO_BENCH, "merge", *paths, "--json", everything)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertNotIn("no moment in which all clients measured", ended.stderr)
        told = json.loads(everything.read_text())
        each = [json.loads(path.read_text())["total"] for path in paths]
        self.assertEqual(told["total"]["requests"], sum(one["requests"] for one in each))
        self.assertEqual(told["total"]["errors"], 0)
        self.assertGreater(min(one["requests"] for one in each), 0)
        self.assertEqual(len(told["runs"]), CLIENTS)
        self.assertGreaterEqual(min(one["began_unix_s"] for one in told["runs"]), start)
        self.assertGreaterEqual(served, 20 * CLIENTS)

    def test_who_comes_too_late_does_not_measure_alone(self):
        with Machines(1) as (machine,):
            start = int(time.time())
            self.assertEqual(self.pod(machine, 2, start, machine.address).wait(PATIENCE_SECONDS), TOO_LATE)
        self.assertRegex((self.folder / "report2").read_text(), rf"\Apod 2 came too late: it is \d+, .* at {start}\n\Z")
        self.assertEqual((self.folder / "2.json").read_text(), "")


if __name__ == "__main__":
    unittest.main()
