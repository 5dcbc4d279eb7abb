"""The house rules that a program can check. Each checks a tree and yields complaints, as
"path:line: what is wrong"; no complaint means that the rule is kept."""

import os
import pathlib
import re
import subprocess

CPP = (".cpp", ".hpp", ".c", ".h")
TEXT = (*CPP, ".py", ".sh", ".md", ".cmake", ".txt", ".json", ".in", ".yml",
        ".yaml", ".toml", ".service", "run", "LICENSE", ".clang-format", ".clang-tidy", ".gitignore")

# docs/internals/README.md, "Floors": the folders of src/runtime, from the lowest up. A file includes only files
# of its own folder or of one below; the two kernels of the ring do not include each other.
FLOORS = ("base", "task", "ring", "loop", "sync", "net", "io", "process", "serve", "simulation")

# Headers in include/ringlet without a source, by floor.
HEADERS = {
    "base": ("buffer", "piece", "detail/aligned_optional", "detail/config", "detail/descriptor", "detail/intrusive_list", "duration_histogram", "liveness", "result", "version"),
    "task": ("detail/as_task", "detail/body_remains", "detail/ready_queue", "detail/spawned_task", "group_options", "task_list", "task_name", "wait"),
    "ring": ("detail/ring",),
    "loop": ("detail/answer_or_task", "detail/blocking_job", "detail/letter_stack", "detail/suspension", "loop_options"),
    "sync": ("barrier", "channel", "cond_var", "deadline", "event", "join_handle", "latch", "mutex", "ready",
             "run_blocking", "semaphore", "task_group", "task_local", "thread_channel", "when", "yield"),
    "serve": ("draining", "listen_address", "with_proxy_protocol"),
    "io": ("any_stream", "byte_stream", "copy_both_ways", "reader", "writer"),
    "simulation": ("testing/fault",),
}
FLOOR_OF_HEADER = {f"ringlet/{name}.hpp": floor for floor, names in HEADERS.items() for name in names}
EVERYTHING = "ringlet/ringlet.hpp"  # above all floors

# <header>: the only file of src and examples that may include it.
DOORS = {"liburing.h": "queue_memory.hpp", "sys/epoll.h": "epoll_ring.cpp"}

# Headers without a test of the same name, and tests without a header.
TESTED_ELSEWHERE = {
    "any_stream": "the contract of streams",
    "answer_or_task": "the awaits of Reader and Writer: reader_test, writer_test",
    "as_task": "awaitables with a deadline, or in a when_all: deadline_test, when_test",
    "attempt": "the contract of rings, on epoll",
    "byte_stream": "the contract of streams",
    "real_descriptors": "the contract of awaits, in the simulation",
    "spawn": "children of every kind: process_test",
    "config": "code that must not compile: refused_test.py; exports of a shared library: package_test.py",
    "blocking_job": "an interface: thread_pool_test runs jobs",
    "canary": "the canaries' tests in tests/CMakeLists.txt",
    "backdoor": "the commands of an operator: backdoor_test.py",
    "crew": "several workers: workers_test",
    "current_server": "is_draining and hand-over in a handler: draining_test, hand_over_test",
    "departures": "connections handed over to the next program: hand_over_test",
    "with_proxy_protocol": "handlers behind a proxy: proxy_protocol_test",
    "error_output": "messages to a stderr that is not read: error_output_test.py",
    "listen_address": "several addresses: accepting_test",
    "listeners": "several addresses: accepting_test",
    "snapshot": "the metrics of a server: metrics_text_test, metrics_service_test",
    "liveness": "the options of accepted and of connected sockets: accepting_test",
    "room": "the places that workers share: accepting_test",
    "server_state": "server_test, accepting_test, draining_test",
    "services": "metrics, backdoor and hand-over: hand_over_services_test.py",
    "body_remains": "aborts, with the group's name: body_test",
    "group_options": "their effects on a group: task_group_test",
    "loan": "aborts under ASan: uring_ring_test and tcp_stream_test free lent memory",
    "queue_memory": "used by the queues and the ring: uring_queues_test, uring_ring_test",
    "task_list": "summaries and full lists: task_tree_test",
    "uring_accepts": "accepts: the contract of rings, multishot_accept_test, direct_descriptors_test",
    "uring_receives": "a shortage of buffers, and parked receives: uring_ring_test",
    "uring_requests": "every kind of request: uring_ring_test",
    "loop_core": "the core of EventLoop: event_loop_test",
    "ready": "passed to a child by TaskGroup::start: task_group_test",
}
TESTS_WITHOUT_A_HEADER = {
    "accepting": "how a server accepts connections",
    "body": "variables of a body that has returned: task_group and frame_pool together",
    "end_of_run": "the end of all tasks when the root returns: event_loop",
    "fairness": "event_loop at its limits, and which tasks get a turn",
    "hooks": "calls from hooks, signal handlers and exit",
    "leave": "event_loop, sync and everything else together",
    "cut_short": "every way to run a task that is cut short, in one table",
    "compiler": "code that compilers miscompile, and so the reason for some of our rules",
    "other_threads": "functions of event_loop that other threads and signal handlers may call",
    "races": "races in every order: scopes and sockets together",
    "turn_times": "the times of turns that event_loop measures",
    "zero_copy": "sends of tcp_stream whose memory the kernel uses for longer",
    "stack": "endless awaits must not grow the stack: task and event_loop together",
}

