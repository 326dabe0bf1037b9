#!/usr/bin/env python3
"""create, get, set, rm, ls, tree, stat, status, session, bench: output, JSON, exit statuses."""

import json
import os
import pty
import re
import signal
import stat
import unittest

from command import CommandTest, free_port, run
from waiting import wait_for

STAT_FIELDS = {"czxid", "mzxid", "pzxid", "ctime_ms", "mtime_ms", "version", "cversion", "aversion",
               "ephemeral_owner", "data_length", "num_children"}


class TreeTest(CommandTest):
    def test_values_of_every_kind(self):
        for name, value, arguments in (("null", None, []), ("empty", "", [""]),
                                       ("text", "grün\n", ["grün\n"])):
            path = f"{self.path}/{name}"
            self.assertEqual(self.ok("create", "-p", path, *arguments), path + "\n")
            got = self.json("get", path)
            self.assertEqual(got["value"], value)
            self.assertEqual(got["path"], path)
            self.assertEqual(set(got["stat"]), STAT_FIELDS)
            self.assertEqual(got["stat"]["data_length"], len((value or "").encode()))

    def test_bytes_go_in_and_out_unchanged(self):
        data = bytes(range(256)) + b"\xff\xc0\x80"
        (self.dir / "value").write_bytes(data)
        self.ok("create", self.path, "--value-file", self.dir / "value")
        self.assertEqual(self.ok("get", self.path, "-o", "raw", text=False), data)
        self.assertEqual(list(self.json("get", self.path)["value"]), ["base64"])
        with open(self.dir / "value", "rb") as file:
            self.ok("set", self.path, "-", stdin=file)
        self.assertEqual(self.ok("get", self.path, "-o", "raw", text=False), data)

    def test_base64_is_that_of_everybody(self):
        import base64
        for length in range(1, 5):
            data = b"\xff\xfe\xfd\xfc"[:length]
            (self.dir / "value").write_bytes(data)
            path = f"{self.path}{length}"
            self.ok("create", path, "--value-file", self.dir / "value")
            self.assertEqual(self.json("get", path)["value"],
                             {"base64": base64.b64encode(data).decode()})

    def test_set_and_versions(self):
        self.ok("create", self.path, "a")
        self.assertEqual(self.json("set", self.path, "b", "--version", 0)["stat"]["version"], 1)
        self.assertIn("BadVersion", self.fails(5, "set", self.path, "c", "--version", 0))
        self.assertEqual(self.ok("get", self.path), "b\n")
        self.fails(5, "rm", self.path, "--version", 0)
        self.ok("rm", self.path, "--version", 1)
        self.fails(4, "get", self.path)

    def test_a_value_may_look_like_an_option(self):
        self.ok("create", self.path, "x")
        self.ok("set", self.path, "-5")
        self.assertEqual(self.ok("get", self.path), "-5\n")
        self.ok("set", self.path, "--", "--version")
        self.assertEqual(self.ok("get", self.path), "--version\n")
        self.ok("set", self.path, "lock", "--version", 2)
        self.assertEqual(self.ok("get", self.path), "lock\n")

    def test_exit_statuses(self):
        self.ok("create", self.path)
        self.assertIn("NodeExists", self.fails(1, "create", self.path))
        self.ok("create", f"{self.path}/child")
        self.assertIn("NotEmpty", self.fails(1, "rm", self.path))
        for command in (["get"], ["set", "x"], ["rm"], ["ls"], ["tree"], ["stat"]):
            self.fails(4, command[0], "/missing", *command[1:])
        self.fails(4, "create", "/missing/child")
        self.fails(3, "create", f"{self.path}/..")
        (self.dir / "large").write_bytes(b"x" * ((1 << 20) + 1))
        self.assertIn("TooLarge", self.fails(1, "set", self.path, "--value-file",
                                             self.dir / "large"))

    def test_usage_errors(self):
        for arguments in ([], ["frobnicate"], ["get"], ["get", "/a", "--frobnicate"],
                          ["get", "/a", "--read", "fresh"], ["get", "/a", "-o", "xml"],
                          ["get", "/a", "--timeout", "5 parsecs"], ["set", "/a", "b", "c"],
                          ["rm", "-r", "/a", "--version", "1"], ["get", "/a", "--", "true"],
                          ["create", "/a", "--value-file", "/nonexistent"],
                          ["get", "/a", "--endpoints", "nonsense"],
                          ["lock", "/l", "--on-lost", "FROB", "--", "true"], ["lock"],
                          ["elect", "/e", "--", "true"], ["bench", "--op", "dance"],
                          ["watch", "/a", "--from", "yesterday"],
                          ["import", "/nonexistent", "/a"]):
            with self.subTest(arguments):
                self.fails(3, *arguments)

    def test_help_and_version(self):
        self.assertIn("lock", self.ok("--help"))
        self.assertIn("--on-lost", self.ok("lock", "--help"))
        self.assertRegex(self.ok("--version"), r"^conclave \d+\.\d+\.\d+\n$")

    def test_nobody_there(self):
        done = run("get", "/", "--timeout", "200ms", endpoint=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 2, done.stderr)
        done = run("create", "/a", "--timeout", "200ms", endpoint=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 2, done.stderr)
        done = run("status", "--timeout", "200ms", endpoint=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 2, done.stderr)
        done = run("--timeout", "200ms", "lock", "/l", "--", "true",
                   endpoint=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, 2, done.stderr)

    def test_a_flag_beats_the_environment(self):
        self.ok("create", self.path, "v")
        nowhere = f"127.0.0.1:{free_port()}"
        done = run("get", self.path, "--endpoints", self.member.endpoint, endpoint=nowhere)
        self.assertEqual(done.stdout, "v\n")
        env = {"CONCLAVE_OUTPUT": "json"}
        self.assertEqual(json.loads(self.ok("get", self.path, env=env))["value"], "v")
        self.assertEqual(self.ok("get", self.path, "-o", "raw", env=env), "v")

    def test_lists(self):
        self.ok("create", "-p", f"{self.path}/b/c", "1")
        self.ok("create", f"{self.path}/a", "2")
        self.assertEqual(self.ok("ls", self.path), "a\nb\n")
        self.assertEqual(self.ok("ls", "-R", self.path), "a\nb\nb/c\n")
        self.assertEqual(self.json("ls", self.path), ["a", "b"])
        long = self.json("ls", "-l", self.path)
        self.assertEqual([(e["name"], e["value"], e["stat"]["num_children"]) for e in long],
                         [("a", "2", 0), ("b", None, 1)])
        self.assertRegex(self.ok("ls", "-l", self.path), r"(?m)^NAME +VERSION")
        self.assertEqual(
            self.json("tree", self.path),
            {"name": self.path, "value": None,
             "children": [{"name": "a", "value": "2"},
                          {"name": "b", "value": None,
                           "children": [{"name": "c", "value": "1"}]}]})
        self.assertRegex(self.ok("tree", self.path), r"(?m)^ +└─c +1$")

    def test_a_deep_and_wide_tree_in_json(self):
        for name in ("a/x", "a/y", "b", "c/x/1", "c/x/2", "d"):
            self.ok("create", "-p", f"{self.path}/{name}", name)

        def names(tree):
            return {child["name"]: names(child) for child in tree.get("children", [])}

        self.assertEqual(names(self.json("tree", self.path)),
                         {"a": {"x": {}, "y": {}}, "b": {}, "c": {"x": {"1": {}, "2": {}}},
                          "d": {}})

    def test_control_characters_do_not_reach_the_terminal(self):
        self.ok("create", self.path, "\x1b[31mred")
        self.ok("create", f"{self.path}/child", "\x1b[31mred")
        self.assertNotIn("\x1b", self.ok("ls", "-l", self.path))
        self.assertIn("^[[31mred", self.ok("tree", self.path))

    def test_remove_recursively(self):
        for i in range(600):
            (self.dir / f"file-{i}").touch()
        self.ok("import", self.dir, f"{self.path}/wide")
        self.ok("create", "-p", f"{self.path}/a/b/c")
        self.ok("rm", "-r", self.path)
        self.assertFalse(self.exists(self.path))

    def test_sequential(self):
        self.ok("create", self.path)
        names = [self.ok("create", "-s", f"{self.path}/n-").strip() for _ in range(2)]
        self.assertEqual(names, [f"{self.path}/n-000000000{i}" for i in range(2)])

    def test_an_ephemeral_lives_as_long_as_the_command(self):
        process = self.start("create", "-e", self.path, "here")
        self.assertEqual(process.stdout.readline(), self.path + "\n")
        self.assertNotEqual(self.json("stat", self.path)["stat"]["ephemeral_owner"], 0)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)
        self.assertFalse(self.exists(self.path))

    def test_stat_as_a_table(self):
        self.ok("create", self.path, "12345")
        self.assertRegex(self.ok("stat", self.path), r"(?m)^data length +5$")


