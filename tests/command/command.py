"""A member of its own for each test program, and the command `conclave` run against it."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from waiting import wait_for

# Set by CMakeLists.txt: where conclaved and conclave of this build are.
BIN_DIR = pathlib.Path(os.environ["CONCLAVE_BIN_DIR"])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def is_gone(pid):
    """Whether a process has ended, be it that nobody has waited for it yet."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


class Member:
    """`conclaved --dev` on a free port."""

    def __init__(self):
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [BIN_DIR / "conclaved", "--dev", f"--client_address={self.endpoint}",
             "--admin_address="], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_for(self._serves, lambda: f"the member to serve:\n{self._words()}")
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def _serves(self):
        if self.process.poll() is not None:
            raise AssertionError(f"conclaved has ended:\n{self._words()}")
        return run("status", endpoint=self.endpoint).returncode == 0

    def _words(self):
        self.log.seek(0)
        return self.log.read()[-4000:]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(30)
        self.log.close()


def run(*arguments, endpoint, text=True, timeout=60, env=None, **more):
    """Runs conclave to its end."""
    return subprocess.run([BIN_DIR / "conclave", *map(str, arguments)], text=text, timeout=timeout,
                          env={**os.environ, "CONCLAVE_ENDPOINTS": endpoint, **(env or {})},
                          check=False, **{"capture_output": True, "stdin": subprocess.DEVNULL,
                                          **more})


class CommandTest(unittest.TestCase):
    """One member for all tests of a class; each test works below a path of its own."""

    @classmethod
    def setUpClass(cls):
        cls.member = Member()

    @classmethod
    def tearDownClass(cls):
        cls.member.end()

    def setUp(self):
        self.path = f"/{self._testMethodName}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="conclave-command-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def conclave(self, *arguments, **more):
        return run(*arguments, endpoint=self.member.endpoint, **more)

    def ok(self, *arguments, **more):
        """What it prints; it must succeed."""
        done = self.conclave(*arguments, **more)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "-o", "json"))

    def fails(self, status, *arguments, **more):
        """What it says on standard error; it must end with `status` and print nothing."""
        done = self.conclave(*arguments, **more)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertTrue(done.stderr.startswith("conclave: ") or "\nconclave: " in done.stderr,
                        done.stderr)
        return done.stderr

    def start(self, *arguments, endpoint=None, **more):
        """A conclave that goes on beside the test, and is killed at its end at the latest."""
        process = subprocess.Popen(
            [BIN_DIR / "conclave", *map(str, arguments)], text=True,
            env={**os.environ, "CONCLAVE_ENDPOINTS": endpoint or self.member.endpoint},
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               **more})

        def end():
            if process.poll() is None:
                process.kill()
            process.wait(30)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

        self.addCleanup(end)
        return process

    def exists(self, path):
        return self.conclave("stat", path).returncode == 0
