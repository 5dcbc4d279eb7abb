"""A user's project: the README's program, built with an installed ringlet and with its sources.

Everything happens in a temporary directory. The installation is moved before it is used, so that
nothing can depend on its old place.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import programs

ROOT = pathlib.Path(os.environ["RINGLET_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["RINGLET_BUILD_DIR"])
CXX = os.environ["RINGLET_CXX"]
HEADERS = ROOT / "src/runtime/include/ringlet"
TLS_HEADERS = ROOT / "src/tls/include/ringlet"
BUILD_SECONDS_LIMIT = 1200
# Many sources as one, in a quarter of the time. (compile_alone_test.py shows that each includes what it uses.)
MANY_AS_ONE = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=30")
for_the_full_run = unittest.skipUnless(os.environ.get("RINGLET_FULL"), "builds the library again: for tests/run.sh --full")

PROJECT = """\
cmake_minimum_required(VERSION 3.22)
project(stranger LANGUAGES CXX)
{ringlet}
add_executable(server server.cpp)
target_link_libraries(server PRIVATE ringlet::ringlet)
target_compile_options(server PRIVATE -Wall -Wextra)
"""


def readme_program():
    """The first C++ of the README, listening on a free port."""
    program = re.search(r"```cpp\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    changed = program.replace("127.0.0.1:3200", "127.0.0.1:0")
    if changed == program:
        raise AssertionError("the README's program names no 127.0.0.1:3200")
    return changed


def run(*command, cwd=None, **variables):
    """Runs a command that must succeed, and returns its stdout."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    if shutil.which("ccache"):
        environment.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=BUILD_SECONDS_LIMIT, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))} ended with {done.returncode}:\n"
                             f"{done.stdout}")
    return done.stdout


