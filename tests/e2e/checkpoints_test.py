#!/usr/bin/env python3
"""Checkpoints with real processes: the log stays short, a restart is quick, and a member that was
away for long is sent the state."""

import json
import re
import subprocess
import time
import unittest
import urllib.request

from members import BIN_DIR, cluster, endpoints, local_cluster
from waiting import wait_for

EAGER = ("--checkpoint_log_entries=500", "--log_tail_entries=100",
         "--snapshot_chunk_bytes=4096")


def conclave(directory, *arguments):
    run = subprocess.run([BIN_DIR / "conclave", "--endpoints", endpoints(directory),
                          *map(str, arguments)], capture_output=True, text=True, timeout=120,
                         stdin=subprocess.DEVNULL, check=False)
    if run.returncode != 0:
        raise AssertionError(f"conclave {arguments}: {run.returncode}\n{run.stdout}{run.stderr}")
    return run.stdout


def admin_addresses(directory):
    rows = json.loads(local_cluster(directory, "status", "-o", "json").stdout)["members"]
    return {row["id"]: row["admin_address"] for row in rows}


def status(address):
    with urllib.request.urlopen(f"http://{address}/status", timeout=10) as answer:
        return json.load(answer)


def load(directory, count):
    conclave(directory, "bench", "--op", "set", "--count", count, "--keys", 200, "--connections", 4,
             "--outstanding", 64, "--value-bytes", 100, "--warmup", "0s")


class CheckpointsTest(unittest.TestCase):
    def test_the_log_stays_short_and_members_come_back(self):
        with cluster(3, *EAGER) as directory:
            admin = admin_addresses(directory)
            conclave(directory, "create", "/kept", "before")
            load(directory, 5_000)
            # What bench has made it has removed; this stays.
            for number in range(20):
                conclave(directory, "create", f"/kept/n{number:02}", "x")
            for member, address in admin.items():
                wait_for(lambda at=address: status(at)["log_first_index"] > 3_000,
                         f"member {member} to compact its log")
            before = status(admin[1])
            self.assertGreater(before["checkpoint"]["index"], 3_000)
            self.assertGreater(before["counters"]["checkpoints"], 3)

            # Killed and started: it loads the checkpoint and replays what is left.
            local_cluster(directory, "kill", 1)
            started = time.monotonic()
            local_cluster(directory, "start", 1)
            wait_for(lambda: status(admin[1])["ready"], "member 1 to serve again")
            self.assertLess(time.monotonic() - started, 15)
            after = status(admin[1])
            self.assertGreaterEqual(after["checkpoint"]["index"], before["checkpoint"]["index"])
            self.assertLess(after["counters"]["entries_applied"], 1_500)

            # Away for longer than the log is kept.
            local_cluster(directory, "kill", 2)
            load(directory, 5_000)
            local_cluster(directory, "start", 2)
            wait_for(lambda: status(admin[2])["counters"]["snapshots_installed"] >= 1,
                     "member 2 to be sent the state")
            wait_for(lambda: status(admin[2])["ready"], "member 2 to serve again")

            # All three at once, as after a power cut.
            for member in admin:
                local_cluster(directory, "kill", member)
            for member in admin:
                local_cluster(directory, "start", member)
            wait_for(lambda: all(status(at)["ready"] for at in admin.values()), "all to serve")
            names = conclave(directory, "ls", "/kept").split()
            self.assertEqual([f"n{number:02}" for number in range(20)], sorted(names))

            def digests():
                seen = {(s["applied_index"], s["digest"]) for s in map(status, admin.values())}
                return len(seen) == 1
            wait_for(digests, "all members to hold the same state")

    def test_metrics_tell_of_checkpoints(self):
        with cluster(1, "--checkpoint_interval_ms=200") as directory:
            address = admin_addresses(directory)[1]
            conclave(directory, "create", "/a", "x")

            def taken():
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
                found = re.search(r"^conclave_checkpoints_total (\d+)", text, re.MULTILINE)
                return found and int(found.group(1)) >= 1
            wait_for(taken, "a checkpoint by the clock")


if __name__ == "__main__":
    unittest.main()
