"""Makes a page from the results of the lab: text, charts and tables, in one file."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))
import page
import results as lab_results

USAGE, WRONG_DATA, NO_INPUT, CANNOT_CREATE = 64, 65, 66, 73
PATIENCE_SECONDS = 60
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage",
    "--disable-breakpad", "--disable-crash-reporter",
    "--no-sandbox",  # needed by root and in containers; only files of our own are opened
)  # fmt: skip
PNG_SCALE = 2  # pixels for each unit of a drawing: sharp in print

EPILOG = """\
writes into DIR:
  report.html       the page; it needs no other file, no script and no network
  charts/NAME.svg   each chart by itself
  charts/NAME.png   the same as PNG, if Chromium is installed

A figure that RESULTS.json does not have is left out; a chart without figures says so in its place.

exit status: 0; 64 wrong usage; 65 RESULTS.json is not what the lab writes; 66 it cannot be read;
73 DIR cannot be written.
"""


def read_options(arguments):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            self.exit(USAGE, f"report: {message}; --help explains the options\n")

    parser = Parser(prog="benchmark.sh report", description=__doc__, epilog=EPILOG, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "results", type=pathlib.Path, metavar="RESULTS.json", help="the results of the lab"
    )
    parser.add_argument(
        "-o", "--output", type=pathlib.Path, metavar="DIR", required=True, help="where to write; made if missing"
    )
    return parser.parse_args(arguments)


def fail(status, text):
    print(f"report: {text}", file=sys.stderr)
    sys.exit(status)


def read(path):
    try:
        return lab_results.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(NO_INPUT, f"{path}: {error.strerror}")
    except UnicodeDecodeError:
        fail(WRONG_DATA, f"{path}: this is no text")
    except lab_results.WrongResults as wrong:
        fail(WRONG_DATA, f"{path}: {wrong}")


def write(folder, results):
    """The page and the drawings; returns the files of the drawings with their sizes."""
    drawn = page.all_charts(results)
    files = {}
    (folder / "charts").mkdir(parents=True, exist_ok=True)
    for name, chart in drawn.items():
        for old in (folder / "charts").glob(f"{name}.*"):  # another run's drawing must not pass for this one's
            old.unlink()
        if chart.drawing:
            path = folder / "charts" / f"{name}.svg"
            path.write_text(page.alone(chart.drawing), encoding="utf-8")
            files[path] = chart.drawing.size_alone()
    (folder / "report.html").write_text(page.page(results, drawn), encoding="utf-8")
    return files


class NoPictures(Exception):
    """Why no PNG could be made."""


def photograph(files):
    """Lets Chromium draw each file into a PNG beside it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        raise NoPictures("Chromium is missing: install the package chromium")
    with tempfile.TemporaryDirectory(prefix="ringlet-report-", ignore_cleanup_errors=True) as folder:
        for path, (width, height) in files.items():
            picture = path.with_suffix(".png")
            command = [program, *OPTIONS, f"--user-data-dir={folder}", f"--force-device-scale-factor={PNG_SCALE}",
                       f"--window-size={width},{height}", f"--screenshot={picture.resolve()}", path.resolve().as_uri()]  # fmt: skip
            try:
                ended = subprocess.run(command, env={**os.environ, "XDG_CONFIG_HOME": folder}, timeout=PATIENCE_SECONDS,
                                       stdin=subprocess.DEVNULL, capture_output=True, check=False)  # fmt: skip
            except subprocess.TimeoutExpired:
                raise NoPictures(f"Chromium did not end within {PATIENCE_SECONDS} s") from None
            if ended.returncode != 0 or not picture.exists():
                raise NoPictures(f"Chromium ended with status {ended.returncode} and drew nothing")


def main():
    options = read_options(sys.argv[1:])
    results = read(options.results)
    try:
        files = write(options.output, results)
        if files:
            photograph(files)
    except NoPictures as missing:
        print(f"report: no PNG is made: {missing}", file=sys.stderr)
    except OSError as error:
        fail(CANNOT_CREATE, f"{error.filename or options.output}: {error.strerror}")


if __name__ == "__main__":
    main()
