#!/usr/bin/env python3
"""Disks that fill up, stall and fail under real processes: a library put before libc plays them."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from members import BIN_DIR, cluster, endpoints
from waiting import wait_for

# A member runs in a directory of its own. What lies there says what its disk does: `slow` (every
# sync takes five seconds), `fail` (every sync fails), `free` (so many bytes are left).
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int Sync(const char *name, int fd) {
  if (access("fail", F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  if (access("slow", F_OK) == 0) {
    struct timespec five = {5, 0};
    nanosleep(&five, NULL);
  }
  return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}

int fsync(int fd) { return Sync("fsync", fd); }

int fdatasync(int fd) { return Sync("fdatasync", fd); }

int statvfs(const char *path, struct statvfs *info) {
  int result = ((int (*)(const char *, struct statvfs *))dlsym(RTLD_NEXT, "statvfs"))(path, info);
  FILE *file = fopen("free", "r");
  unsigned long long bytes = 0;
  if (result == 0 && file != NULL && fscanf(file, "%llu", &bytes) == 1) {
    info->f_bavail = bytes / info->f_frsize;
  }
  if (file != NULL) {
    fclose(file);
  }
  return result;
}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def conclave(at, *arguments):
    return subprocess.run([BIN_DIR / "conclave", "--endpoints", at, *arguments],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          check=False)


class DiskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="conclave-disk-"))
        cls.addClassCleanup(shutil.rmtree, cls.work)
        (cls.work / "shim.c").write_text(SHIM, encoding="ascii")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.work / "shim.so",
                        cls.work / "shim.c", "-ldl"], check=True)

    def dev(self, *flags):
        """A cluster of one: (process, endpoint, its directory)."""
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.work))
        address = f"127.0.0.1:{free_port()}"
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                [BIN_DIR / "conclaved", "--dev", f"--client_address={address}", "--admin_address=",
                 *flags], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "LD_PRELOAD": str(self.work / "shim.so")})

        def end():
            process.kill()
            process.wait(30)

        self.addCleanup(end)
        wait_for(lambda: conclave(address, "status").returncode == 0, "the member to serve")
        return process, address, directory

    def test_a_failed_sync_ends_the_process_and_says_why(self):
        process, address, directory = self.dev()
        self.assertEqual(0, conclave(address, "create", "/a").returncode)
        (directory / "fail").touch()
        lost = conclave(address, "--timeout", "3s", "set", "/a", "x")
        self.assertNotEqual(0, lost.returncode)
        self.assertEqual(3, process.wait(30))
        log = (directory / "log").read_text(encoding="utf-8", errors="replace")
        self.assertRegex(log, r"fatal: .*Input/output error")

    def test_a_full_disk_refuses_what_grows_and_then_all_writes_and_recovers_by_itself(self):
        process, address, directory = self.dev("--free_space_min_bytes=1073741824",
                                               "--free_space_reserve_bytes=67108864")
        for path in ("/a", "/b", "/c"):
            self.assertEqual(0, conclave(address, "create", path).returncode)
        free = directory / "free"

        def left(size, path, status):
            free.write_text(str(size), encoding="ascii")
            return wait_for(lambda: self.answer(address, "set", path, "x", status=status),
                            f"status {status} with {size} bytes left")

        text = left(900 << 20, "/a", 1)
        self.assertIn("--free_space_min_bytes=1073741824", text)
        self.assertEqual(0, conclave(address, "get", "/a").returncode)
        self.assertEqual(1, conclave(address, "create", "/d").returncode)
        self.assertEqual(0, conclave(address, "rm", "/b").returncode)
        left(40 << 20, "/a", 1)
        refused = wait_for(lambda: self.answer(address, "rm", "/c", status=1), "a refusal")
        self.assertIn("--free_space_reserve_bytes=67108864", refused)
        self.assertEqual(0, conclave(address, "status").returncode)
        free.unlink()
        wait_for(lambda: conclave(address, "set", "/a", "y").returncode == 0, "writes again")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(30))

    def answer(self, address, *arguments, status):
        run = conclave(address, "--timeout", "3s", *arguments)
        return run.stdout + run.stderr if run.returncode == status else None

    def test_a_leader_whose_syncs_take_five_seconds_hands_over(self):
        os.environ["LD_PRELOAD"] = str(self.work / "shim.so")
        self.addCleanup(os.environ.pop, "LD_PRELOAD")
        with cluster(3) as directory:
            at = endpoints(directory)
            self.assertEqual(0, conclave(at, "create", "/a").returncode)
            old = self.leader(at)
            (directory / str(old) / "slow").touch()
            longest = 0.0
            for i in range(8):
                begun = time.monotonic()
                self.assertEqual(0, conclave(at, "set", "/a", str(i)).returncode)
                longest = max(longest, time.monotonic() - begun)
            # One second is what the simulated cluster is held to; here are two busy cores.
            self.assertLess(longest, 3.0)
            # The followers commit without the leader's disk, so the writes may be over before it
            # has been silent for long enough.
            wait_for(lambda: self.leader(at) not in (None, old), "another leader")

    def test_a_leader_without_space_hands_over_to_one_that_has_some(self):
        os.environ["LD_PRELOAD"] = str(self.work / "shim.so")
        self.addCleanup(os.environ.pop, "LD_PRELOAD")
        with cluster(3) as directory:
            at = endpoints(directory)
            old = self.leader(at)
            (directory / str(old) / "free").write_text(str(4 << 20), encoding="ascii")
            wait_for(lambda: self.leader(at) not in (None, old), "another leader")
            self.assertEqual(0, conclave(at, "create", "/a").returncode)
            self.assertIn(f"member {old}: the disk has", conclave(at, "status").stdout)

    def leader(self, at):
        run = conclave(at, "status", "-o", "json")
        return json.loads(run.stdout)["leader"] if run.returncode == 0 else None


if __name__ == "__main__":
    unittest.main()
