#!/usr/bin/env python3
"""deploy/local-cluster, with a stand-in for conclaved: what it starts, refuses and ends."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from waiting import wait_for

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parents[1] / "deploy" / "local-cluster"


def alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def server_below_ephemeral_ports():
    """Where no outgoing connection of another test can have a port of the same block."""
    for port in range(random.randrange(12_000, 20_000), 30_000):
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
    raise OSError("no free port")


class LocalClusterTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="local-cluster-test-"))
        self.dir = self.work / "cluster"
        self.bin = self.work / "bin"
        self.bin.mkdir()
        shutil.copy(HERE / "fake_conclaved.py", self.bin / "conclaved")
        (self.bin / "conclaved").chmod(0o755)

    def tearDown(self):
        if (self.dir / "local-cluster.json").exists():
            self.run_verb("down")
        shutil.rmtree(self.work)

    def run_verb(self, verb, *arguments, expect=0):
        run = subprocess.run([SCRIPT, verb, "--dir", self.dir, *arguments], cwd=self.work,
                             capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(expect, run.returncode, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def up(self, *arguments, expect=0):
        return self.run_verb("up", "--base-port", "0", "--bin-dir", self.bin, *arguments,
                             expect=expect)

    def pid(self, member):
        return int((self.dir / str(member) / "pid").read_text(encoding="ascii"))

    def members(self, expect=0):
        return json.loads(self.run_verb("status", "-o", "json", expect=expect))["members"]

    def test_starts_members_on_the_agreed_ports_and_ends_them(self):
        self.up()
        rows = self.members()
        self.assertEqual([1, 2, 3], [row["id"] for row in rows])
        base = int(rows[0]["client_address"].split(":")[1]) - 1
        for row in rows:
            addresses = (row["client_address"], row["peer_address"], row["admin_address"])
            self.assertEqual(tuple(f"127.0.0.1:{base + shift + row['id']}"
                                   for shift in (0, 100, 200)), addresses)
            self.assertEqual((True, "running", self.pid(row["id"]), 7),
                             (row["ready"], row["state"], row["pid"], row["applied_index"]))
            self.assertIn("fake conclaved", (self.dir / str(row["id"]) / "log").read_text())
        self.assertEqual(",".join(row["client_address"] for row in rows) + "\n",
                         self.run_verb("endpoints"))
        command = pathlib.Path(f"/proc/{self.pid(2)}/cmdline").read_text().split("\0")
        self.assertIn("--id=2", command)
        self.assertIn(f"--members=1=127.0.0.1:{base + 101},2=127.0.0.1:{base + 102},"
                      f"3=127.0.0.1:{base + 103}", command)
        pids = [self.pid(i) for i in (1, 2, 3)]
        self.run_verb("down")
        self.assertEqual([False] * 3, [alive(pid) for pid in pids])

    def test_kill_stop_and_start_act_on_one_member(self):
        self.up()
        before = [self.pid(i) for i in (1, 2, 3)]
        self.run_verb("kill", "2")
        self.assertEqual([True, False, True], [alive(pid) for pid in before])
        rows = self.members(expect=1)
        self.assertEqual(["running", "stopped", "running"], [row["state"] for row in rows])
        self.assertIn("does not run", self.run_verb("kill", "2", expect=1))
        self.run_verb("start", "2")
        self.assertNotEqual(before[1], self.pid(2))
        self.assertIn("runs already", self.run_verb("start", "2"))
        self.run_verb("stop", "3")
        self.assertFalse(alive(before[2]))
        self.run_verb("up")
        self.assertEqual(before[0], self.pid(1))
        self.assertTrue(alive(self.pid(3)))
        self.assertIn("no member 4", self.run_verb("kill", "4", expect=2))

    def test_a_member_without_quorum_is_started_but_not_called_ready(self):
        self.up()
        self.run_verb("stop", "1", "2", "3")
        self.assertIn("no quorum", self.run_verb("start", "1"))
        self.assertIn("is ready", self.run_verb("start", "2"))

    def test_a_member_that_died_by_other_hands_can_be_started(self):
        self.up("--nodes", "1")
        os.kill(self.pid(1), signal.SIGKILL)
        wait_for(lambda: not alive(self.pid(1)), "the end of the member")
        self.run_verb("start", "1")
        self.assertTrue(alive(self.pid(1)))

    def test_a_recycled_pid_is_never_signalled(self):
        self.up("--nodes", "1")
        self.run_verb("kill", "1")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
            folder = self.dir / "1"
            (folder / "pid").write_text(f"{stranger.pid}\n")
            boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # The stranger has the pid that the record names, but did not start when it says.
            (folder / "process.json").write_text(
                json.dumps({"pid": stranger.pid, "start_ticks": 1, "boot_id": boot}))
            self.assertEqual("stopped", self.members(expect=1)[0]["state"])
            self.run_verb("kill", "1", expect=1)
            self.run_verb("down")
            self.assertIsNone(stranger.poll())
            stranger.stdin.close()

    def test_a_port_in_use_is_an_error_that_names_port_and_holder(self):
        with server_below_ephemeral_ports() as server:
            port = server.getsockname()[1]
            text = self.run_verb("up", "--base-port", str(port - 102), "--bin-dir", self.bin,
                                 expect=1)
        self.assertIn(f"port {port}, for the peers of member 2, is in use by process {os.getpid()}",
                      text)
        self.assertFalse((self.dir / "1").exists())

    def test_a_directory_of_others_is_left_alone(self):
        self.dir.mkdir()
        (self.dir / "thesis.txt").write_text("years of work")
        self.assertIn("was not made by local-cluster", self.up(expect=1))
        self.assertIn("was not made by local-cluster", self.up("--fresh", expect=1))
        self.assertEqual("years of work", (self.dir / "thesis.txt").read_text())
        self.assertIn("there is no cluster", self.run_verb("down", "--clear", expect=4))

    def test_fresh_ends_and_clears_the_cluster_that_was_there(self):
        self.up()
        old = [self.pid(i) for i in (1, 2, 3)]
        (self.dir / "1" / "data").mkdir()
        self.up("--fresh", "--nodes", "1")
        self.assertEqual([False] * 3, [alive(pid) for pid in old])
        self.assertFalse((self.dir / "1" / "data").exists())
        self.assertFalse((self.dir / "2").exists())
        self.run_verb("down", "--clear")
        self.assertEqual([".lock"], [path.name for path in self.dir.iterdir()])

    def test_what_cannot_change_under_a_running_cluster_is_refused(self):
        self.up()
        self.assertIn("already", self.run_verb("up"))
        self.assertIn("has 3 members", self.run_verb("up", "--nodes", "5", expect=1))
        self.assertIn("with another base_port", self.run_verb("up", "--base-port", "0", expect=1))

    def test_a_member_that_ends_at_once_is_reported_with_its_log(self):
        text = self.up("--", "--fake=exit", expect=1)
        self.assertIn("ended with exit status 3", text)
        self.assertIn("bad luck: cannot go on", text)

    def test_a_member_that_never_gets_ready_is_reported_and_nothing_is_left(self):
        text = self.up("--timeout", "1", "--nodes", "2", "--", "--fake=never-ready", expect=1)
        self.assertIn("does not answer /readyz with 200 after 1 s (503 no leader)", text)
        self.assertEqual(["stopped"] * 2, [row["state"] for row in self.members(expect=1)])

    def test_a_member_that_ignores_sigterm_is_reported(self):
        self.up("--nodes", "1", "--", "--fake=ignore-term")
        pid = self.pid(1)
        text = self.run_verb("stop", "--timeout", "0.5", "1", expect=1)
        self.assertIn("still there 0.5 s after SIGTERM", text)
        self.assertTrue(alive(pid))
        self.run_verb("kill", "1")

    def test_a_missing_binary_and_bad_arguments_are_errors(self):
        (self.bin / "conclaved").unlink()
        self.assertIn("build it", self.up(expect=1))
        self.assertIn("1 to 15", self.up("--nodes", "0", expect=2))
        self.assertIn("--base-port", self.run_verb("up", "--base-port", "80", expect=2))
        self.assertIn("there is no cluster", self.run_verb("status", expect=4))


if __name__ == "__main__":
    unittest.main()
