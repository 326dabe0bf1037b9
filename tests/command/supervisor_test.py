#!/usr/bin/env python3
"""lock and elect as supervisors: what the program sees, and that it never outlives the lock."""

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import unittest

from command import BIN_DIR, CommandTest, Member, is_gone, run
from waiting import wait_for

# Says which signals it gets; ends with status 9 on TERM. Its first line is its pid.
ECHO = r"""
import os, signal, sys
def say(text):
    os.write(1, (text + "\n").encode())
def got(number, frame):
    say(signal.Signals(number).name)
    if number == signal.SIGTERM:
        sys.exit(9)
for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT"):
    signal.signal(getattr(signal, "SIG" + name), got)
say(str(os.getpid()))
while True:
    signal.pause()
"""

# Ignores TERM and has a child in a session of its own which does so too. Writes both pids to $0.
STUBBORN = ('trap "" TERM; setsid sh -c \'trap "" TERM; echo $$ > "$0.new"; mv "$0.new" "$0"; '
            'while :; do :; done\' "$0.child" & while ! [ -e "$0.child" ]; do :; done; '
            'echo $$ $(cat "$0.child") > "$0.new"; mv "$0.new" "$0"; while :; do :; done')


class SupervisorTest(CommandTest):
    def contenders(self):
        return len(self.ok("ls", self.path).split()) if self.exists(self.path) else 0

    def echo(self, *arguments):
        """A lock held over ECHO, and ECHO's pid."""
        process = self.start("lock", self.path, *arguments, "--", sys.executable, "-c", ECHO)
        return process, int(process.stdout.readline())

    def stubborn(self, *arguments, **more):
        """A lock held over STUBBORN, and the pids of that and its child."""
        file = self.dir / "pids"
        process = self.start("lock", self.path, *arguments, "--", "sh", "-c", STUBBORN, file,
                             **more)
        wait_for(file.exists, "the program")
        pids = [int(pid) for pid in file.read_text(encoding="ascii").split()]
        self.addCleanup(self.kill_all, pids)
        return process, pids

    @staticmethod
    def kill_all(pids):
        for pid in pids:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)

    def test_exit_statuses_are_handed_back(self):
        for status in (0, 1, 5, 255):
            done = self.conclave("lock", self.path, "--", "sh", "-c", f"exit {status}")
            self.assertEqual((done.returncode, done.stderr), (status, ""))
        done = self.conclave("lock", self.path, "--", "sh", "-c", "kill -TERM $$")
        self.assertEqual(done.returncode, 128 + signal.SIGTERM)
        self.assertIn("nonexistent", self.fails(127, "lock", self.path, "--", "/nonexistent"))
        self.fails(126, "lock", self.path, "--", "/etc/passwd")
        self.assertEqual(self.contenders(), 0)

    def test_environment(self):
        tokens = []
        for _ in range(3):
            path, token = self.ok(
                "lock", self.path, "--", "sh", "-c",
                'echo "$CONCLAVE_LOCK_PATH $CONCLAVE_FENCING_TOKEN"').split()
            self.assertEqual(path, self.path)
            tokens.append(int(token))
        self.assertEqual(tokens, sorted(set(tokens)))
        self.assertEqual(self.ok("elect", self.path, "--value", "me", "--", "sh", "-c",
                                 'echo "$CONCLAVE_ELECTION_PATH"'), f"{self.path}\n")

    def test_arguments_pass_through_untouched(self):
        arguments = ["--timeout", "-o", "json", "--", "", "a b", "*", "--help", "-v"]
        self.assertEqual(self.ok("lock", self.path, "--", "printf", r"%s\n", *arguments),
                         "".join(f"{argument}\n" for argument in arguments))

    def test_standard_input_and_output_are_the_programs(self):
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            self.assertEqual(self.ok("lock", self.path, "--", "cat", stdin=file), text)

    def test_signals_are_passed_on(self):
        process, pid = self.echo()
        for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"):
            process.send_signal(getattr(signal, name))
            self.assertEqual(process.stdout.readline(), f"{name}\n")
        process.send_signal(signal.SIGTSTP)
        wait_for(lambda: state_of(pid) == "T", "the program to be stopped")
        self.assertNotEqual(state_of(process.pid), "T")
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.stdout.readline(), "SIGCONT\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.stdout.readline(), "SIGTERM\n")
        self.assertEqual(process.wait(30), 9)

    def test_ignored_signals_stay_ignored(self):
        process = self.start("lock", self.path, "--", sys.executable, "-c", ECHO,
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.stdout.readline(), "SIGUSR1\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 9)

    def test_a_signal_ends_the_waiting(self):
        holder, _ = self.echo()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            waiting = self.start("lock", self.path, "--", "touch", self.dir / "ran")
            wait_for(lambda: self.contenders() == 2, "the second contender")
            waiting.send_signal(number)
            self.assertEqual(waiting.wait(30), 128 + number)
            self.assertEqual(self.contenders(), 1, "the contender was not withdrawn")
        holder.terminate()
        self.assertEqual(holder.wait(30), 9)
        self.assertFalse((self.dir / "ran").exists())

    def test_a_wait_that_is_too_long(self):
        self.echo()
        self.fails(6, "lock", "--timeout", "300ms", self.path, "--", "touch", self.dir / "ran")
        self.assertEqual(self.contenders(), 1)
        self.assertFalse((self.dir / "ran").exists())

    def test_the_lock_is_released_after_the_program_has_ended(self):
        log = self.dir / "log"
        script = f'trap "while ! [ -e {self.dir}/go ]; do :; done; echo first ends >> {log}; ' \
                 f'exit 3" TERM; echo; while :; do :; done'
        first = self.start("lock", self.path, "--", "sh", "-c", script)
        first.stdout.readline()
        second = self.start("lock", self.path, "--", "sh", "-c", f"echo second begins >> {log}")
        wait_for(lambda: self.contenders() == 2, "the second contender")
        first.terminate()
        (self.dir / "go").touch()
        self.assertEqual(first.wait(30), 3)
        self.assertEqual(second.wait(30), 0)
        self.assertEqual(log.read_text(encoding="ascii"), "first ends\nsecond begins\n")

    def test_killed_supervisor_takes_the_whole_tree_with_it(self):
        process, pids = self.stubborn("--session-timeout", "2s", "--grace", "100ms")
        process.kill()
        process.wait(30)
        wait_for(lambda: all(map(is_gone, pids)), "the program and its child to end")
        self.ok("lock", self.path, "--timeout", "20s", "--", "true")

    def test_killed_supervisor_tells_the_program_first(self):
        process, pid = self.echo("--on-lost", "USR1", "--grace", "200ms")
        process.kill()
        lines = process.stdout.read().split()
        # USR1 is not the end of it: KILL follows.
        self.assertEqual([line for line in lines if line != "SIGCONT"], ["SIGUSR1"])
        wait_for(lambda: is_gone(pid), "the program to end")

    def test_killed_while_it_waits(self):
        self.echo()
        waiting = self.start("lock", self.path, "--session-timeout", "1s", "--", "touch",
                             self.dir / "ran")
        wait_for(lambda: self.contenders() == 2, "the second contender")
        waiting.kill()
        waiting.wait(30)
        wait_for(lambda: self.contenders() == 1, "its session to expire")
        self.assertFalse((self.dir / "ran").exists())

    def test_killed_guard(self):
        process, pids = self.stubborn()
        (guard,) = children_of(process.pid)
        os.kill(guard, signal.SIGKILL)
        self.assertEqual(process.wait(30), 1)
        wait_for(lambda: all(map(is_gone, pids)), "the program and its child to end")
        self.assertEqual(self.contenders(), 0)

    def remove_contender(self):
        (name,) = self.ok("ls", self.path).split()
        self.ok("rm", f"{self.path}/{name}")

    def test_lost_lock_ends_the_program(self):
        process, _ = self.echo()
        self.remove_contender()
        self.assertEqual(process.wait(30), 7)
        self.assertIn("SIGTERM", process.stdout.read())
        self.assertIn("lost", process.stderr.read())

    def test_lost_lock_with_another_signal_and_kill_after_grace(self):
        process, _ = self.echo("--on-lost", "SIGUSR2", "--grace", "200ms")
        self.remove_contender()
        self.assertEqual(process.wait(30), 7)
        self.assertIn("SIGUSR2", process.stdout.read())

    def test_lost_lock_ends_what_has_left_the_group(self):
        process, pids = self.stubborn("--grace", "200ms")
        self.remove_contender()
        self.assertEqual(process.wait(30), 7)
        self.assertTrue(all(map(is_gone, pids)))

    def test_lost_cluster(self):
        member = Member()
        try:
            process, pids = self.stubborn("--session-timeout", "1s", "--grace", "100ms",
                                          endpoint=member.endpoint)
        finally:
            member.end(signal.SIGKILL)
        self.assertEqual(process.wait(30), 7)
        self.assertTrue(all(map(is_gone, pids)))

    def test_what_is_left_in_the_background_goes_on(self):
        pid = int(self.ok("lock", self.path, "--", "sh", "-c",
                          "tail -f /dev/null > /dev/null 2>&1 & echo $!"))
        self.addCleanup(self.kill_all, [pid])
        self.assertFalse(is_gone(pid))

    def test_without_a_program(self):
        process = self.start("lock", self.path)
        path, token = process.stdout.readline().split()
        self.assertEqual(path, self.path)
        self.assertGreater(int(token), 0)
        self.assertEqual(self.contenders(), 1)
        process.terminate()
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(self.contenders(), 0)
        process = self.start("lock", self.path, "-o", "jsonl")
        held = json.loads(process.stdout.readline())
        self.assertEqual((held["path"], held["token"] > int(token)), (self.path, True))
        self.remove_contender()
        self.assertEqual(process.wait(30), 7)

    def test_elections_are_observed(self):
        observer = self.start("elect", "--observe", self.path)
        self.assertEqual(json.loads(observer.stdout.readline()),
                         {"election": self.path, "leader": None})
        candidates = {}
        for name in ("a", "b"):
            candidates[name] = self.start("elect", self.path, "--value", name)
            wait_for(lambda count=len(candidates): self.contenders() == count, "the candidate")
        first = json.loads(observer.stdout.readline())["leader"]
        self.assertEqual(first["value"], "a")
        candidates["a"].terminate()
        second = json.loads(observer.stdout.readline())["leader"]
        while second is None:  # nobody led for a moment
            second = json.loads(observer.stdout.readline())["leader"]
        self.assertEqual(second["value"], "b")
        self.assertGreater(second["token"], first["token"])
        self.assertTrue(second["path"].startswith(f"{self.path}/"))
        observer.terminate()
        self.assertEqual(observer.wait(30), 0)


class TerminalTest(CommandTest):
    """With a terminal, the program has it, and Ctrl-C and Ctrl-Z are the program's."""

    def setUp(self):
        super().setUp()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["CONCLAVE_ENDPOINTS"] = self.member.endpoint
            os.execv(BIN_DIR / "conclave", ["conclave", "lock", self.path, "--",
                                            sys.executable, "-c", ECHO])
        self.addCleanup(os.close, self.terminal)
        self.text = ""
        self.ended = None
        self.addCleanup(self.end)

    def end(self):
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def read_until(self, text):
        while text not in self.text:
            self.text += os.read(self.terminal, 4096).decode()

    def test_keys(self):
        self.read_until("\n")
        program = int(self.text.split()[0])
        self.assertEqual(os.tcgetpgrp(self.terminal), program)
        os.write(self.terminal, b"\x03")
        self.read_until("SIGINT\r\n")
        os.write(self.terminal, b"\x1a")
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status), "Ctrl-Z did not stop the job")
        self.assertEqual(state_of(program), "T")
        os.kill(self.pid, signal.SIGCONT)
        self.read_until("SIGCONT\r\n")
        os.kill(self.pid, signal.SIGTERM)
        self.read_until("SIGTERM\r\n")
        _, self.ended = os.waitpid(self.pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(self.ended), 9)


def state_of(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()[0]


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True,
                           check=False)
    return [int(child) for child in found.stdout.split()]


if __name__ == "__main__":
    unittest.main()
