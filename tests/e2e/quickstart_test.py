#!/usr/bin/env python3
"""deploy/quickstart twice in a row from elsewhere: the second time it replaces its own cluster."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

from members import ROOT, local_cluster


class QuickstartTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="quickstart-test-"))
        self.dir = self.work / "a cluster"

    def tearDown(self):
        if (self.dir / "local-cluster.json").exists():
            local_cluster(self.dir, "down")
        shutil.rmtree(self.work)

    def quickstart(self, *arguments, expect=0):
        run = subprocess.run([ROOT / "deploy" / "quickstart", "--dir", self.dir, "--no-tour",
                              *arguments], cwd=self.work, stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(expect, run.returncode, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def pids(self):
        status = local_cluster(self.dir, "status", "-o", "json").stdout
        return [member["pid"] for member in json.loads(status)["members"]]

    def test_twice_in_a_row(self):
        self.quickstart("--base-port", "0")
        first = self.pids()
        (self.dir / "1" / "data" / "left-over").touch()
        text = self.quickstart("--base-port", "0")
        second = self.pids()
        self.assertEqual(3, len(second))
        self.assertFalse(set(first) & set(second))
        self.assertFalse((self.dir / "1" / "data" / "left-over").exists())
        # What it prints to type next is for this cluster.
        self.assertIn(local_cluster(self.dir, "endpoints").stdout.strip(), text)
        self.assertIn("local-cluster down", text)

    def test_a_port_of_someone_else_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            text = self.quickstart("--base-port", str(port - 1), expect=1)
        self.assertIn(f"port {port}", text)
        self.assertIn(f"process {os.getpid()}", text)
        self.assertIn("--base-port", text)

    def test_a_directory_of_someone_else_is_left_alone(self):
        self.dir.mkdir()
        (self.dir / "thesis.txt").write_text("years of work", encoding="utf-8")
        self.assertIn("was not made by", self.quickstart("--base-port", "0", expect=1))
        self.assertTrue((self.dir / "thesis.txt").exists())

    def test_help_and_wrong_arguments(self):
        self.assertIn("Usage", self.quickstart("--help"))
        self.assertIn("unknown argument", self.quickstart("--no-such-flag", expect=2))


if __name__ == "__main__":
    unittest.main()
