"""A separate systemd that manages services like a machine's own: a user instance, as root, in namespaces.

Its files are in a folder of the test and its processes in a PID namespace, so nothing is left behind.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

from programs import PATIENCE_SECONDS, run, wait_until

# It checks that this machine was booted with systemd, and needs a folder for its sockets.
SCRIPT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" &&
/lib/systemd/systemd --user & wait
"""


def why_no_systemd():
    """Why it is impossible here, or an empty string."""
    missing = [name for name in ("/lib/systemd/systemd", "unshare", "nsenter", "systemctl") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is missing: install the package systemd"
    try:
        with Systemd():
            return ""
    except (AssertionError, OSError) as failure:
        return f"no systemd of its own here: {failure}"


class Systemd:
    def __enter__(self):
        self.files = tempfile.TemporaryDirectory(prefix="ringlet-systemd-")
        self.folder = pathlib.Path(self.files.name)
        self.units = self.folder / "systemd/user"
        self.units.mkdir(parents=True)
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": "/run/user", "XDG_CONFIG_HOME": str(self.folder),
                            "HOME": str(self.folder)}  # fmt: skip
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.log = open(self.folder / "systemd.log", "w+")
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT]
        self.process = subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            wait_until(lambda: self.process.poll() is not None or self.answers(), "systemd to answer")
            if self.process.poll() is not None:
                raise AssertionError("it ended: " + pathlib.Path(self.log.name).read_text()[-300:].strip())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.systemctl("exit", check=False)
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.log.close()
        self.files.cleanup()

    def answers(self):
        return self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def systemctl(self, *words, check=True):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(words, 1, "", "")
        enter = ["nsenter", "--target", children[0], "--mount", "--pid"]
        ended = run(*enter, "systemctl", "--user", *words, env=self.environment)
        if check and ended.returncode != 0:
            raise AssertionError(f"systemctl {' '.join(words)}: {ended.stderr}")
        return ended

    def unit(self, name, text):
        (self.units / name).write_text(text)
        self.systemctl("daemon-reload")

    def shows(self, unit, *properties):
        """The values of these properties, in this order."""
        told = dict(line.partition("=")[::2] for line in self.systemctl("show", unit).stdout.splitlines())
        return [told.get(name, "") for name in properties]  # systemctl leaves out empty ones
