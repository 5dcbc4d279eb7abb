"""Commands for gdb that know the tasks of ringlet: in a process that stands still, or in a core file.

    (gdb) source /usr/share/ringlet/gdb/ringlet_gdb.py
    (gdb) ringlet tasks              # every task of every loop: what it waits for, and where it stands
    (gdb) ringlet backtrace 3        # its coroutines, from the one that waits to the one that was spawned
    (gdb) ringlet backtrace 3 full   # with their variables

They call nothing in the program. They need the debug information of ringlet and of the program (-g); the lines at which
coroutines stand are known for g++ at -O0 on x86-64; otherwise those of their functions are shown.
"""

import functools
import re

import gdb

TASK_LIMIT = 1_000_000  # of a loop: a core file may be damaged, and its lists without an end
COROUTINE_LIMIT = 10_000  # in one backtrace
DEEPEST_INDENTED = 30  # as in EventLoop::dump
LOOP_FUNCTIONS = ("ringlet::LoopCore::turn", "ringlet::LoopCore::run_root", "ringlet::LoopCore::leave")
TURNING_LOOP = "*(ringlet::LoopCore**)&'ringlet::(anonymous namespace)::turning_loop'"  # of a thread

# What EventLoop::dump says of those; others are told by the names of their types.
WORDS = {
    "ringlet::Sleep": "a sleep",
    "ringlet::CloseAwaiter": "what a closed socket lent",
    "ringlet::BlockingAwaiter": "a function on another thread",
    "ringlet::Yield": "its next turn",
}


def without_parameters(signature):
    """Without what stands in the last parentheses, and what a template was made with: ` [with T = int]`, ` [T = int]`."""
    signature = re.sub(r" \[(with )?[\w:]+ = .*\]$", "", signature).removesuffix(" const")
    depth = 0
    for at in range(len(signature) - 1, -1, -1):
        depth += (signature[at] == ")") - (signature[at] == "(")
        if depth == 0:
            return signature[:at] if signature.endswith(")") else signature
    return signature


def without_return_type(signature):
    depth = 0
    for at in range(len(signature) - 1, -1, -1):
        letter = signature[at]
        if letter in ")>":
            depth += 1
        elif letter in "(<" and depth > 0:
            depth -= 1
        elif letter == " " and depth == 0:
            return signature[at + 1:]
    return signature


def without_anonymous(name):
    return name.replace("{anonymous}::", "").replace("(anonymous namespace)::", "")


def short_name(signature):
    """As `short_task_name` in task_record.cpp: `serve` for `ringlet::Task<> serve(int)`."""
    if "(" not in signature:
        return signature
    lambda_at = re.search(r"::<lambda|::\(anonymous class\)|::\(lambda", signature)
    name = signature[:lambda_at.start()] if lambda_at else signature
    return ("lambda in " if lambda_at else "") + without_anonymous(without_return_type(without_parameters(name)))


def file_and_line(path, line):
    return f"{path.rpartition('/')[2]}:{line}"


# ---- what is in the memory of the program ----------------------------------------------------------


def fields_of(value):
    """The value as what it really is, by its table of virtual functions. `value` is a pointer."""
    return value.cast(value.dynamic_type).dereference()


def is_a(kind, name):
    """Whether a type is, or inherits, a class of this name."""
    kind = kind.strip_typedefs()
    bases = kind.fields() if kind.code == gdb.TYPE_CODE_STRUCT else []
    return kind.name == name or any(field.is_base_class and is_a(field.type, name) for field in bases)


def enumerator(value):
    return str(value).rpartition("::")[2]


@functools.lru_cache(maxsize=None)
def disassembled(start, end):
    """[(address, instruction)], as AT&T writes them."""
    flavor = gdb.parameter("disassembly-flavor")
    gdb.execute("set disassembly-flavor att")
    try:
        code = gdb.selected_inferior().architecture().disassemble(start, end - 1)
    finally:
        gdb.execute(f"set disassembly-flavor {flavor}")
    return [(each["addr"], each["asm"].strip()) for each in code]