# Files with deliberate uses of co_await that g++ 12 miscompiles.
COMPILER_TESTS = ("tests/unit/task/compiler_test.cpp",)

LONGEST_FILE = 400
LONGEST_UNIT_TEST = 1000  # one test file for each header, which may promise a lot
LONG_FILES = {
    "tests/bench/benchmark_test.py": "a test for each promise of benchmark.sh",
    "tests/bench/peers_test.py": "thirty servers, one contract",
    "tests/house/rules.py": "many small rules",
}


def files(root, suffixes):
    """The files in the tree with these suffixes, or with these names if they have no suffix; hidden
    folders and build folders are skipped."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders
            if (not name.startswith(".") or name == ".ci") and name not in ("build", "__pycache__")
            and not os.path.exists(os.path.join(folder, name, "CMakeCache.txt")))
        for name in sorted(names):
            path = pathlib.Path(folder, name)
            if (path.suffix or name) in suffixes:
                yield path


def places(root, path, text, pattern):
    """Yields (place for a complaint, match) for each match of the pattern."""
    for match in re.finditer(pattern, text, re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(root)}:{line}", match


def includes(root, path):
    return places(root, path, path.read_text(), r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def runtime_files(root):
    return files(root / "src/runtime", (".hpp", ".cpp"))


# ---- floors --------------------------------------------------------------------------------------


def floor_of(root, header):
    """The folder of src/runtime that an included header belongs to; None for a foreign header."""
    runtime = root / "src/runtime"
    if not header.startswith("ringlet/"):
        return header.partition("/")[0] if (runtime / header).exists() else None
    if not (runtime / "include" / header).exists():
        return None
    if header in FLOOR_OF_HEADER:
        return FLOOR_OF_HEADER[header]
    sources = runtime.rglob(pathlib.Path(header).stem + ".cpp")
    return next((path.relative_to(runtime).parts[0] for path in sources), None)


def floor_of_file(root, path):
    below = path.relative_to(root / "src/runtime")
    if below.parts[0] == "include":
        return floor_of(root, str(below.relative_to("include")))
    return below.parts[0] if len(below.parts) > 1 else None


def floors_look_down(root):
    for path in runtime_files(root):
        if path.name == pathlib.Path(EVERYTHING).name:
            continue
        floor = floor_of_file(root, path)
        if floor not in FLOORS:
            yield f"{path.relative_to(root)}:1: stands on no floor: tests/house/rules.py has the list"
            continue
        for place, match in includes(root, path):
            included = floor_of(root, match[2])
            if match[2] == EVERYTHING or (included in FLOORS and FLOORS.index(included) > FLOORS.index(floor)):
                yield f"{place}: {floor} looks up to {match[2]}"
            kernel, other = str(path.parent.name), match[2].split("/")[-2:-1]
            if kernel in ("uring", "epoll") and other in (["uring"], ["epoll"]) and other != [kernel]:
                yield f"{place}: one kernel knows of the other"


def floors_of_headers_are_needed(root):
    for header in sorted(FLOOR_OF_HEADER):
        name = pathlib.Path(header).stem
        if not (root / "src/runtime/include" / header).exists():
            yield f"tests/house/rules.py:1: {header} has a floor, and no file"
        elif list((root / "src/runtime").rglob(f"{name}.cpp")):
            yield f"tests/house/rules.py:1: {header} has a source, which says where it stands"


def no_include_cycles(root):
    runtime = root / "src/runtime"

    def name_of(path):
        below = path.relative_to(runtime)
        return str(below.relative_to("include") if below.parts[0] == "include" else below)

    graph = {name_of(path): {match[2] for _, match in includes(root, path)}
             for path in runtime_files(root) if path.suffix == ".hpp"}
    done = set()

    def visit(name, way):
        if name in way:
            return [*way[way.index(name):], name]
        if name in done:
            return None
        done.add(name)
        cycles = (visit(included, [*way, name]) for included in sorted(graph.get(name, ())))
        return next(filter(None, cycles), None)

    for name in sorted(graph):
        cycle = visit(name, [])
        if cycle:
            yield f"src/runtime:1: includes in a circle: {' -> '.join(cycle)}"


# ---- doors ---------------------------------------------------------------------------------------


def kernel_has_few_doors(root):
    for folder in ("src", "examples"):
        for path in files(root / folder, CPP):
            for place, match in includes(root, path):
                if DOORS.get(match[2], path.name) != path.name:
                    yield f"{place}: only {DOORS[match[2]]} includes <{match[2]}>"


def public_headers_are_clean(root):
    """Public headers include the standard library, the system and each other."""
    folders = [root / "src/runtime/include", root / "src/tls/include"]
    for folder in folders:
        for path in files(folder, CPP):
            for place, match in includes(root, path):
                ours = match[2].startswith("ringlet/")
                if match[1] == '"' or "liburing" in match[2] or match[2].startswith(("fmt/", "openssl/")):
                    yield f"{place}: a public header includes {match[2]}"
                elif ours and not any((known / match[2]).exists() for known in folders):
                    yield f"{place}: {match[2]} is no public header"


def programs_see_only_public_headers(root):
    runtime = root / "src/runtime"
    private = {str(path.relative_to(runtime)) for path in runtime_files(root)
               if path.suffix == ".hpp" and path.relative_to(runtime).parts[0] != "include"}
    for folder in ("src/server", "src/client", "src/doctor", "examples"):
        for path in files(root / folder, CPP):
            for place, match in includes(root, path):
                beside = (path.parent / match[2]).exists()
                if "runtime" in match[2] or (match[2] in private and not beside):
                    yield f"{place}: a program includes {match[2]}; only <ringlet/...> is for it"


# ---- one thing, one file, one test ---------------------------------------------------------------


def headers_and_tests_are_pairs(root):
    headers = {path.stem for path in runtime_files(root) if path.suffix == ".hpp"}
    tests = {path.stem.removesuffix("_test") for path in (root / "tests/unit").rglob("*_test.cpp")}
    for name in sorted(headers - tests - set(TESTED_ELSEWHERE)):
        yield f"tests/unit/{name}_test.cpp:1: is missing: {name}.hpp has no test"
    for name in sorted(tests - headers - set(TESTS_WITHOUT_A_HEADER)):
        yield f"tests/unit/{name}_test.cpp:1: there is no {name}.hpp"
    for name in sorted((set(TESTED_ELSEWHERE) & tests) | (set(TESTS_WITHOUT_A_HEADER) & headers)):
        yield f"tests/house/rules.py:1: {name} needs no exception any more"


AWAIT_CONTRACT = "tests/contract/await_test.cpp"
# Awaiters that cannot report a cancellation.
AWAITERS_THAT_DO_NOT_SUSPEND = {
    "NotAwaitable": "never compiles: it represents types that cannot be awaited",
    "PromiseBase::FinalAwaiter": "the end of a coroutine",
    "ScopeQuestion": "reads its own scope",
    "Task::Awaiter": "a call: the awaits within it report",
}


CLASS = r"^( *)(?:class|struct)(?: \[\[nodiscard\]\])? (\w+)[^;{]*\{"


def every_awaiter_is_in_the_contract(root):
    """Every class with an await_suspend is in the contract of awaits, which tests its cancellation."""
    contract = (root / AWAIT_CONTRACT).read_text()
    for path in runtime_files(root):
        code = code_only(path.read_text())
        for place, match in places(root, path, code, r"\bawait_suspend\(std::coroutine_handle"):
            around = []  # the enclosing classes, from the inside out
            line = code[code.rfind("\n", 0, match.start()) + 1:match.start()]
            depth = len(line) - len(line.lstrip())
            for found in reversed(list(re.finditer(CLASS, code[:match.start()], re.M))):
                if len(found[1]) < depth:
                    around.append(found[2])
                    depth = len(found[1])
            full = "::".join(reversed(around))
            if full not in AWAITERS_THAT_DO_NOT_SUSPEND and f'{{"{full}",' not in contract:
                yield f"{place}: {full} is not in {AWAIT_CONTRACT}"


# ---- co_await ------------------------------------------------------------------------------------


def code_only(text):
    """The text with comments, strings and characters blanked, and its lines unchanged."""
    comment = r"//[^\n]*|/\*.*?\*/"
    string = r'R"\(.*?\)"|"(?:\\.|[^"\\\n])*"'
    character = r"(?<![0-9a-zA-Z])'(?:\\.|[^'\\\n])+'"
    return re.sub(f"{comment}|{string}|{character}",
                  lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL)


def awaits_into_a_name(root):
    """Not in the condition of a statement, not in an arm or the condition of ?:, not in a macro."""
    for path in files(root, (".cpp", ".hpp")):
        if str(path.relative_to(root)) in COMPILER_TESTS:
            continue
        code = code_only(path.read_text())
        for place, match in places(root, path, code, r"\bco_await\b"):
            wrong = wrong_before(code, match.start()) or wrong_after(code, match.end())
            if wrong:
                yield f"{place}: co_await {wrong}; await into a name"


def wrong_before(code, begin):
    """Searches outwards, from one open parenthesis to the next, up to the block's brace."""
    depth, same_statement = 0, True
    for index in range(begin - 1, -1, -1):
        letter = code[index]
        if letter in ")]}":
            depth += 1
        elif letter in "([{" and depth > 0:
            depth -= 1
        elif letter in "[{":
            return None
        elif letter == "(":
            word = re.search(r"\w*$", code[max(0, index - 80):index].rstrip())[0]
            if word in ("if", "while", "switch", "for"):
                return f"in the condition of {word}"
            if re.fullmatch(r"[A-Z][A-Z0-9_]+", word):
                return f"in the macro {word}"
            same_statement = True
        elif letter == ";" and depth == 0:
            same_statement = False
        elif letter == "?" and depth == 0 and same_statement:
            return "in an arm of ?:"
    return None


