#!/usr/bin/env python3
"""conclaved under bad luck and bad input: a clear refusal, and the others go on."""

import hashlib
import json
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from members import BIN_DIR, cluster, local_cluster
from waiting import wait_for

CONCLAVED = BIN_DIR / "conclaved"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def run(*flags):
    """Runs conclaved to its end: (exit status, what it said)."""
    done = subprocess.run([CONCLAVED, *flags], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout + done.stderr


def contents(directory):
    """A digest of every file below a directory."""
    sums = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        sums.update(str(path.relative_to(directory)).encode())
        sums.update(path.read_bytes() if path.is_file() else b"")
    return sums.hexdigest()


def http(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def members_of(directory):
    return json.loads(local_cluster(directory, "status", "-o", "json", check=False).stdout)[
        "members"]


def resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class CommandLineTest(unittest.TestCase):
    def flags(self, **changes):
        flags = {"id": "1", "data_dir": "/nonexistent/data", "members": "1=127.0.0.1:30001",
                 "client_address": "127.0.0.1:30002", "admin_address": "127.0.0.1:30003"}
        return [f"--{name}={value}" for name, value in {**flags, **changes}.items()]

    def test_a_wrong_value_is_refused_by_the_name_of_its_flag(self):
        for flag, value in (("members", ""), ("members", "1=127.0.0.1"), ("members", "127.0.0.1:1"),
                            ("members", "1=127.0.0.1:70000"), ("members", "2=127.0.0.1:30001"),
                            ("members", "1=127.0.0.1:30001,1=127.0.0.1:30004"),
                            ("members", "1=10.1.2.3:30001"), ("client_address", "0.0.0.0:9"),
                            ("client_address", "nonsense"), ("admin_address", "8.8.8.8:1"),
                            ("data_dir", ""), ("tick_ms", "0"), ("heartbeat_ticks", "99"),
                            ("election_ticks_max", "1"), ("cluster_name", ""),
                            ("cluster_name", "two\nlines"), ("io_threads", "many"),
                            ("id", "first"), ("free_space_reserve_bytes", str(1 << 40))):
            with self.subTest(flag=flag, value=value):
                status, text = run(*self.flags(**{flag: value}))
                self.assertEqual(2, status, text)
                self.assertIn(flag, text)

    def test_what_is_no_flag_is_refused(self):
        status, text = run(*self.flags(), "--no_such_flag=1")
        self.assertEqual(2, status)
        self.assertIn("no_such_flag", text)
        status, text = run(*self.flags(), "stray")
        self.assertEqual(2, status)
        self.assertIn("stray", text)

    def test_help_and_version_are_no_errors(self):
        status, text = run("--help")
        self.assertEqual(0, status)
        self.assertIn("--data_dir", text)
        self.assertEqual(0, run("--version")[0])

    def test_a_directory_that_cannot_be_made_is_named(self):
        status, text = run(*self.flags(data_dir="/proc/nothing/data"))
        self.assertEqual(1, status)
        self.assertIn("/proc/nothing/data", text)


class DevTest(unittest.TestCase):
    def test_dev_serves_and_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as work:
            admin = f"127.0.0.1:{free_port()}"
            with subprocess.Popen(
                    [CONCLAVED, "--dev", f"--client_address=127.0.0.1:{free_port()}",
                     f"--admin_address={admin}"], env={"TMPDIR": work},
                    stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    wait_for(lambda: http(admin, "/readyz")[0] == 200, "the member to be ready")
                    self.assertEqual(1, len(list(pathlib.Path(work).iterdir())))
                    self.assertEqual("leader", json.loads(http(admin, "/status")[1])["role"])
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(0, process.wait(20))
                finally:
                    process.kill()
            self.assertEqual([], list(pathlib.Path(work).iterdir()))


class ClusterTest(unittest.TestCase):
    """Three members, of which one has bad luck."""

    def member_flags(self, directory, member, **changes):
        """The flags of a member, from its process."""
        pid = int((directory / str(member) / "pid").read_text(encoding="ascii"))
        flags = pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[1:-1]
        known = dict(flag.lstrip("-").split("=", 1) for flag in flags)
        return [f"--{name}={value}" for name, value in {**known, **changes}.items()]

    def test_a_directory_in_use_or_of_someone_else_is_refused_and_left_as_it_was(self):
        with cluster() as directory:
            # The same directory, everything else apart from it.
            ports = [free_port() for _ in range(3)]
            flags = self.member_flags(
                directory, 1, client_address=f"127.0.0.1:{ports[0]}", admin_address="",
                members=f"1=127.0.0.1:{ports[1]},2=127.0.0.1:{ports[2]}")
            status, text = run(*flags)
            self.assertEqual(1, status, text)
            self.assertIn(str(directory / "1" / "data"), text)
            self.assertEqual([True] * 3, [m["ready"] for m in members_of(directory)])

            local_cluster(directory, "stop", "1")
            data = directory / "1" / "data"
            before = contents(data)
            for change in ("--cluster_name=elsewhere", "--id=2"):
                with self.subTest(change=change):
                    status, text = run(*flags, change)
                    self.assertEqual(1, status, text)
                    self.assertIn(f"--data_dir={data} belongs to member 1", text)
                    self.assertEqual(before, contents(data))
            local_cluster(directory, "start", "1")

    def test_a_port_in_use_is_named(self):
        with tempfile.TemporaryDirectory() as work, \
                socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for flag in ("client_address", "admin_address", "members"):
                with self.subTest(flag=flag):
                    flags = {"id": "1", "data_dir": f"{work}/{flag}",
                             "client_address": f"127.0.0.1:{free_port()}",
                             "admin_address": f"127.0.0.1:{free_port()}",
                             "members": f"1=127.0.0.1:{free_port()}"}
                    flags[flag] = f"1={address}" if flag == "members" else address
                    status, text = run(*(f"--{name}={value}" for name, value in flags.items()))
                    self.assertEqual(1, status, text)
                    self.assertIn(address, text)
                    self.assertIn("in use", text)

    def test_an_emptied_member_is_not_let_back_and_the_others_go_on(self):
        with cluster() as directory:
            local_cluster(directory, "kill", "1")
            shutil.rmtree(directory / "1" / "data")
            start = local_cluster(directory, "start", "--timeout", "4", "1", check=False)
            self.assertEqual(1, start.returncode)
            self.assertIn("/readyz", start.stderr)
            wait_for(lambda: [m["ready"] for m in members_of(directory)] == [False, True, True],
                     "the other two to serve, and the emptied one not to")
            # It does not count: with one more gone there is no majority, and no leader is made.
            local_cluster(directory, "kill", "2")
            wait_for(lambda: not members_of(directory)[2]["ready"],
                     "the last one to stop serving without a majority")
            self.assertNotEqual("leader", members_of(directory)[0]["role"])
            logs = [(directory / i / "log").read_text(encoding="utf-8") for i in ("1", "2", "3")]
            self.assertTrue(any("incarnation" in line for log in logs for line in log.splitlines()
                                if "refused" in line), "no member logs why")

    HOSTILE = {
        "plain HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
        "a frame of two gigabytes": struct.pack(">I", 0x7FFFFFFF) + bytes(64),
        "a negative frame": struct.pack(">I", 0xFFFFFFFF) + bytes(64),
        "an empty frame": struct.pack(">I", 0),
        "a frame of another protocol": struct.pack(">I", 8) + b"\x01\x02\x03\x04\x05\x06\x07\x08",
        "a call with a name of two gigabytes":
            struct.pack(">IIi", 64, 0x80010001, 0x7FFFFFFF) + bytes(56),
        "a compact call cut off in its number": struct.pack(">I", 3) + b"\x82\x21\xff",
        "an unframed call": struct.pack(">Ii", 0x80010001, 4) + b"ping" + bytes(5),
    }

    def test_hostile_bytes_end_their_connection_and_nothing_else(self):
        with cluster(1) as directory:
            member = members_of(directory)[0]
            before = resident_bytes(member["pid"])
            for what, data in self.HOSTILE.items():
                for door in ("client_address", "peer_address"):
                    with self.subTest(what=what, door=door):
                        host, port = member[door].split(":")
                        with socket.create_connection((host, int(port)), timeout=10) as stream:
                            stream.sendall(data)
                            # An answer in words is fine, an open connection is not.
                            with_end = b"".join(iter(lambda: self.received(stream), b""))
                            self.assertLess(len(with_end), 4096)
            # Frames that never come to their end, each with room asked for.
            held = []
            for _ in range(200):
                stream = socket.create_connection(
                    tuple(member["client_address"].split(":")), timeout=10)
                stream.sendall(struct.pack(">I", 1 << 20) + b"\x80\x01\x00\x01")
                held.append(stream)
            wait_for(lambda: http(member["admin_address"], "/readyz")[0] == 200, "it to serve")
            self.assertLess(resident_bytes(member["pid"]) - before, 64 << 20)
            for stream in held:
                stream.close()
            self.assertEqual(member["pid"], members_of(directory)[0]["pid"])

    @staticmethod
    def received(stream):
        try:
            return stream.recv(4096)
        except ConnectionResetError:
            return b""

    def test_all_killed_at_once_come_back(self):
        with cluster() as directory:
            index = max(m["commit_index"] for m in members_of(directory))
            local_cluster(directory, "kill", "1", "2", "3")
            local_cluster(directory, "up")
            rows = members_of(directory)
            self.assertTrue(all(m["ready"] and m["applied_index"] >= index for m in rows), rows)
            # A new term has begun on the old log.
            self.assertTrue(all(m["commit_index"] > index for m in rows), rows)


if __name__ == "__main__":
    unittest.main()