class Coroutine:
    """A frame on the heap, by the address that a handle has."""

    PROMISE_OFFSET = 16  # behind the two functions with which every frame begins

    def __init__(self, address):
        self.address = address
        self.resumes_at = int(self.at(0, gdb.lookup_type("long")))  # the function that does; 0: it has ended
        self.block = gdb.block_for_pc(self.resumes_at) if self.resumes_at else None
        while self.block is not None and self.block.function is None:
            self.block = self.block.superblock
        self.function = self.block.function if self.block is not None else None
        # g++: its only parameter is the frame, and what is in that are its variables.
        self.symbols = {symbol.name: symbol for symbol in self.block or ()}

    def at(self, offset, kind):
        return gdb.Value(self.address + offset).cast(kind.pointer()).dereference()

    def fields(self):
        """Those of the frame. g++ tells none of a template's."""
        pointer = self.symbols.get("frame_ptr")
        return pointer.type.target().fields() if pointer is not None else []

    def name(self):
        if self.function is None:
            return f"a coroutine without debug information, resumed at {self.resumes_at:#x}"
        name = re.sub(r" \[clone [^]]*\]", "", self.function.print_name)
        return short_name(name) if "::<lambda" in name else without_anonymous(without_parameters(name))

    def place(self):
        if self.function is None:
            return ""
        line = self.line_of_await()
        where = file_and_line(self.function.symtab.filename, line or self.function.line)
        return f" at {where}" if line else f", which begins at {where}"

    def line_of_await(self):
        """g++ writes the number of the await into the frame before it suspends. Behind that comes the call of
        `await_suspend`, at the line of the await. None if it cannot be found, as in optimised code."""
        if "frame_ptr" not in self.symbols or "x86-64" not in gdb.selected_inferior().architecture().name():
            return None
        code = disassembled(self.block.start, self.block.end)
        offset = self.offset_of_number(code)
        if offset is None:
            return None
        number = int(self.at(offset, gdb.lookup_type("unsigned short")))
        for (_, before), (_, text), (behind, _) in zip(code, code[1:], code[2:]):
            is_plain = re.match(r"mov\s+-0x[0-9a-f]+\(%rbp\),%rax$", before)  # the address of the frame
            if is_plain and re.match(rf"movw\s+\$0x{number:x},0x{offset:x}\(%rax\)$", text):
                return gdb.find_pc_line(behind).line or None
        return None

    def offset_of_number(self, code):
        for field in self.fields():
            if field.name == "_Coro_resume_index":
                return field.bitpos // 8
        # The first thing that a coroutine looks at when it is resumed.
        found = (re.match(r"movzwl\s+0x([0-9a-f]+)\(%", text) for _, text in code)
        return next((int(each[1], 16) for each in found if each), None)

    def parent(self):
        """The coroutine that awaits this one; None: it is a task's first, or nobody awaits it."""
        promise = self.symbols.get("_Coro_promise")
        if promise is not None and not is_a(promise.type, "ringlet::PromiseBase"):
            return None  # a coroutine type of somebody else's
        promise = self.at(self.PROMISE_OFFSET, gdb.lookup_type("ringlet::PromiseBase"))
        if bool(promise["is_root_"]) or not int(promise["scope_"]):
            return None
        parent = int(promise["parent_"]["_M_fr_ptr"])
        return Coroutine(parent) if parent else None

    def variables(self):
        """(name, value) of the function's own variables and parameters."""
        for field in self.fields():
            name = re.sub(r"(_\d+)+$", "", field.name or "")  # without the numbers of its block
            if name and not re.match(r"_Coro|(Aw|T|Is|Fs|is|fs)\d*$|D\.", name):
                yield name, self.at(field.bitpos // 8, field.type)


class Task:
    def __init__(self, record, depth):
        self.record = record
        self.depth = depth
        self.address = int(record)
        self.name = short_name(record["name"].string())

    def title(self):
        location = self.record["spawned_at"]["_M_impl"]
        file, line = location["_M_file_name"].string(), int(location["_M_line"])
        return f'task "{self.name}" ({file_and_line(file, line)})'

    def wait(self):
        """What it waits for, in its innermost scope; None: it runs, or is about to."""
        scope = self.record["task_scope"].address
        while int(scope):
            if int(scope["wait"]):
                return scope["wait"]
            scope = scope["first_"]
            while int(scope) and int(scope["task"]) != self.address:
                scope = scope["next_"]
        return None

    def coroutines(self):
        """From the one that waits outwards; none of a task that runs."""
        wait = self.wait()
        coroutine = Coroutine(int(wait["waiter"]["_M_fr_ptr"])) if wait is not None else None
        for _ in range(COROUTINE_LIMIT):
            if coroutine is None:
                return
            yield coroutine
            coroutine = coroutine.parent()

    def state(self, loop):
        text = "runs"
        wait = self.wait()
        if wait is not None:
            text = f"waits for {words_of(wait)}"
        elif int(loop["current_"]) != self.address:
            text = "is ready to run"
        if bool(self.record["task_scope"]["cancelled_"]):
            text += f"; cancelled ({enumerator(self.record['scope']['reason_'])})"
        return text


def words_of(wait):
    value = fields_of(wait)
    kind = value.type.strip_typedefs().name
    if kind == "ringlet::Operation":
        code = int(value["descriptor"]["code_"])
        where = f"descriptor {code}" if code >= -1 else f"direct descriptor {-2 - code}"
        return f"{enumerator(value['opcode'])} on {where}"
    if kind in WORDS:
        return WORDS[kind]
    if is_a(value.type, "ringlet::ListedWait"):
        line = value["list"]
        if not int(line):
            return "its next turn"
        name = line["name_"].string()
        return line["kind_"].string() + (f' "{name}"' if name else "")
    if is_a(value.type, "ringlet::TaskRecord"):
        return "its next turn"
    return re.sub(r"\bringlet::", "", kind).removesuffix("::Awaiter")[:100]


def loops():
    """(thread, loop) of every loop that runs, as values of type LoopCore."""
    selected = gdb.selected_thread()
    found = {}
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda each: each.num):
            thread.switch()
            for address in loops_of_this_thread():
                found.setdefault(address, thread)
    finally:
        if selected is not None and selected.is_valid():
            selected.switch()
    kind = gdb.lookup_type("ringlet::LoopCore").pointer()
    return [(thread, gdb.Value(address).cast(kind).dereference()) for address, thread in found.items()]


