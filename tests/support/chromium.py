"""A headless Chromium, controlled through a pipe: no port, no network, no library."""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

PATIENCE_SECONDS = 60
CLOSE_SECONDS = 10
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage",
    "--disable-breakpad", "--disable-crash-reporter",
    "--no-sandbox",  # needed as root and in containers; only our own files are opened
    "--remote-debugging-pipe",
)  # fmt: skip


class Unavailable(Exception):
    """Chromium is missing or does not work; the message says what to install."""


def find():
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        raise Unavailable("Chromium is missing: install the package chromium")
    return program


class Browser:
    """One page. `with` ends the browser and removes its files."""

    def __init__(self):
        program = find()
        self.folder = tempfile.TemporaryDirectory(prefix="ringlet-report-", ignore_cleanup_errors=True)
        theirs_in, self.commands = os.pipe()
        self.answers, theirs_out = os.pipe()

        def at_3_and_4():  # where Chromium expects its pipe
            high = [os.dup2(end, number) for end, number in ((theirs_in, 103), (theirs_out, 104))]
            for end, number in zip(high, (3, 4)):
                os.dup2(end, number)
                os.close(end)

        self.process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={self.folder.name}", "about:blank"], close_fds=False,
            start_new_session=True, env={**os.environ, "XDG_CONFIG_HOME": self.folder.name},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=at_3_and_4,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.count, self.unread, self.events, self.session = 0, b"", [], None
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Unavailable, OSError, subprocess.TimeoutExpired):
            self.session = None
            self.ask("Browser.close")
            self.process.wait(CLOSE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # and its child processes
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        self.folder.cleanup()

    def read(self):
        """The next message; events are also kept."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self.unread:
            if not select.select([self.answers], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Unavailable(f"Chromium did not answer within {PATIENCE_SECONDS} s")
            some = os.read(self.answers, 1 << 20)
            if not some:
                raise Unavailable(f"Chromium ended with status {self.process.wait()}")
            self.unread += some
        text, self.unread = self.unread.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def ask(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        try:
            os.write(self.commands, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise Unavailable(f"Chromium ended with status {self.process.wait()}") from None
        while True:
            answer = self.read()
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise Unavailable(f"Chromium refuses {method}: {answer['error']['message']}")
                return answer["result"]

    def resize(self, width, height=900, scale=1):
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def use(self, scheme="light", media=""):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, path):
        self.events.clear()
        failed = self.ask("Page.navigate", url=path.resolve().as_uri()).get("errorText")
        if failed:
            raise Unavailable(f"Chromium could not open {path}: {failed}")
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.read()

    def evaluate(self, expression):
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise Unavailable(f"a script failed: {told['exceptionDetails']['text']}")
        return told["result"].get("value")

    def screenshot(self):
        """The whole page, as the bytes of a PNG."""
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(told["data"])
