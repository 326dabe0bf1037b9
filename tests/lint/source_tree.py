"""The files that lint looks at, and C++ text without comments and literals.

Rules take a Tree and return a list of Finding. They read text alone: what needs a compiler is
clang-tidy's (tests/campaign tidy).
"""

import dataclasses
import pathlib
import re
import subprocess

CPP_SUFFIXES = (".cc", ".h")
# Folders with code of the product; everything else is tests, scripts and text.
PRODUCT = ("client/", "consensus/", "coord/", "persist/", "thrift/")


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


class Tree:
    """The tracked files below a root; in a tree without git, all files but those of build/."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.files = sorted(self._tracked() or self._walked())
        self._texts = {}

    def _tracked(self):
        if not (self.root / ".git").exists():
            return []
        listing = subprocess.run(
            ["git", "-C", str(self.root), "ls-files", "-z"],
            capture_output=True, check=True, text=True)
        # A file deleted in the working tree is still in the index.
        names = filter(None, listing.stdout.split("\0"))
        return [name for name in names if (self.root / name).is_file()]

    def _walked(self):
        names = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return [str(name) for name in names
                if name.parts[0] not in ("build", ".git") and "__pycache__" not in name.parts]

    def text(self, path):
        if path not in self._texts:
            self._texts[path] = (self.root / path).read_text(encoding="utf-8", errors="replace")
        return self._texts[path]

    def lines(self, path):
        return self.text(path).splitlines()

    def cpp(self, *folders):
        """C++ files, of these folders if any are named."""
        return [path for path in self.files
                if path.endswith(CPP_SUFFIXES) and (not folders or path.startswith(folders))]

    def scripts(self):
        """Files that a shell runs, by their first line."""
        return [path for path in self.files
                if not path.endswith(CPP_SUFFIXES) and self._is_shell(path)]

    def _is_shell(self, path):
        first = self.text(path).split("\n", 1)[0]
        return bool(re.match(r"#!.*\b(ba|da)?sh\b", first))

    def python(self):
        return [path for path in self.files
                if path.endswith(".py") or re.match(r"#!.*\bpython3", self.text(path)[:80])]


_TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"'
    # A digit separator (1'000) is no character literal.
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)


def strip_cpp(text, keep_strings=False):
    """The text with comments and literals blanked; line numbers and columns stay as they were."""

    def blank(match):
        token = match.group(0)
        if keep_strings and not token.startswith("/"):
            return token
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        quote = token[-1]
        return quote + re.sub(r"[^\n]", " ", token[1:-1]) + quote

    return _TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def annotated(lines, line, mark):
    """Whether this line (counted from 1) or the one above it carries `mark: reason`."""
    pattern = re.compile(re.escape(mark) + r":\s*\S")
    return any(pattern.search(lines[i - 1]) for i in (line, line - 1) if 1 <= i <= len(lines))
