"""What must not, and what must, stand in the text of the repository."""

import posixpath
import re

from source_tree import Finding

# Spelled apart so that this file does not find itself.
_LEFT_OVER = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|X" + "XX|HA" + r"CK)\b")
_MACHINE = re.compile(r"(?<![\w.:$}~-])/(?:work|home|root|Users|farm)/[\w.-]+")
_SKIPPED = re.compile(r"\bGTEST_SKIP\b|\bTEST(?:_[FP])?\s*\([^)]*DISABLED_|\bDISABLED_\w+")
_CONFLICT = re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE)

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
# `deploy/quickstart` and the like: a path in code quotes whose first part is a folder of ours.
_QUOTED_PATH = re.compile(r"`((?:client|consensus|coord|persist|thrift|tests|deploy|cmake|\.ci)"
                          r"(?:/[\w.-]+)*/?)(?:[ `])")
_TEXT_SUFFIXES = (".cc", ".h", ".py", ".sh", ".md", ".txt", ".cmake", ".thrift", ".json", ".supp")


def _is_text(tree, path):
    return path.endswith(_TEXT_SUFFIXES) or path in tree.scripts() or path in tree.python()


def _words(tree):
    findings = []
    for path in tree.files:
        if not _is_text(tree, path):
            continue
        text = tree.text(path)
        rules = [(_LEFT_OVER, "finish it, or write it down as a limit"),
                 (_MACHINE, "a path of one machine"),
                 (_CONFLICT, "a conflict marker")]
        if path.startswith("tests/") and not path.startswith("tests/lint/"):
            rules.append((_SKIPPED, "a test that does not run"))
        if path.startswith("tests/lint/"):
            rules = rules[:1]
        if path.startswith("tests/") and path.endswith("_test.cc"):
            # Paths on a disk in memory, which is nobody's machine.
            rules = [rule for rule in rules if rule[0] is not _MACHINE]
        for regex, reason in rules:
            for match in regex.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                findings.append(Finding(path, line, f"'{match.group(0)}': {reason}"))
    return findings


def _exists(tree, folder, target):
    path = posixpath.normpath(posixpath.join(folder, target)).rstrip("/")
    return path in tree.files or any(name.startswith(path + "/") for name in tree.files)


def _links(tree):
    findings = []
    for path in tree.files:
        if not path.endswith(".md"):
            continue
        text = tree.text(path)
        folder = posixpath.dirname(path)
        prose = re.sub(r"```.*?```", lambda block: re.sub(r"[^\n]", " ", block.group(0)), text,
                       flags=re.DOTALL)
        for match in _LINK.finditer(prose):
            target = match.group(1).split("#", 1)[0]
            if target and not re.match(r"\w+:", target) and not _exists(tree, folder, target):
                findings.append(Finding(path, prose.count("\n", 0, match.start()) + 1,
                                        f"links to {target}, which is not there"))
        for match in _QUOTED_PATH.finditer(prose):
            if not _exists(tree, "", match.group(1)) and not _exists(tree, folder, match.group(1)):
                findings.append(Finding(path, prose.count("\n", 0, match.start()) + 1,
                                        f"names {match.group(1)}, which is not there"))
    return findings


def _dependencies(tree):
    """Every package that deploy/install-deps installs has a line in the README."""
    script = "deploy/install-deps"
    if script not in tree.files or "README.md" not in tree.files:
        return []
    readme = tree.text("README.md")
    listed = re.compile(r"(?:run|test|bench|campaign)\s+([a-z0-9][a-z0-9.+-]+)\s+\S")
    return [Finding(script, number, f"{match.group(1)} has no line in README.md")
            for number, line in enumerate(tree.lines(script), 1)
            if (match := listed.match(line))
            and not re.search(rf"(?<![\w-]){re.escape(match.group(1))}(?![\w-])", readme)]


def check(tree):
    return _words(tree) + _links(tree) + _dependencies(tree)
