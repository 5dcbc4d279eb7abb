"""Sources that are compiled as one (sanitizers, packages) must not define a name twice in their unnamed namespaces.
A compiler finds that after minutes; this check takes a second."""

import re

import rules

# Sources compiled as one: each library and program, and the tests of a folder (tests/CMakeLists.txt).
TOGETHER = ("src/runtime/**", "src/tls", "src/client", "src/doctor", "src/server", "src/top", "tests/stress", "tests/tls",
            *(f"tests/unit/{folder}" for folder in ("base", "io", "loop", "net", "process", "ring", "serve", "sync", "task")))
ALONE = ("compiler_test.cpp", "ready_queue_test.cpp")


def no_name_twice_in_a_unity_build(root):
    for folder in TOGETHER:
        first = {}
        for path in sorted(root.glob(f"{folder}/*.cpp")):
            if path.name in ALONE:
                continue
            own = {}
            for name, line in names_of(path.read_text()):
                own.setdefault(name, line)
            for name, line in own.items():
                if name in first:
                    yield f"{path.relative_to(root)}:{line}: {name} is in {first[name]}, too, and both may be compiled as one"
                first.setdefault(name, path.relative_to(root))


def names_of(text):
    """Yields (name declared in an unnamed namespace, line). A function's name includes its parameter types."""
    code = rules.code_only(text)
    code = re.sub(r"^[ \t]*#.*", lambda match: " " * len(match[0]), code, flags=re.M)
    for opened in re.finditer(r"\bnamespace\s*\{", code):
        for begin, head in declarations(code, opened.end()):
            name = name_of(head)
            if name:
                yield name, code.count("\n", 0, begin) + 1


def declarations(code, begin):
    """Yields (begin, text up to the body) for each declaration up to the brace that closes the namespace."""
    depth, parentheses, start, head_end = 0, 0, begin, None
    for index in range(begin, len(code)):
        letter = code[index]
        if letter == "(":
            parentheses += 1
        elif letter == ")":
            parentheses -= 1
        elif letter == "{":
            if depth == 0 and head_end is None:
                head_end = index
            depth += 1
        elif letter == "}":
            if depth == 0:
                return
            depth -= 1
        if depth == 0 and parentheses == 0 and (letter == ";" or (letter == "}" and is_body(code, index))):
            text = code[start:index if head_end is None else head_end]
            skipped = len(text) - len(text.lstrip())
            yield start + skipped, text.strip()
            start, head_end = index + 1, None


def is_body(code, brace):
    """Whether a function's body ends here, and not a class or an initializer, which a semicolon follows."""
    return not code[brace + 1:].lstrip().startswith((";", ",", ")", "."))


def name_of(head):
    head = re.sub(r"^template\s*<[^{}]*?>\s*(?=\w)", "", head)
    head = re.sub(r"\[\[.*?\]\]\s*", "", head)
    kind = re.match(r"(?:class|struct|union|enum class|enum)\s+(?:alignas\(\w+\)\s*)?(\w+)\s*(?:final\s*)?(?::.*)?$", head, re.S)
    if kind:
        return kind[1]
    alias = re.match(r"using\s+(\w+)\s*=", head)
    if alias:
        return alias[1]
    if head.startswith(("using ", "namespace ", "static_assert")):
        return None
    before_value = without_value(head)
    function = re.match(r"[^()]*?\b(\w+|operator\W+)\s*\((.*)\)[^()]*$", before_value, re.S)
    if function and before_value[:function.start(1)].endswith("::"):
        return None  # a member: its class is named where it is declared
    if function:
        return f"{function[1]}({', '.join(types_of(function[2]))})"
    variable = re.search(r"([a-zA-Z_]\w*)\s*(?:\[[^\]]*\]\s*)*$", before_value)
    return variable[1] if variable else None


def without_value(head):
    depth = 0
    for index, letter in enumerate(head):
        depth += (letter == "(") - (letter == ")")
        if letter == "=" and depth == 0 and "operator" not in head:
            return head[:index]
    return head


def types_of(parameters):
    """Yields each parameter's type."""
    depth, one, all_of_them = 0, "", []
    for letter in parameters + ",":
        depth += (letter in "(<[{") - (letter in ")>]}")
        if letter == "," and depth == 0:
            all_of_them.append(one)
            one = ""
        else:
            one += letter
    for text in all_of_them:
        text = " ".join(text.split("=")[0].split())
        named = re.fullmatch(r"(.*[\s&*>])(\w+)", text)
        yield (named[1] if named and not re.fullmatch(r"(const\s+)?[\w:]+\s*", text) else text).strip() if text else ""
