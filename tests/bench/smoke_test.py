#!/usr/bin/python3
"""All groups of tests/bench/compare at tiny size: it asserts that they work, never a time.

Conclave is measured in all of them; the peers in two, if they are installed.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
BIN_DIR = pathlib.Path(os.environ["CONCLAVE_BIN_DIR"])
sys.path.insert(0, str(HERE / "driver"))
# pylint: disable=wrong-import-position
from groups import GROUPS
from servers import TARGETS

# What every row of a figure says, and is more than nothing.
POSITIVE = {
    "load": ("ops_per_s", "p50_us", "p99_us", "n", "resident_mb", "calibration_ms"),
    "populate": ("ops_per_s", "n", "loaded_mb", "disk_mb"),
    "fanout": ("last_p50_us", "set_p50_us", "n"),
    "sessions": ("opened_per_s", "resident_mb"),
    "failover": ("succeeded", "outage_ms"),
    "probe": ("ready_ms", "resident_mb"),
    "overload": ("served", "sent", "capacity_per_s", "memory_ratio", "p99_ratio"),
}


class Settings:
    bin_dir = BIN_DIR


class SmokeTest(unittest.TestCase):
    def setUp(self):
        self.out = pathlib.Path(tempfile.mkdtemp(prefix="bench-smoke-", dir=BIN_DIR))
        self.addCleanup(shutil.rmtree, self.out)

    def compare(self, *arguments):
        run = subprocess.run(
            [HERE / "compare", "--smoke", "--bin-dir", BIN_DIR, "--out", self.out, *arguments],
            capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(0, run.returncode, run.stderr[-6000:])
        return run

    def rows(self):
        lines = (self.out / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def check(self, rows):
        for row in rows:
            self.assertNotIn("failed", row)
            self.assertEqual(0, row.get("errors", 0) if row["figure"] != "failover" else 0, row)
            for field in POSITIVE[row["figure"]]:
                self.assertGreater(row[field], 0, (field, row))
            for field, value in row.items():
                if isinstance(value, (int, float)):
                    self.assertTrue(math.isfinite(value), (field, row))

    def test_every_group_measures_conclave_and_nothing_is_measured_twice(self):
        self.compare("--targets", "conclave")
        rows = self.rows()
        self.check(rows)
        self.assertEqual(set(GROUPS), {row["group"] for row in rows})
        report = json.loads((self.out / "report.json").read_text(encoding="utf-8"))
        self.assertEqual(len(rows), len(report["rows"]))
        judged = [goal for goal in report["goals"] if goal["conclave"]]
        self.assertGreater(len(judged), 10)
        self.assertEqual(["axis-sessions", "axis-watches", "axis-znodes"],
                         sorted({axis["axis"] for axis in report["axes"]}) or None)
        self.assertIn("| starts | conclave |".replace("starts", "members-3"),
                      (self.out / "report.md").read_text(encoding="utf-8"))
        self.compare("--targets", "conclave")
        self.assertEqual(rows, self.rows())

    def test_the_peers_that_are_installed_are_measured_by_the_same_loads(self):
        there = [name for name, cluster in TARGETS.items() if cluster.missing(Settings) is None]
        print("measured:", *there, flush=True)
        self.compare("--group", "fresh-gets-1", "--group", "fanout-1", "--group", "starts")
        rows = self.rows()
        self.check(rows)
        for target in there:
            self.assertEqual({"fresh-gets-1", "fanout-1", "starts"},
                             {row["group"] for row in rows if row["target"] == target})


if __name__ == "__main__":
    unittest.main()