def wrong_after(code, end):
    depth, other_argument = 0, False
    for letter in code[end:]:
        if letter in "([{":
            depth += 1
        elif letter in ")]}" and depth > 0:
            depth -= 1
        elif letter in ";}" and depth == 0:
            return None
        elif letter in ")]":
            other_argument = False  # outside of the parenthesis around the co_await
        elif letter == "," and depth == 0:
            other_argument = True
        elif letter == "?" and depth == 0 and not other_argument:
            return "in the condition of ?:"
    return None


# ---- text ----------------------------------------------------------------------------------------


def nothing_is_left_to_do(root):
    for path in files(root, TEXT):
        words = r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b"  # split, so that it does not find itself
        for place, match in places(root, path, path.read_text(), words):
            yield f"{place}: {match[0]}"


def planted_mistakes_are_compiled(root):
    """A file with a planted mistake must be compiled again by canary_stress, or the mistake has no effect."""
    program = re.search(r"^add_executable\(canary_stress\b[^)]*\)", (root / "tests/CMakeLists.txt").read_text(), re.MULTILINE)[0]
    for path in runtime_files(root):
        name = str(path.relative_to(root))
        for place, _ in places(root, path, path.read_text(), r"\blives\(Canary::"):
            if f"/{name}" not in program:
                yield f"{place}: a planted mistake, and canary_stress does not compile this file"
                break


