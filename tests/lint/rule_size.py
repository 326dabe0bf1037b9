"""Functions of at most 70 lines, files of at most 600, scripts of at most 100 columns.

The columns of C++ are clang-format's.
"""

import re

from source_tree import Finding, line_of, strip_cpp

FUNCTION_LINES = 70
FILE_LINES = 600
EXCEPTIONS = "tests/lint/size_exceptions.txt"

# A declaration that ends as the head of a type: name, perhaps final, perhaps bases.
_TYPE = re.compile(
    r"\b(?:class|struct|union|enum(?:\s+class)?)\b\s*"
    r"(?:alignas\s*\([^()]*\)\s*|\[\[.*?\]\]\s*)*"
    r"[\w:]*(?:<[^{}()]*>)?\s*(?:final\s*)?(?::(?!:).*)?\Z", re.DOTALL)
_NAMESPACE = re.compile(r"\bnamespace\b|\bextern\s+\"")


def functions(text):
    """(name, first line, lines) of each outermost function body in stripped C++ text."""
    found = []
    kinds = []  # of the open braces: "scope" (namespace, type), "function", "other"
    head = 0    # where the declaration before the next brace begins
    for match in re.finditer(r"[{};]|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", text, re.MULTILINE):
        token = match.group(0)
        if token == "{":
            after_brace = head > 0 and text[head - 1] == "}"
            kinds.append((_kind(text[head:match.start()], kinds, after_brace), match.start(), head))
            head = match.end()
        elif token == "}":
            if kinds:
                kind, opened, declared = kinds.pop()
                if kind == "function":
                    first, last = line_of(text, opened), line_of(text, match.start())
                    found.append((_name(text[declared:opened]), first, last - first + 1))
            head = match.end()
        else:  # a semicolon or a preprocessor line
            head = match.end()
    return found


def _kind(declaration, kinds, after_brace):
    if any(kind != "scope" for kind, _, _ in kinds):
        return "other"
    if _NAMESPACE.search(declaration):
        return "scope"
    if _TYPE.search(declaration):
        return "scope"
    # A constructor's initialisers may have braces: "A::A(int x) : x_{x}, y_{0} {" has three.
    initialisers = after_brace and (not declaration.strip() or declaration.lstrip().startswith(","))
    return "function" if "(" in declaration or initialisers else "other"


def _name(declaration):
    match = re.search(r"([\w:~]+|operator\S+)\s*\(", declaration)
    if match is None:
        return "?"
    if match.group(1).startswith("TEST"):
        arguments = declaration[match.end():].split(")", 1)[0]
        return ".".join(part.strip() for part in arguments.split(","))
    return match.group(1)


def read_exceptions(tree):
    """{(path, function or ''): allowed lines}; malformed lines are findings."""
    allowed, findings = {}, []
    if EXCEPTIONS not in tree.files:
        return allowed, findings
    for number, line in enumerate(tree.lines(EXCEPTIONS), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.match(r"(\S+?)(?:#(\S+))?\s+(\d+)\s+(\S.{19,})$", line)
        if match is None:
            findings.append(Finding(EXCEPTIONS, number,
                                    "not 'PATH[#FUNCTION] LINES REASON (a sentence)'"))
            continue
        allowed[(match.group(1), match.group(2) or "")] = (int(match.group(3)), number)
    return allowed, findings


def check(tree):
    allowed, findings = read_exceptions(tree)
    used = set()

    def too_long(path, function, count, limit):
        if count <= limit:
            return False
        if (path, function) not in allowed:
            return True
        used.add((path, function))
        return count > allowed[(path, function)][0]

    for path in sorted(set(tree.cpp()) | set(tree.python()) | set(tree.scripts())):
        count = len(tree.lines(path))
        if too_long(path, "", count, FILE_LINES):
            findings.append(Finding(path, count, f"{count} lines; a file has at most {FILE_LINES}"))
    for path in tree.cpp():
        for name, line, count in functions(strip_cpp(tree.text(path))):
            if too_long(path, name, count, FUNCTION_LINES):
                findings.append(Finding(
                    path, line,
                    f"{name} has {count} lines; a function has at most {FUNCTION_LINES}"))
    for path in sorted(set(tree.python()) | set(tree.scripts())):
        for number, line in enumerate(tree.lines(path), 1):
            if len(line) > 100:
                findings.append(Finding(path, number, f"{len(line)} columns; at most 100"))
    for key, (_, number) in allowed.items():
        if key not in used:
            findings.append(Finding(EXCEPTIONS, number, f"{key[0]} needs no exception"))
    return findings
