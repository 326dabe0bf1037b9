"""What other tools see: clang-format on C++, shellcheck on scripts, Python that compiles."""

import re
import subprocess

from source_tree import Finding


def _run(tree, command):
    return subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=False)


def check_format(tree):
    paths = tree.cpp()
    if not paths:
        return []
    run = _run(tree, ["clang-format-14", "--dry-run", "-Werror", *paths])
    lines = re.findall(r"^(\S+?):(\d+):\d+: error: code should be clang-formatted", run.stderr,
                       re.MULTILINE)
    first = {}
    for path, line in lines:
        first.setdefault(path, int(line))
    findings = [Finding(path, line, f"not formatted: clang-format-14 -i {path}")
                for path, line in first.items()]
    if run.returncode != 0 and not findings:
        findings.append(Finding(".clang-format", 1, f"clang-format-14 failed: {run.stderr[:500]}"))
    return findings


def check_shell(tree):
    paths = tree.scripts()
    if not paths:
        return []
    run = _run(tree, ["shellcheck", "--format=gcc", *paths])
    findings = [Finding(path, int(line), text) for path, line, text in
                re.findall(r"^([^:\n]+):(\d+):\d+: (.*)$", run.stdout, re.MULTILINE)]
    if run.returncode != 0 and not findings:
        findings.append(Finding(paths[0], 1, f"shellcheck failed: {run.stderr[:500]}"))
    return findings


def check_python(tree):
    findings = []
    for path in tree.python():
        try:
            compile(tree.text(path), path, "exec")
        except SyntaxError as error:
            findings.append(Finding(path, error.lineno or 1, f"does not compile: {error.msg}"))
    return findings


def check_executable(tree):
    """A file that starts with #! and has no suffix is meant to be run."""
    return [Finding(path, 1, "starts with #! but is not executable")
            for path in tree.files
            if "." not in path.rsplit("/", 1)[-1] and tree.text(path).startswith("#!")
            and not (tree.root / path).stat().st_mode & 0o100]


def check(tree):
    return check_shell(tree) + check_python(tree) + check_executable(tree)
