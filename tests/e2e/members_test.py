#!/usr/bin/env python3
"""Members that come and go, with real processes and the command: what an operator does."""

import json
import os
import re
import signal
import subprocess
import threading
import unittest

from members import BIN_DIR, cluster, endpoints, local_cluster
from waiting import wait_for


def conclave(directory, *arguments, expect=0, timeout=90):
    run = subprocess.run([BIN_DIR / "conclave", "--endpoints", endpoints(directory),
                          *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                         stdin=subprocess.DEVNULL, check=False)
    if run.returncode != expect:
        raise AssertionError(f"conclave {arguments}: {run.returncode}\n{run.stdout}{run.stderr}")
    return run


def listed(directory):
    """What `conclave member list` says: {id: member}."""
    text = conclave(directory, "member", "list", "-o", "json").stdout
    return {member["id"]: member for member in json.loads(text)["members"]}


def leader_of(directory):
    def find():
        run = subprocess.run([BIN_DIR / "conclave", "--endpoints", endpoints(directory), "status",
                              "-o", "json"], capture_output=True, text=True, timeout=30,
                             check=False)
        return run.returncode == 0 and json.loads(run.stdout)["leader"]
    return wait_for(find, "a leader")


def log_of(directory, member):
    return (directory / str(member) / "log").read_text(encoding="utf-8", errors="replace")


class Load:
    """Writes one znode after another until the end, and remembers which were acknowledged."""

    def __init__(self, directory):
        self.directory = directory
        self.acknowledged = []
        self.unknown = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        conclave(directory, "create", "/load")

    def _run(self):
        number = 0
        while not self._over.is_set():
            run = subprocess.run([BIN_DIR / "conclave", "--endpoints", endpoints(self.directory),
                                  "create", f"/load/n{number:06}", "x"], capture_output=True,
                                 text=True, timeout=60, check=False)
            (self.acknowledged if run.returncode == 0 else self.unknown).append(number)
            number += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def check(self):
        names = set(conclave(self.directory, "ls", "/load").stdout.split())
        missing = [n for n in self.acknowledged if f"n{n:06}" not in names]
        assert self.acknowledged and not missing, f"acknowledged and gone: {missing}"
        assert not self.unknown, f"not acknowledged although a majority was there: {self.unknown}"


class MembersTest(unittest.TestCase):
    def test_one_grows_to_five_under_load_and_back_without_its_first(self):
        with cluster(1) as directory:
            with Load(directory) as load:
                for number in range(2, 6):
                    local_cluster(directory, "add")
                    self.assertEqual("voter", listed(directory)[number]["kind"])
                # The leader goes, and leadership before it.
                first = leader_of(directory)
                local_cluster(directory, "remove", first)
                self.assertNotEqual(first, leader_of(directory))
                removed = next(n for n in range(1, 6) if n != first and n != leader_of(directory))
                local_cluster(directory, "remove", removed)
            load.check()
            members = listed(directory)
            self.assertEqual(3, len(members))
            self.assertEqual({"voter"}, {member["kind"] for member in members.values()})
            # What was removed is told so when it comes again, and does not disturb.
            term = json.loads(conclave(directory, "status", "-o", "json").stdout)
            state = json.loads((directory / "local-cluster.json").read_text(encoding="utf-8"))
            state["removed"].remove(removed)
            (directory / "local-cluster.json").write_text(json.dumps(state), encoding="utf-8")
            run = local_cluster(directory, "start", removed, "--timeout", 3, check=False)
            self.assertEqual(1, run.returncode)
            self.assertIn("has been removed from the cluster", run.stderr + run.stdout)
            again = json.loads(conclave(directory, "status", "-o", "json").stdout)
            self.assertEqual(max(m["term"] for m in term["members"]),
                             max(m["term"] for m in again["members"] if m["id"] != removed))

    def test_a_wiped_member_is_named_and_comes_back_by_one_command(self):
        with cluster(3) as directory:
            conclave(directory, "create", "/a", "before")
            leader = leader_of(directory)
            lost = next(n for n in (1, 2, 3) if n != leader)
            local_cluster(directory, "wipe", lost)
            remedy = f"conclave member replace {lost}"
            wait_for(lambda: remedy in conclave(directory, "status").stdout,
                     "the remedy in the status")
            text = conclave(directory, "status").stdout
            self.assertRegex(text, rf"member {lost}: .*another data directory.*{remedy}")
            done = conclave(directory, "member", "replace", lost)
            self.assertIn(f"member {lost} is a voter", done.stdout)
            wait_for(lambda: local_cluster(directory, "status", check=False).returncode == 0,
                     "three ready members")
            # It holds the tree and counts: one of the others may go.
            local_cluster(directory, "kill", leader)
            self.assertEqual("before", conclave(directory, "get", "/a", "-o", "raw").stdout)
            conclave(directory, "set", "/a", "after")
            # Asked again, there is nothing to do.
            local_cluster(directory, "start", leader)
            done = conclave(directory, "member", "replace", lost)
            self.assertIn("with the data directory that counts", done.stdout)

    def test_a_member_is_replaced_by_another(self):
        with cluster(3) as directory:
            conclave(directory, "create", "/a", "kept")
            local_cluster(directory, "kill", 3)
            local_cluster(directory, "add", "--no-vote")  # runs; that it was an observer is undone
            conclave(directory, "member", "remove", 4)
            host, port = listed(directory)[3]["peer_address"].split(":")
            address = f"{host}:{int(port) + 1}"
            refused = conclave(directory, "member", "replace", 3, "--with", "4=nonsense", expect=3)
            self.assertIn("HOST:PEERPORT", refused.stderr)
            conclave(directory, "member", "replace", 3, "--with", f"4={address}")
            self.assertEqual([1, 2, 4], sorted(listed(directory)))

    def test_leadership_goes_where_it_is_sent_and_moves_before_a_stop(self):
        with cluster(3) as directory:
            old = leader_of(directory)
            to = next(n for n in (1, 2, 3) if n != old)
            self.assertIn(f"member {to} leads",
                          conclave(directory, "member", "transfer-leader", to).stdout)
            self.assertEqual(to, leader_of(directory))
            moved = json.loads(
                conclave(directory, "member", "transfer-leader", "-o", "json").stdout)
            self.assertNotEqual(to, moved["leader"])
            local_cluster(directory, "stop", moved["leader"])
            self.assertIn("server.hand_over", log_of(directory, moved["leader"]))
            self.assertIn("result=begun", log_of(directory, moved["leader"]))
            conclave(directory, "create", "/after")

    def test_an_unsafe_change_is_refused_with_the_reason(self):
        with cluster(3) as directory:
            leader = leader_of(directory)
            others = [n for n in (1, 2, 3) if n != leader]
            local_cluster(directory, "kill", others[0])
            refused = wait_for(lambda: self._refused(directory, others[1]), "a refusal")
            self.assertIn(f"not heard from: {others[0]}", refused)
            self.assertEqual(3, len(listed(directory)))
            unknown = conclave(directory, "member", "promote", 9, expect=3)
            self.assertIn("no member has this id", unknown.stderr)

    def _refused(self, directory, member):
        run = subprocess.run([BIN_DIR / "conclave", "--endpoints", endpoints(directory), "member",
                              "remove", str(member)], capture_output=True, text=True, check=False)
        # Within an election timeout the dead one still counts as heard from; then the change waits
        # for a majority that cannot come, which must not happen here.
        self.assertEqual(1, run.returncode, run.stdout + run.stderr)
        return run.stderr


class LostMajorityTest(unittest.TestCase):
    def conclaved(self, directory, member, *flags):
        """Runs conclaved with the flags that the member had: (status, what it said)."""
        state = json.loads((directory / "local-cluster.json").read_text(encoding="utf-8"))
        base = state["base_port"]
        members = ",".join(f"{i}=127.0.0.1:{base + 100 + i}" for i in (1, 2, 3))
        run = subprocess.run(
            [BIN_DIR / "conclaved", f"--id={member}", f"--cluster_name={state['cluster_name']}",
             f"--data_dir={directory / str(member) / 'data'}", f"--members={members}",
             f"--client_address=127.0.0.1:{base + member}", "--admin_address=", *flags],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
        return run.returncode, run.stdout + run.stderr, state["cluster_name"]

    def test_a_survivor_goes_on_as_another_cluster_and_an_old_member_is_refused(self):
        with cluster(3) as directory:
            conclave(directory, "create", "/a", "kept")
            old_id = json.loads(conclave(directory, "status", "-o", "json").stdout)["cluster_id"]
            wait_for(lambda: len({m["applied_index"] for m in json.loads(conclave(
                directory, "status", "-o", "json").stdout)["members"]}) == 1, "equal members")
            # A running member's directory is left alone.
            self.assertEqual(1, self.conclaved(directory, 1, "--recover_lost_majority")[0])
            local_cluster(directory, "kill", 1, 2, 3)
            status, text, name = self.conclaved(directory, 2, "--recover_lost_majority")
            self.assertEqual(1, status, text)
            for part in ("member 1 at", "member 3 at", "is dropped", "1099511627776",
                         "Nothing was changed", f"--confirm_recovery={name}"):
                self.assertIn(part, text)
            status, text, _ = self.conclaved(directory, 2, "--recover_lost_majority",
                                             "--confirm_recovery=another")
            self.assertEqual(2, status, text)
            status, text, _ = self.conclaved(directory, 2, "--recover_lost_majority",
                                             f"--confirm_recovery={name}")
            self.assertEqual(0, status, text)
            self.assertIn("Done: the id of the new cluster is", text)
            local_cluster(directory, "start", 2, check=False)
            self.assertEqual("kept", conclave(directory, "get", "/a", "-o", "raw").stdout)
            state = json.loads(conclave(directory, "status", "-o", "json").stdout)
            self.assertEqual([2], [member["id"] for member in state["members"]])
            self.assertNotEqual(old_id, state["cluster_id"])
            self.assertGreater(state["members"][0]["applied_index"], 1 << 40)
            # One of the old members comes: it is refused, and nothing becomes of it.
            local_cluster(directory, "start", 3, "--timeout", 3, check=False)
            wait_for(lambda: "different clusters" in log_of(directory, 3),
                     "the old member to be refused")
            self.assertEqual("kept", self.at(directory, 2, "get", "/a", "-o", "raw"))
            # Emptied, it is welcome.
            port = endpoints(directory).split(":")[-1]
            self.assertIn("learner", self.at(directory, 2, "member", "add",
                                             f"3=127.0.0.1:{int(port) + 100}"))
            local_cluster(directory, "wipe", 3)
            wait_for(lambda: len(re.findall(" voter ", self.at(directory, 2, "member", "list")))
                     == 2, "member 3 to be a voter")
            wait_for(lambda: self.at(directory, 3, "get", "/a", "-o", "raw") == "kept",
                     "the tree at member 3")

    def at(self, directory, member, *arguments):
        """What conclave prints that knows this member alone."""
        return subprocess.run(
            [BIN_DIR / "conclave", "--endpoints", endpoints(directory).split(",")[member - 1],
             *arguments], capture_output=True, text=True, timeout=60, check=False).stdout


class StopTest(unittest.TestCase):
    def test_a_rolling_restart_loses_no_write(self):
        with cluster(3) as directory:
            with Load(directory) as load:
                for number in (1, 2, 3):
                    pid = int((directory / str(number) / "pid").read_text(encoding="ascii"))
                    os.kill(pid, signal.SIGTERM)
                    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "its end")  # noqa: B023
                    local_cluster(directory, "start", number)
            load.check()


if __name__ == "__main__":
    unittest.main()
