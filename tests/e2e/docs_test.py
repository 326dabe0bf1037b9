#!/usr/bin/env python3
"""deploy/docs/operations.md against the program: flags, pages and metrics that it names exist; and
so do the flags and commands that messages of the server advise."""

import json
import re
import subprocess
import unittest
import urllib.request

from members import BIN_DIR, ROOT, cluster, local_cluster

PAGE = (ROOT / "deploy" / "docs" / "operations.md").read_text(encoding="utf-8")
COMMAND_PAGE = (ROOT / "deploy" / "docs" / "command.md").read_text(encoding="utf-8")
# Of gflags and glog, which --help leaves out.
LIBRARY_FLAGS = {"flagfile", "v", "minloglevel", "help", "verbose"}


def messages():
    """(file, text) of every string in the sources of the server, adjacent ones joined."""
    for folder in ("consensus", "coord", "persist"):
        for path in sorted((ROOT / folder).rglob("*.[ch]*")):
            text = re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            text = re.sub(r'"\s*\n\s*"', "", text)
            for found in re.finditer(r'"((?:[^"\\\n]|\\.)*)"', text):
                yield path.relative_to(ROOT), found.group(1)


class OperationsTest(unittest.TestCase):
    def test_every_flag_is_one_and_every_one_is_described(self):
        text = subprocess.run([BIN_DIR / "conclaved", "--help"], capture_output=True, text=True,
                              check=True).stdout
        known = set(re.findall(r"^  --(\w+) \(", text, re.MULTILINE))
        # What operators type with `conclave` has a page of its own.
        of_command = set(re.findall(r" `?--(\w+)", COMMAND_PAGE)) - known
        named = set(re.findall(r"`?--(\w+)", PAGE)) - LIBRARY_FLAGS - of_command
        self.assertGreater(len(known), 10)
        self.assertEqual(set(), named - known, "operations.md names flags that do not exist")
        self.assertEqual(set(), known - named, "operations.md does not describe these flags")

    def test_what_messages_advise_exists(self):
        flags = set(re.findall(r"--(\w+)", PAGE + COMMAND_PAGE))
        text = subprocess.run([BIN_DIR / "conclave", "member", "--help"], capture_output=True,
                              text=True, check=True).stdout
        commands = set(re.findall(r"^  ([a-z-]+) ", text, re.MULTILINE))
        self.assertIn("replace", commands)
        advised = 0
        for path, message in messages():
            for command in re.findall(r"conclave member ([a-z-]+)", message):
                self.assertIn(command, commands, f"{path}: {message}")
                advised += 1
            if path.name != "flags.cc":  # which also speaks of flags that do not exist
                self.assertLessEqual(set(re.findall(r"(?<![\w-])--([a-z]\w*)", message)), flags,
                                     f"{path}: {message}")
        self.assertGreater(advised, 5)

    def test_an_emptied_member_is_always_started_with_join(self):
        rows = [line for line in PAGE.splitlines() if "member replace" in line and "empt" in line]
        self.assertGreater(len(rows), 3)
        for row in rows:
            self.assertIn("--join", row)

    def test_every_page_and_metric_is_served(self):
        with cluster(1) as directory:
            status = json.loads(local_cluster(directory, "status", "-o", "json").stdout)
            address = status["members"][0]["admin_address"]

            def get(page):
                with urllib.request.urlopen(f"http://{address}{page}", timeout=10) as answer:
                    return answer.read().decode()

            for page in re.findall(r"^\| `(/\w+)` \|", PAGE, re.MULTILINE):
                self.assertTrue(get(page), page)
            metrics = get("/metrics")
            named = set(re.findall(r"`(conclave_\w+)`", PAGE))
            self.assertGreater(len(named), 8)
            served = set(re.findall(r"^# TYPE (\w+)", metrics, re.MULTILINE))
            self.assertEqual(set(), named - served)
            self.assertLessEqual({"alarm", "commit_index", "members"},
                                 json.loads(get("/status")).keys())


if __name__ == "__main__":
    unittest.main()