def no_trailing_space(root):
    for path in files(root, TEXT):
        text = path.read_text()
        for place, _ in places(root, path, text, r"[ \t\r]+$"):
            yield f"{place}: space at the end of the line"
        if text and not text.endswith("\n"):
            yield f"{path.relative_to(root)}:{text.count(chr(10)) + 1}: no newline at the end"


def no_paths_of_one_machine(root):
    for path in files(root, TEXT):
        for place, match in places(root, path, path.read_text(), r"(?<![\w.}])/(?:home|work)/\w+"):
            yield f"{place}: {match[0]} exists on one machine only"


def files_are_short(root):
    for path in files(root, (*CPP, ".py", ".sh")):
        name, count = str(path.relative_to(root)), path.read_text().count("\n")
        limit = LONGEST_UNIT_TEST if name.startswith(("tests/unit/", "tests/contract/", "tests/tls/")) else LONGEST_FILE
        if count > limit and name not in LONG_FILES:
            yield f"{name}:{count}: longer than {limit} lines: two things? (or say why in rules.py)"
        elif count <= limit and name in LONG_FILES:
            yield f"tests/house/rules.py:1: {name} needs no exception any more"


def links_lead_somewhere(root):
    for path in files(root, (".md",)):
        text = re.sub(r"```.*?```", lambda match: "\n" * match[0].count("\n"), path.read_text(),
                      flags=re.DOTALL)
        for place, match in places(root, path, text, r"\]\(([^)\s]+)\)"):
            name, _, anchor = match[1].partition("#")
            target = path.parent / name if name else path
            if re.match(r"[a-z]+:", match[1]):
                continue  # another site
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                yield f"{place}: {match[1]} leads nowhere"