def public_headers(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.hpp"))


@unittest.skipIf(os.environ["RINGLET_SANITIZE"], "a package is built without sanitizers")
class Package(unittest.TestCase):
    limit_seconds = 2 * BUILD_SECONDS_LIMIT

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringlet-package-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    # ---- a user's steps --------------------------------------------------------------------------

    def install(self, build=BUILD):
        run("cmake", "--install", build, "--prefix", self.folder / "installed")
        return (self.folder / "installed").rename(self.folder / "moved")

    def write_project(self, ringlet):
        project = self.folder / "project"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(PROJECT.format(ringlet=ringlet))
        (project / "server.cpp").write_text(readme_program())
        return project

    def configure(self, source, *options):
        build = self.folder / f"build-{source.name}"
        run("cmake", "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_CXX_COMPILER={CXX}", *MANY_AS_ONE, *options)
        return build

    def build(self, source, *options):
        build = self.configure(source, *options)
        run("cmake", "--build", build)
        return build

    def build_with_pkg_config(self, prefix):
        """Returns the server, and the output of pkg-config."""
        words = run("pkg-config", "--cflags", "--libs", "ringlet",
                    PKG_CONFIG_PATH=next(prefix.glob("**/pkgconfig"))).split()
        source, server = self.folder / "server.cpp", self.folder / "server"
        source.write_text(readme_program())
        run(CXX, "-std=c++20", source, "-o", server, *words)
        return server, words

    def assert_serves(self, server, **options):
        with programs.Program(server, **options) as running: # ends it by SIGTERM
            port = programs.wait_until(lambda: programs.listening_port(running.pid), "a listening socket")
            with programs.Connection(programs.HOST, port) as connection:
                connection.echoes(b"hello, ringlet")

    # ---- three ways to use it --------------------------------------------------------------------

    def test_find_package(self):
        prefix = self.install()
        project = self.write_project("find_package(ringlet 0.1 REQUIRED)")
        (project / "server_test.cpp").write_text((ROOT / "examples/handler_test.cpp").read_text())
        with (project / "CMakeLists.txt").open("a") as lists:
            lists.write("add_executable(server_test server_test.cpp)\n"
                        "target_link_libraries(server_test PRIVATE ringlet::ringlet)\n")
        build = self.build(project, f"-DCMAKE_PREFIX_PATH={prefix}")
        self.assert_serves(build / "server")
        self.assertIn("1000 seeds, ", run(build / "server_test"))

    @for_the_full_run
    def test_add_subdirectory(self):
        project = self.write_project(f"""\
add_subdirectory({ROOT} ringlet)
foreach(target echo_coro echo_bench ringlet_doctor ringlet_top unit_tests micro)
    if(TARGET ${{target}})
        message(FATAL_ERROR "${{target}} is built in a stranger's project")
    endif()
endforeach()""")
        # The static library, linked into a shared object.
        with (project / "CMakeLists.txt").open("a") as lists:
            lists.write("add_library(plugin MODULE server.cpp)\n"
                        "target_link_libraries(plugin PRIVATE ringlet::ringlet)\n")
        # The library needs only liburing.
        without = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON"
                   for name in ("fmt", "CLI11", "nlohmann_json", "doctest", "OpenSSL")]
        build = self.build(project, *without, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DCMAKE_POSITION_INDEPENDENT_CODE=ON")
        self.assert_serves(build / "server")
        self.assertNotIn("libssl", run("ldd", build / "server"))

        commands = json.loads((build / "compile_commands.json").read_text())
        self.assertTrue(any("/ringlet.dir/" in entry["command"] for entry in commands))
        strict = [entry["file"] for entry in commands if "-Werror" in entry["command"]]
        self.assertEqual(strict, [], "our warnings are errors in a stranger's build")
        run("cmake", "--install", build, "--prefix", self.folder / "installed")
        self.assertEqual(list(self.folder.glob("installed/**/*ringlet*")), [],
                         "a stranger's install installs ringlet")

    def test_pkg_config(self):
        server, words = self.build_with_pkg_config(self.install())
        self.assertIn("-luring", words)
        self.assert_serves(server)

    # ---- a shared library ------------------------------------------------------------------------

    @for_the_full_run
    def test_shared_library(self):
        build = self.configure(ROOT, "-DBUILD_SHARED_LIBS=ON", "-DRINGLET_PROGRAMS=OFF",
                               "-DRINGLET_BENCH=OFF", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_INSTALL_LIBDIR=lib")
        self.assertNotIn("warning:", run("cmake", "--build", build))
        prefix = self.install(build)
        project = self.write_project("find_package(ringlet REQUIRED)")
        build = self.build(project, f"-DCMAKE_PREFIX_PATH={prefix}")
        self.assert_serves(build / "server")

        server, words = self.build_with_pkg_config(prefix)
        self.assertNotIn("-luring", words, "programs need not know liburing")
        exported = run("nm", "-DC", "--defined-only", next(prefix.glob("lib/libringlet.so")))
        private = [name for path in (ROOT / "src/runtime").rglob("*.hpp") if "include" not in path.parts
                   for name in re.findall(r"^(?:class|struct) (\w+)(?: final)?(?: :.*)? \{", path.read_text(), re.M)]
        self.assertGreater(len(private), 15)
        shown = [line for line in exported.splitlines()
                 if re.search(rf"ringlet::(uring::)?({'|'.join(private)})::", line)]
        self.assertEqual(shown, [], "internals are exported")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(prefix / "lib")}
        self.assert_serves(server, env=environment)

    # ---- builds without a warning ----------------------------------------------------------------

    def warnings_of(self, *options, target="ringlet"):
        build = self.folder / f"build-{len(list(self.folder.iterdir()))}"
        run("cmake", "-S", ROOT, "-B", build, *MANY_AS_ONE, *options)
        said = run("cmake", "--build", build, "-j", "2", *(["--target", target] if target else []))
        return [line for line in said.splitlines() if "warning:" in line]

    def check_build(self, compiler, kind, generator):
        if not shutil.which(compiler):
            self.skipTest(f"there is no {compiler}")
        options = [f"-DCMAKE_BUILD_TYPE={kind}"]
        if kind == "LTO":
            options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON"]
            if compiler.startswith("clang"):
                # LLVM's archiver of this version is in a large package. mold reads an archive without an index.
                if not shutil.which("mold"):
                    self.skipTest("there is no mold: CMake needs an archiver of clang's version")
                options += ["-DCMAKE_CXX_COMPILER_AR=/usr/bin/ar", "-DCMAKE_CXX_COMPILER_RANLIB=/usr/bin/ranlib",
                            "-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=mold"]
        self.assertEqual(self.warnings_of("-G", generator, f"-DCMAKE_CXX_COMPILER={compiler}", *options,
                                          "-DRINGLET_TESTS=OFF", "-DRINGLET_BENCH=OFF", target=None), [])

    # ---- what is in the package ------------------------------------------------------------------

    def test_all_public_headers_are_installed(self):
        installed = self.install() / "include/ringlet"
        self.assertEqual(public_headers(installed), sorted(public_headers(HEADERS) + public_headers(TLS_HEADERS)))

    def test_no_warning_reaches_a_stranger(self):
        prefix = self.install()
        source = self.folder / "server.cpp"
        includes = [f"#include <ringlet/{path}>" for path in public_headers(HEADERS)]
        options = ["ringlet::LoopOptions loop_options{.ring_entries = 64};",
                   "ringlet::ConnectOptions connect_options{.no_delay = false};",
                   "ringlet::ListenOptions listen_options{.backlog = 1};"]
        source.write_text("\n".join([*includes, readme_program(), *options, ""]))
        run(CXX, "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
            "-I", prefix / "include", source)

    def test_programs_are_installed(self):
        if not programs.ECHO_CORO.exists():
            self.skipTest("built without the programs (RINGLET_PROGRAMS=OFF)")
        prefix = self.install()
        for name in ("echo_coro", "echo_bench", "ringlet_doctor", "ringlet_top"):
            self.assertTrue(run(prefix / "bin" / name, "--version").startswith(f"{name} "))

    def test_version_that_does_not_fit_is_refused(self):
        prefix = self.install()
        # Before 1.0 each minor version has another interface.
        project = self.write_project("find_package(ringlet 0.0 REQUIRED)")
        with self.assertRaisesRegex(AssertionError, r'requested version "0.0"'):
            self.configure(project, f"-DCMAKE_PREFIX_PATH={prefix}")

    def test_range_of_versions(self):
        prefix = self.install()
        for number, (wanted, fits) in enumerate((("0.1...0.2", True), ("0.0...<1", True), ("0.1", True),
                                                 ("0.0...<0.1", False), ("0.2...0.3", False), ("1", False))):
            with self.subTest(wanted):
                source = self.folder / f"version{number}"
                source.mkdir()
                (source / "CMakeLists.txt").write_text(
                    "cmake_minimum_required(VERSION 3.22)\nproject(p LANGUAGES CXX)\n"
                    f"find_package(ringlet {wanted} REQUIRED)\n")
                configure = lambda: self.configure(source, f"-DCMAKE_PREFIX_PATH={prefix}")
                if fits:
                    configure()
                else:
                    with self.assertRaisesRegex(AssertionError, "version"):
                        configure()

    def test_component_that_does_not_exist_is_refused(self):
        prefix = self.install()
        project = self.write_project("find_package(ringlet 0.1 REQUIRED COMPONENTS nonsense)")
        with self.assertRaisesRegex(AssertionError, "has no component 'nonsense'"):
            self.configure(project, f"-DCMAKE_PREFIX_PATH={prefix}")

    TLS_PROGRAM = """
        #include <ringlet/tls.hpp>
        #include <cstdio>
        int main() {
            std::puts(ringlet::tls_description().c_str());
            return ringlet::TlsContext::client() ? 0 : 1;
        }
        """

    def test_component_tls(self):
        prefix = self.install()
        project = self.write_project("find_package(ringlet 0.1 REQUIRED COMPONENTS tls)")
        (project / "server.cpp").write_text(self.TLS_PROGRAM)
        lists = project / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("PRIVATE ringlet::ringlet", "PRIVATE ringlet::tls"))
        build = self.build(project, f"-DCMAKE_PREFIX_PATH={prefix}")
        self.assertIn("OpenSSL 3", run(build / "server"))

    def test_tls_by_pkg_config(self):
        prefix = self.install()
        source = self.folder / "tls.cpp"
        source.write_text(self.TLS_PROGRAM)
        found = run("pkg-config", "--static", "--cflags", "--libs", "ringlet-tls",
                    PKG_CONFIG_PATH=next(prefix.rglob("pkgconfig"))).split()
        run(CXX, "-std=c++20", source, *found, "-o", self.folder / "tls")
        self.assertIn("OpenSSL 3", run(self.folder / "tls"))
        self.assertNotIn("ssl", run("pkg-config", "--static", "--libs", "ringlet",
                                    PKG_CONFIG_PATH=next(prefix.rglob("pkgconfig"))))

    def test_programs_without_tls_are_refused(self):
        with self.assertRaisesRegex(AssertionError, r"with\s+RINGLET_TLS=OFF\s+set\s+RINGLET_PROGRAMS"):
            self.configure(ROOT, "-DRINGLET_TLS=OFF")

    def test_licence_is_installed(self):
        self.assertIn("MIT", (self.install() / "share/doc/ringlet/LICENSE").read_text())

    def test_commands_for_gdb_are_installed(self):
        self.assertEqual((self.install() / "share/ringlet/gdb/ringlet_gdb.py").read_bytes(),
                         (ROOT / "share/gdb/ringlet_gdb.py").read_bytes())

    def test_installed_programs_search_libraries_nowhere_of_their_own(self):
        if not programs.ECHO_CORO.exists():
            self.skipTest("built without the programs (RINGLET_PROGRAMS=OFF)")
        prefix = self.install()
        for name in ("echo_coro", "echo_bench", "ringlet_doctor", "ringlet_top"):
            self.assertNotRegex(run("readelf", "-d", prefix / "bin" / name), "RUNPATH|RPATH")

    def test_tests_of_a_shared_library_are_refused(self):
        options = ["-DBUILD_SHARED_LIBS=ON", "-DRINGLET_PROGRAMS=OFF", "-DRINGLET_BENCH=OFF"]
        with self.assertRaisesRegex(AssertionError, "set RINGLET_TESTS or BUILD_SHARED_LIBS to OFF"):
            self.configure(ROOT, *options, "-DRINGLET_TESTS=ON")

    def test_missing_liburing_is_told(self):
        prefix = self.install()
        project = self.write_project("find_package(ringlet REQUIRED)")
        library = pathlib.Path(run(CXX, "-print-file-name=liburing.so").strip())
        hidden = {str(library.parent), str(library.resolve().parent), "/lib", "/usr/lib",
                  *(str(path.parent) for path in pathlib.Path("/usr/lib").glob("*/liburing.so")),
                  *(str(path.parent) for path in pathlib.Path("/lib").glob("*/liburing.so"))}
        with self.assertRaisesRegex(AssertionError, "needs liburing 2.3 or newer: install it"):
            self.configure(project, f"-DCMAKE_PREFIX_PATH={prefix}",
                           f"-DCMAKE_IGNORE_PATH={';'.join(sorted(hidden))}")


def add_builds():
    """A test for each build type and compiler, so that each has its own time limit; generators alternate. Debug and
    RelWithDebInfo are the presets dev, release, clang-dev and clang-release, where warnings are errors."""
    generators = ("Unix Makefiles", "Ninja")
    for turn, compiler in enumerate(("g++", "clang++-19")):
        for number, kind in enumerate(("None", "Release", "MinSizeRel", "LTO")):
            @for_the_full_run
            def check(self, arguments=(compiler, kind, generators[(number + turn) % 2])):
                self.check_build(*arguments)
            name = "gcc" if compiler == "g++" else "clang"
            setattr(Package, f"test_build_{name}_{kind.lower()}_is_without_a_warning", check)


add_builds()
