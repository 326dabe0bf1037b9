"""Calls that a folder must not make, waits in tests, and iteration in the order of a hash."""

import re

from source_tree import PRODUCT, Finding, annotated, line_of, strip_cpp

_CHANCE = (r"\bstd::random_device\b", r"\b(?:std::)?s?rand\s*\(", r"\brandom\s*\(\s*\)",
           r"\barc4random\w*\s*\(", r"\bgetrandom\s*\(", r"\bgetentropy\s*\(")
_CLOCKS = (r"\b(?:system|steady|high_resolution)_clock\b", r"\bclock_gettime\s*\(",
           r"\bgettimeofday\s*\(", r"(?<![\w.>:])(?:std::)?time\s*\(\s*(?:0|NULL|nullptr|&)")
_WAITS = (r"\bsleep_(?:for|until)\s*\(", r"\b(?:u|nano)?sleep\s*\(", r"\bclock_nanosleep\s*\(")
_SURROUNDINGS = (r"\bgetenv\s*\(", r"\bfopen\s*\(", r"\bstd::this_thread\b", r"\bstd::j?thread\b")
_CONSOLE = (r"\bstd::c(?:out|err|log)\b", r"(?<![\w.>:])(?:std::)?f?printf\s*\(",
            r"(?<![\w.>:])(?:std::)?f?puts\s*\(", r"(?<![\w.>])fmt::print\s*\(")
_THROW = (r"\bthrow\b",)

# (what it is, patterns, folders it is banned in, files that are the one place for it and why)
BANNED = (
    ("chance comes in through the constructor", _CHANCE,
     ("consensus/", "coord/tree/", "coord/server/", "coord/doors/"),
     {"coord/doors/system.cc": "where production's chance comes from"}),
    ("time comes in as ticks, stamps or an Executor", _CLOCKS,
     ("consensus/", "coord/tree/", "coord/server/"), {}),
    ("the pure layers know no thread and no environment", _SURROUNDINGS,
     ("consensus/", "coord/tree/"), {}),
    ("nothing blocks its loop by sleeping", _WAITS, PRODUCT, {}),
    ("libraries log or return, they do not print", _CONSOLE, PRODUCT,
     {"coord/main.cc": "the program conclaved prints what it was asked for",
      "coord/flags.cc": "prints --help, --version and what is wrong with a flag",
      "coord/recover.cc": "the report of a program that ends after it",
      "coord/process.cc": "says what went wrong before there is a log",
      "client/command/": "a command prints",
      "client/include/conclave/error.h": "says why it aborts; it has no logger"}),
    ("errors are results, not exceptions", _THROW, PRODUCT,
     {"thrift/wire/frame_protocols.cc":
      "generated code learns of bytes that do not decode by Thrift's exceptions alone"}),
)

# Waiting for a condition in a test goes through these, and through nothing else.
WAIT_HELPERS = {
    "tests/e2e/waiting.py": "the one poll loop of the tests that run real processes",
    "tests/bench/slow_sync.cc": "plays a slow disk, which is what takes the time",
}
_TEST_WAITS = (
    ((".cc", ".h"), _WAITS),
    ((".py", ""), (r"\btime\.sleep\s*\(", r"(?<![\w.])sleep\s*\(", r"\basyncio\.sleep\s*\(")),
    ((".sh", ""), (r"(?:^|[;&|(]|\bdo\b|\bthen\b)[ \t]*sleep[ \t]+[\d.$\"]",)),
)

_HASHED = re.compile(
    r"\b(?:absl::)?(?:flat|node)_hash_(?:map|set)\b|\b(?:std::)?unordered_(?:multi)?(?:map|set)\b")
_ORDER_FREE = "order-free"


def _banned_calls(tree):
    findings = []
    for reason, patterns, folders, places in BANNED:
        regex = re.compile("|".join(patterns))
        for path in tree.cpp(*folders):
            if path.startswith(tuple(places)) if places else False:
                continue
            text = strip_cpp(tree.text(path))
            for match in regex.finditer(text):
                findings.append(Finding(path, line_of(text, match.start()),
                                        f"'{match.group(0).strip()}': {reason}"))
    return findings


def _test_waits(tree):
    findings = []
    for path in tree.files:
        name = path.rsplit("/", 1)[-1]
        if not path.startswith("tests/") or path.startswith("tests/lint/") or path in WAIT_HELPERS:
            continue
        suffix = "." + name.rsplit(".", 1)[1] if "." in name else ""
        patterns = [pattern for suffixes, group in _TEST_WAITS if suffix in suffixes
                    for pattern in group]
        if not patterns or path.startswith("tests/data/"):
            continue
        text = tree.text(path)
        text = strip_cpp(text) if suffix in (".cc", ".h") else re.sub(r"(?m)#.*$", "", text)
        for match in re.finditer("|".join(patterns), text, re.MULTILINE):
            findings.append(Finding(path, line_of(text, match.start()),
                                    "tests wait on conditions, they do not sleep"))
    return findings


def _declared_hashes(text):
    """Names declared with a hash container as their type: `flat_hash_map<K, V> name`."""
    names = set()
    for match in _HASHED.finditer(text):
        depth, at = 0, match.end()
        while at < len(text):
            if text[at] == "<":
                depth += 1
            elif text[at] == ">":
                depth -= 1
                if depth == 0:
                    break
            elif depth == 0 and not text[at].isspace():
                break
            at += 1
        declared = re.match(r">\s*[&*]?\s*(\w+)\s*(?:[;={(,)]|ABSL_)", text[at:])
        if declared:
            names.add(declared.group(1))
    return names


def _hash_order(tree):
    """Rule 17: the order of a hash container differs per process, so nothing may depend on it."""
    findings = []
    for folder in ("consensus/", "coord/tree/"):
        paths = tree.cpp(folder)
        names = set().union(*(_declared_hashes(strip_cpp(tree.text(path))) for path in paths)) \
            if paths else set()
        if not names:
            continue
        alternatives = "|".join(sorted(map(re.escape, names)))
        regex = re.compile(
            rf"for\s*\([^;()]*:\s*(?:\w+(?:\.|->))*(?:{alternatives})\s*\)"
            rf"|\b(?:{alternatives})\s*(?:\.|->)\s*c?begin\s*\(")
        for path in paths:
            text = strip_cpp(tree.text(path))
            for match in regex.finditer(text):
                line = line_of(text, match.start())
                if not annotated(tree.lines(path), line, _ORDER_FREE):
                    findings.append(Finding(
                        path, line, "iterates over a hash container: sort first, or say why the "
                        f"order cannot matter with '// {_ORDER_FREE}: ...'"))
    return findings


def check(tree):
    return _banned_calls(tree) + _test_waits(tree) + _hash_order(tree)