def anchors(text):
    """The anchors of a page, as GitHub derives them from the headings."""
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def public_types_have_docstrings(root):
    for path in files(root / "src/runtime/include", (".hpp",)):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            match = re.match(r"(class|struct|enum class|enum|concept)\s+(\[\[\w+\]\]\s+)?(\w+)",
                             line)
            if not match or (line.endswith(";") and "{" not in line and match[1] != "concept"):
                continue  # a forward declaration
            above = number - 1
            while above >= 0 and re.match(r"template\b|\s*requires\b|\s+\S.*>$", lines[above]):
                above -= 1
            documented = above >= 0 and lines[above].startswith("///")
            specialisation = "<" in line.split("{")[0].split(" : ")[0]
            if not documented and not specialisation:
                yield f"{path.relative_to(root)}:{number + 1}: {match[3]} has no docstring"


def sources_are_formatted(root, clang_format):
    """Formatted according to the .clang-format of the tree."""
    paths = [path for path in files(root, CPP)]
    ended = subprocess.run([clang_format, "--dry-run", *paths], capture_output=True, text=True,
                           check=False)
    for line in ended.stderr.splitlines():
        if ": warning: " in line or ": error: " in line:
            yield line.removeprefix(f"{root}/")


def ci_runs_the_tests_and_nothing_else(root):
    script = root / ".ci/run"
    if not script.exists():
        yield ".ci/run:1: is missing"
        return
    lines = [line.split("#")[0].strip() for line in script.read_text().splitlines()]
    commands = [line for line in lines if line]
    call = r'(exec )?sh ("\$\(dirname "\$0"\)/\.\./tests/run\.sh"|tests/run\.sh)'
    if len(commands) != 1 or not re.fullmatch(call, commands[0]):
        yield f".ci/run:1: runs {commands} instead of only tests/run.sh"
    if not os.access(script, os.X_OK):
        yield ".ci/run:1: is not executable"
    readme = root / "README.md"
    if not readme.exists() or "tests/run.sh" not in readme.read_text():
        yield "README.md:1: does not name the test command, tests/run.sh"