def loops_of_this_thread():
    frame = gdb.newest_frame()
    while frame is not None:
        if (frame.name() or "").split("(")[0] in LOOP_FUNCTIONS:
            try:
                this = frame.read_var("this")
                if not this.is_optimized_out:
                    yield int(this)
            except (gdb.error, ValueError):
                pass  # optimised: another frame has it, or the variable below
        try:
            frame = frame.older()
        except gdb.error:
            break  # a stack that cannot be unwound further
    try:
        address = int(gdb.parse_and_eval(TURNING_LOOP))
    except gdb.error:
        return  # no thread-local storage in this core file, or no symbol
    if address:
        yield address


def tasks_of(loop):
    """Every task of a loop, parents before their children, older before younger."""
    pending = [(loop["scope_"]["first_"], 0)]  # scopes, and how deep their tasks are; the next one last
    count = 0
    while pending:
        scope, depth = pending.pop()
        if not int(scope):
            continue
        pending.append((scope["next_"], depth))
        record = scope["task"]
        is_of_task = int(record) and int(record["task_scope"].address) == int(scope)
        if is_of_task:
            count += 1
            if count > TASK_LIMIT:
                raise gdb.GdbError(f"There are more than {TASK_LIMIT} tasks: the rest is left out.")
            yield Task(record, depth)
        pending.append((scope["first_"], depth + 1 if is_of_task else depth))