class ClusterTest(CommandTest):
    def test_status(self):
        status = self.json("status")
        self.assertEqual(status["leader"], 1)
        (member,) = status["members"]
        self.assertEqual((member["id"], member["role"], member["reachable"]), (1, "leader", True))
        self.assertGreaterEqual(member["commit_index"], member["applied_index"])
        self.assertGreater(member["applied_index"], 0)
        self.assertGreater(member["term"], 0)
        self.assertLessEqual({"client_address", "peer_address", "admin_address"}, set(member))
        self.assertRegex(self.ok("status"), r"(?m)^ *1 leader")

    def test_status_with_endpoints_of_which_one_is_dead(self):
        done = run("status", "-o", "json", "--timeout", "500ms",
                   endpoint=f"127.0.0.1:{free_port()},{self.member.endpoint}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["leader"], 1)

    def test_a_session_is_kept_shown_and_closed(self):
        file = self.dir / "session"
        saved = self.json("session", "save", file)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.fails(3, "session", "save", file)
        self.assertEqual(self.json("session", "show", file)["session"], saved["session"])
        self.ok("session", "close", file)
        self.assertFalse(file.exists())

    def test_a_closed_session_is_lost(self):
        file, copy = self.dir / "session", self.dir / "copy"
        self.ok("session", "save", file)
        copy.write_bytes(file.read_bytes())
        self.ok("session", "close", file)
        self.assertIn("SessionExpired", self.fails(7, "session", "show", copy))
        (self.dir / "nonsense").write_text("nonsense\n", encoding="ascii")
        self.fails(3, "session", "show", self.dir / "nonsense")

    def test_bench_counts(self):
        common = ("--count", 200, "--warmup", "0", "--keys", 10, "--outstanding", 8,
                  "--path", self.path)
        for op, parts in (("set", {"set"}), ("get", {"get"}), ("mixed", {"get", "set"})):
            result = self.json("bench", "--op", op, "--connections", 2, *common)
            self.assertEqual(result["operations"], 200)
            self.assertEqual(sum(result[part]["count"] for part in parts), 200)
            for part in parts:
                latency = result[part]["latency_ms"]
                self.assertTrue(0 < latency["p50"] <= latency["p90"] <= latency["p99"]
                                <= latency["p99_9"] <= latency["max"], latency)
            self.assertGreater(result["throughput"], 0)
            self.assertGreater(result["client_cpu_us_per_operation"], 0)
            self.assertEqual(result["errors"], {})
        result = self.json("bench", "--op", "watch", "--connections", 3, *common)
        self.assertEqual((result["set"]["count"], result["event"]["count"]), (200, 600))
        self.assertEqual(self.ok("ls", self.path), "", "its znodes are left behind")

    def test_bench_is_ended_by_a_signal_and_cleans_up(self):
        process = self.start("bench", "--seconds", "1h", "--warmup", "0", "--keys", 5, "--path",
                             self.path, "-o", "json")
        wait_for(lambda: self.exists(self.path) and self.json("ls", "-R", self.path), "its znodes")
        (own,) = [name for name in self.json("ls", self.path)]
        key = f"{self.path}/{own}/key-000000"
        wait_for(lambda: self.exists(key) and self.json("stat", key)["stat"]["version"] > 0,
                 "the first set")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, errors)
        self.assertTrue(json.loads(output)["interrupted"])
        self.assertEqual(self.ok("ls", self.path), "")

    def test_bench_shows_progress_and_a_table(self):
        master, slave = pty.openpty()
        done = self.conclave("bench", "--seconds", "500ms", "--warmup", "0", "--keys", 5, "--path",
                             self.path, capture_output=False, stdout=slave, stderr=slave)
        os.close(slave)
        output = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
        os.close(master)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(re.search(rb"\d calls, \d+/s", output), output)
        self.assertTrue(re.search(rb"set +\d+ +\d+", output), output)


if __name__ == "__main__":
    unittest.main()
