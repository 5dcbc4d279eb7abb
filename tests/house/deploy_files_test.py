"""The files in deploy that other programs read: those programs accept them without complaint."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("RINGLET_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2])).resolve()
DEPLOY = ROOT / "deploy"
STREAM_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian: libnginx-mod-stream
PROGRAM = "/usr/local/bin/echo_coro"


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


class Units(unittest.TestCase):
    def text(self, name):
        return (DEPLOY / name).read_text()

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing: install the package systemd")
    def test_systemd_understands_every_line(self):
        """With an existing program in place of the one that is not installed."""
        self.verify({})

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing: install the package systemd")
    def test_systemd_understands_the_other_way_to_reload(self):
        version = int(re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])
        if version < 253:
            self.skipTest(f"systemd {version} is older than 253: it knows no Type=notify-reload")
        self.verify({"Type=notify\n": "Type=notify-reload\n", "ExecReload=/bin/kill -HUP $MAINPID\n": ""})

    def verify(self, changes):
        with tempfile.TemporaryDirectory() as folder:
            names = [path.name for path in sorted(DEPLOY.iterdir()) if path.suffix in (".service", ".socket")]
            self.assertEqual(len(names), 3)
            for name in names:
                text = self.text(name).replace(PROGRAM, shutil.which("true"))
                for before, after in changes.items():
                    text = text.replace(before, after)
                pathlib.Path(folder, name).write_text(text)
            ended = run("systemd-analyze", "verify", *(f"{folder}/{name}" for name in names))
        self.assertEqual([line for line in ended.stderr.splitlines() if "echo_coro" in line], [], ended.stderr)

    def test_both_services_tell_systemd_how_they_are(self):
        for name in ("echo_coro.service", "echo_coro_activated.service"):
            for line in ("Type=notify", "NotifyAccess=main", "WatchdogSec=30s", "Restart=on-failure",
                         "ExecReload=/bin/kill -HUP $MAINPID"):
                self.assertIn(f"\n{line}\n", self.text(name), name)
            self.assertRegex(self.text(name), r"\nRestrictAddressFamilies=.*\bAF_UNIX\b")

    def test_the_socket_unit_belongs_to_its_service(self):
        service, sockets = self.text("echo_coro_activated.service"), self.text("echo_coro_activated.socket")
        self.assertIn("--listen fd: ", service)
        self.assertIn("\nRequires=echo_coro_activated.socket\n", service)
        self.assertIn("\nAccept=no\n", sockets)

    def test_both_services_are_hardened_alike(self):
        def lines(name):
            text = self.text(name).split("# ---- who it is")[1].split("[Install]")[0]
            return {line for line in text.splitlines() if re.match(r"\w+=", line)}

        own, activated = lines("echo_coro.service"), lines("echo_coro_activated.service")
        self.assertEqual({line.split("=")[0] for line in own ^ activated},
                         {"RestrictAddressFamilies", "SocketBindAllow", "PrivateNetwork"})


class Proxies(unittest.TestCase):
    @unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
    def test_haproxy_finds_nothing(self):
        ended = run("haproxy", "-c", "-f", DEPLOY / "haproxy.cfg")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertNotRegex(ended.stdout + ended.stderr, "WARNING|ALERT")

    @unittest.skipUnless(shutil.which("nginx") and STREAM_MODULE.exists(),
                         "nginx with its stream module (libnginx-mod-stream) is not installed")
    def test_nginx_finds_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "nginx.conf")
            text, count = re.subn(r"^include .*$", f"load_module {STREAM_MODULE};", (DEPLOY / "nginx.conf").read_text(),
                                  flags=re.MULTILINE)
            self.assertEqual(count, 1)
            file.write_text(text)
            ended = run("nginx", "-t", "-p", folder, "-c", file, "-g", f"pid {folder}/pid; error_log {folder}/log;")
            self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_servers_of_both_are_the_same(self):
        names = [re.findall(r"server\s.*?(10\.0\.0\.\d+:\d+)", (DEPLOY / name).read_text())
                 for name in ("haproxy.cfg", "nginx.conf")]
        self.assertEqual(len(names[0]), 3)
        self.assertEqual(*names)


if __name__ == "__main__":
    unittest.main()