# ---- the commands ----------------------------------------------------------------------------------


class RingletCommand(gdb.Command):
    """What the tasks of ringlet do: `ringlet tasks`, `ringlet backtrace TASK`."""

    def __init__(self):
        super().__init__("ringlet", gdb.COMMAND_STACK, prefix=True)


def checked(command):
    """Tells what is missing, instead of a Python traceback."""
    def invoke(self, argument, from_tty):
        if not gdb.selected_inferior().threads():
            raise gdb.GdbError("There is neither a process nor a core file.")
        language = gdb.parameter("language")
        gdb.execute("set language c++")  # by itself it is that of the function that the thread stands in
        try:
            gdb.lookup_type("ringlet::LoopCore")
            command(self, argument)
        except gdb.MemoryError as error:
            raise gdb.GdbError(f"The rest cannot be read: {error}") from None
        except gdb.error as error:
            raise gdb.GdbError(f"{error} Build the program, and ringlet, with debug information (-g).") from None
        finally:
            gdb.execute(f"set language {language}")
    return invoke


class TasksCommand(gdb.Command):
    """Lists the tasks of all loops that run: name, place, what each waits for, and where it stands.

A task is indented below the one in whose scope it was spawned.
"""

    def __init__(self):
        super().__init__("ringlet tasks", gdb.COMMAND_STACK)

    @checked
    def invoke(self, argument):
        number = 0
        known = loops()
        if not known:
            print("No loop runs.")
        for thread, loop in known:
            print(f"loop {int(loop.address):#x}, thread {thread.num} (LWP {thread.ptid[1]}): "
                  f"{int(loop['live_tasks_'])} tasks")
            for task in tasks_of(loop):
                number += 1
                own = (each for each in task.coroutines() if not each.name().startswith("ringlet::"))
                where = next((f", in {coroutine.name()}{coroutine.place()}" for coroutine in own), "")
                print(f"{'  ' * min(task.depth, DEEPEST_INDENTED)}  {number}  {task.title()} {task.state(loop)}{where}")


class BacktraceCommand(gdb.Command):
    """Prints the coroutines of a task, from the one that waits to the one that was spawned.

ringlet backtrace TASK [full]     TASK is a number of `ringlet tasks`, a name, or the address of a record.
                                  full: with the variables in their frames (g++).
"""

    def __init__(self):
        super().__init__("ringlet backtrace", gdb.COMMAND_STACK)

    @checked
    def invoke(self, argument):
        wanted = argument.strip()
        full = wanted.endswith(" full")
        wanted = wanted.removesuffix(" full").strip().strip('"')
        if not wanted:
            raise gdb.GdbError("Which task? `ringlet tasks` numbers them.")
        matching = list(self.find(wanted))
        if not matching:
            raise gdb.GdbError(f"There is no task {wanted}. `ringlet tasks` lists them.")
        for loop, task in matching:
            print(f"{task.title()} {task.state(loop)}")
            if int(loop["current_"]) == task.address:
                print("  It runs on a thread: its innermost calls are in that one's backtrace.")
            for level, coroutine in enumerate(task.coroutines()):
                print(f"#{level}  {coroutine.address:#x} in {coroutine.name()}{coroutine.place()}")
                for name, value in coroutine.variables() if full else ():
                    print(f"        {name} = {value.format_string(max_elements=20)}")

    @staticmethod
    def find(wanted):
        number = 0
        for _, loop in loops():
            for task in tasks_of(loop):
                number += 1
                if wanted in (str(number), hex(task.address), task.name):
                    yield loop, task


RingletCommand()
TasksCommand()
BacktraceCommand()
