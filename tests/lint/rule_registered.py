"""Every source, test and scenario is named where the build or a runner will find it."""

import posixpath
import re

from source_tree import PRODUCT, Finding


def _lists(tree, path):
    """The CMakeLists.txt that may name a file: in its folder or in one above it."""
    folder = posixpath.dirname(path)
    while folder:
        candidate = folder + "/CMakeLists.txt"
        if candidate in tree.files:
            yield folder, tree.text(candidate)
        folder = posixpath.dirname(folder)


def _named(tree, path):
    for folder, text in _lists(tree, path):
        relative = posixpath.relpath(path, folder)
        text = re.sub(r"#[^\n]*", "", text).replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")
        if re.search(rf"(?<![\w/.-]){re.escape(relative)}(?![\w.-])", text):
            return True
    return False


def _scenario_named(tree, path, sources):
    """A scenario counts as registered by its own name, or by its folder where a runner lists it."""
    name, folder = posixpath.basename(path), posixpath.dirname(path)
    stem = name.rsplit(".", 1)[0]
    below = posixpath.relpath(folder, "tests")
    return any(name in text or f'"{stem}"' in text or below in text for text in sources)


def check(tree):
    findings = []
    for path in tree.cpp(*PRODUCT, "tests/"):
        # A header of a test is checked by the test that includes it.
        header_of_test = path.startswith("tests/") and path.endswith(".h")
        if not header_of_test and not _named(tree, path):
            findings.append(Finding(path, 1, "is in no CMakeLists.txt, so nothing checks it"))
    for path in tree.files:
        if re.fullmatch(r"tests/(?!lint/).*(?:_test\.py|/test_\w+\.py)", path) and \
                not _named(tree, path):
            findings.append(Finding(path, 1, "is in no CMakeLists.txt, so it never runs"))
    sources = [tree.text(path) for path in tree.files
               if path.startswith("tests/") and not path.startswith("tests/data/")
               and path.endswith((".cc", ".h", ".py", "CMakeLists.txt"))]
    for path in tree.files:
        if path.startswith("tests/data/") and not path.endswith(".md") and \
                not _scenario_named(tree, path, sources):
            findings.append(Finding(path, 1, "no test names this file or its folder"))
    return findings
