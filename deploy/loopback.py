"""Processes and ports on this machine's loopback, as deploy/local-cluster needs them."""

import contextlib
import os
import pathlib
import random
import socket
import time

HOST = "127.0.0.1"
BLOCK = 400  # ports set aside from the base port on


class Failure(Exception):
    """Something to tell the user, with the exit status."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def wait_until(condition, seconds):
    """Polls until the condition gives something true, which is returned; None after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


# --- processes ------------------------------------------------------------------------------------


def start_ticks(pid):
    """When a process began, in the kernel's ticks; None if it is gone (or a zombie)."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def write_atomically(path, text):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


# --- ports ----------------------------------------------------------------------------------------


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def port_holder(port):
    """Who listens on a port, in words: from /proc, as far as this user may look."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(
                        errors="replace").strip()
                    return f"process {process.name} ({command[:120]})"
    return "a process that this user may not look at" if inodes else "an outgoing connection"


def free_base_port(nodes):
    """A base port whose block is free, below the range that outgoing connections draw from."""
    try:
        text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        end = int(text.split()[0])
    except OSError:
        end = 32768
    bases = list(range(10000, min(end, 65536) - BLOCK, BLOCK)) or list(range(2000, 60000, BLOCK))
    random.shuffle(bases)
    for base in bases:
        if all(port_is_free(base + shift + i)
               for i in range(1, nodes + 1) for shift in (0, 100, 200, 300)):
            return base
    raise Failure("no free block of ports on this machine")
