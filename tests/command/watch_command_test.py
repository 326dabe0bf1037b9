#!/usr/bin/env python3
"""watch: events as lines, and given to a program."""

import json
import signal
import unittest

from command import CommandTest
from waiting import wait_for

HANDLER = ('cat > "$0.new"; echo "$CONCLAVE_WATCH_TYPE $CONCLAVE_WATCH_PATH $CONCLAVE_WATCH_ZXID" '
           '>> "$0.new"; cat "$0.new" >> "$0"')


class WatchTest(CommandTest):
    def from_here(self):
        """A watch given this misses nothing of what comes next: no need to know when it is on."""
        return self.json("create", "-p", f"{self.path}-mark")["zxid"]

    def test_json_lines(self):
        mark = self.from_here()
        made = [self.json("create", self.path, "1"), self.json("set", self.path, "2"),
                self.json("create", f"{self.path}/child"), self.json("create", f"{self.path}/b",
                                                                     "")]
        self.ok("rm", f"{self.path}/b")
        lines = self.ok("watch", "--recursive", self.path, "--from", mark, "--count", 5, "-o",
                        "jsonl").splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual([(e["type"], e["path"], e.get("value", "none")) for e in events],
                         [("created", self.path, "1"), ("data_changed", self.path, "2"),
                          ("created", f"{self.path}/child", None),
                          ("created", f"{self.path}/b", ""),
                          ("deleted", f"{self.path}/b", "none")])
        self.assertEqual([e["zxid"] for e in events[:4]], [m["zxid"] for m in made])
        self.assertTrue(all(e["ordinal"] == 0 for e in events))
        self.assertEqual(events[1]["version"], 1)

    def test_from_is_behind_a_zxid(self):
        first = self.json("create", self.path, "1")["zxid"]
        self.ok("set", self.path, "2")
        for cursor in (first, f"{first}:0"):
            (line,) = self.ok("watch", self.path, "--from", cursor, "--count", 1, "-o",
                              "json").splitlines()
            self.assertEqual(json.loads(line)["value"], "2")

    def test_without_recursion_children_are_told_as_such(self):
        mark = self.json("create", self.path)["zxid"]
        self.ok("create", f"{self.path}/child")
        self.ok("set", f"{self.path}/child", "x")
        self.ok("set", self.path, "y")
        lines = self.ok("watch", self.path, "--from", mark, "--count", 2, "--no-values", "-o",
                        "json").splitlines()
        self.assertEqual([(e["type"], e["path"], "value" in e) for e in map(json.loads, lines)],
                         [("children_changed", self.path, False),
                          ("data_changed", self.path, False)])

    def test_lines_for_people(self):
        mark = self.from_here()
        zxid = self.json("create", self.path, "1\n2")["zxid"]
        self.assertEqual(self.ok("watch", self.path, "--from", mark, "--count", 1),
                         f"{zxid} created {self.path} 1^J2\n")

    def test_a_signal_ends_it(self):
        mark = self.from_here()
        process = self.start("watch", self.path, "--from", mark)
        self.ok("create", self.path)
        self.assertIn("created", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 0)

    def test_a_closed_pipe_ends_it(self):
        mark = self.from_here()
        process = self.start("watch", self.path, "--from", mark)
        self.ok("create", self.path)
        process.stdout.readline()
        process.stdout.close()
        self.ok("set", self.path, "1")
        self.assertNotEqual(process.wait(30), 0)
        process.stdout = None

    def test_a_program_for_each_event(self):
        mark = self.from_here()
        zxids = [self.json("create", self.path, "a")["zxid"],
                 self.json("set", self.path, "b")["zxid"]]
        log = self.dir / "log"
        self.ok("watch", self.path, "--from", mark, "--count", 2, "--", "sh", "-c", HANDLER, log)
        lines = log.read_text(encoding="utf-8").splitlines()
        self.assertEqual([json.loads(lines[i])["value"] for i in (0, 2)], ["a", "b"])
        self.assertEqual([lines[i] for i in (1, 3)],
                         [f"created {self.path} {zxids[0]}",
                          f"data_changed {self.path} {zxids[1]}"])

    def test_never_two_programs_at_once(self):
        mark = self.from_here()
        self.ok("create", self.path)
        for value in range(4):
            self.ok("set", self.path, value)
        script = 'mkdir "$0" || { echo twice >&2; exit 1; }; cat > /dev/null; ls / > /dev/null; ' \
                 'rmdir "$0"'
        done = self.conclave("watch", self.path, "--from", mark, "--count", 5, "--", "sh", "-c",
                             script, self.dir / "running")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_program_that_fails_is_told_and_the_next_event_comes(self):
        mark = self.from_here()
        self.ok("create", self.path)
        self.ok("set", self.path, "x")
        done = self.conclave("watch", self.path, "--from", mark, "--count", 2, "--", "sh", "-c",
                             "exit 3")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "conclave: sh ended with status 3\n" * 2)

    def test_programs_that_cannot_be_run(self):
        mark = self.from_here()
        self.ok("create", self.path)
        self.fails(127, "watch", self.path, "--from", mark, "--", "/nonexistent")
        self.fails(126, "watch", self.path, "--from", mark, "--", "/etc/passwd")

    def test_a_large_value_that_the_program_does_not_read(self):
        mark = self.from_here()
        (self.dir / "value").write_bytes(b"x" * (1 << 20))
        self.ok("create", self.path, "--value-file", self.dir / "value")
        self.ok("watch", self.path, "--from", mark, "--count", 1, "--", "true")
        self.assertEqual(
            self.ok("watch", self.path, "--from", mark, "--count", 1, "--", "wc", "-c").split(),
            [str(len(self.ok("watch", self.path, "--from", mark, "--count", 1, "-o", "jsonl")))])

    def test_terminated_while_a_program_runs(self):
        mark = self.from_here()
        self.ok("create", self.path)
        process = self.start("watch", self.path, "--from", mark, "--", "sh", "-c",
                             'trap "echo told > $0; exit" TERM; : > "$0"; while :; do :; done',
                             self.dir / "state")
        wait_for((self.dir / "state").exists, "the program")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)
        self.assertEqual((self.dir / "state").read_text(encoding="ascii"), "told\n")


if __name__ == "__main__":
    unittest.main()
