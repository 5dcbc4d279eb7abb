"""clang-tidy finds nothing in src (.clang-tidy says what it looks for)."""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
TIDY, CLANG = "clang-tidy-19", "clang++-19"
SECONDS_LIMIT = 1200
# Unity builds consist of files that include sources.
CHECKS = "--checks=-bugprone-suspicious-include"


def findings(source, *options):
    """The lines that clang-tidy prints about a source."""
    ended = subprocess.run([TIDY, "--quiet", f"--config-file={ROOT / '.clang-tidy'}", CHECKS, source, *options],
                           capture_output=True, text=True, timeout=SECONDS_LIMIT, check=False)
    found = re.findall(r"^.*(?:error|warning): .*$", ended.stdout, re.MULTILINE)
    return found or ([] if ended.returncode == 0 else [ended.stderr])


@unittest.skipUnless(os.environ.get("RINGLET_FULL"), "takes minutes: for tests/run.sh --full")
@unittest.skipUnless(shutil.which(TIDY) and shutil.which(CLANG), f"there is no {TIDY}, or no {CLANG}")
class Tidy(unittest.TestCase):
    limit_seconds = SECONDS_LIMIT

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-tidy-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_the_sources(self):
        subprocess.run(["cmake", "-G", "Ninja", "-S", ROOT, "-B", self.folder, f"-DCMAKE_CXX_COMPILER={CLANG}",
                        "-DRINGLET_TESTS=OFF", "-DRINGLET_BENCH=OFF", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
                        "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON",  # which only a build makes
                        # Many sources as one: shared headers are read once.
                        "-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=30"],
                       stdout=subprocess.DEVNULL, timeout=SECONDS_LIMIT, check=True)
        sources = sorted(self.folder.glob("src/**/Unity/*.cxx"))
        self.assertGreater(len(sources), 5)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda source: findings(source, "-p", self.folder), sources)
            self.assertEqual(sorted({line for lines in found for line in lines}), [])

    def test_a_mistake_is_found(self):
        source = self.folder / "mistake.cpp"
        source.write_text("#include <string>\n#include <utility>\nstd::size_t twice(std::string text) {\n"
                          "    const std::string moved = std::move(text);\n    return moved.size() + text.size();\n}\n")
        self.assertIn("[bugprone-use-after-move", " ".join(findings(source, "--", "-std=c++20")))


if __name__ == "__main__":
    unittest.main()
