"""Clusters of Conclave, ZooKeeper and etcd on this machine's loopback, with default durability."""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "deploy"))
# pylint: disable=wrong-import-position
from loopback import HOST, Failure, free_base_port, wait_until

ZOOKEEPER_JAR = pathlib.Path("/usr/share/java/zookeeper.jar")
READY_SECONDS = 60.0
STOP_SECONDS = 10.0


def allow_many_connections():
    """As many open files as this user may have: ten thousand sessions are ten thousand sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _take_base_port(members, taken=set()):  # pylint: disable=dangerous-default-value
    """A block that no cluster of this process has had, even one that has not been started yet."""
    while True:
        base = free_base_port(members)
        if base not in taken:
            taken.add(base)
            return base


def _post(port, path):
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", data=b"{}", method="POST")
    with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
        with urllib.request.urlopen(request, timeout=2) as answer:
            return json.loads(answer.read())
    return None


def _get(port, path):
    with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2) as answer:
            return answer.read().decode(errors="replace")
    return None


class Cluster:
    """Members 1 to N of one server, each a process of this one. Stops them when it is closed."""

    target = ""

    def __init__(self, settings, members):
        self.settings = settings
        self.members = members
        self.base_port = _take_base_port(members)
        self.dir = settings.work / f"{self.target}-{members}-{self.base_port}"
        self.processes = {}
        self.extra = []        # arguments besides the usual ones
        self.environment = {}  # variables besides those of this process
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    # What differs between servers.
    def command(self, number):
        raise NotImplementedError

    def configure(self, number):
        """Writes what the member reads at its start."""

    def leads(self, number):
        """True if this member leads (alone: serves)."""
        raise NotImplementedError

    def serves(self, number):
        """True if this member takes part again after a restart."""
        raise NotImplementedError

    # What is common.
    @property
    def ports(self):
        return [self.base_port + i for i in self.numbers]

    @property
    def numbers(self):
        return range(1, self.members + 1)

    @property
    def pids(self):
        return [process.pid for _, process in sorted(self.processes.items())
                if process.poll() is None]

    def member_dir(self, number):
        return self.dir / str(number)

    def exec_member(self, number):
        """Starts one member; the wall clock right before, in nanoseconds."""
        directory = self.member_dir(number)
        directory.mkdir(parents=True, exist_ok=True)
        self.configure(number)
        command = self.command(number)
        with open(directory / "log", "ab") as log:
            begun = time.time_ns()
            self.processes[number] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                env={**os.environ, **self.environment}, start_new_session=True)
        return begun

    def exec_all(self):
        # The first member last: its probe begins when all are under way.
        return min([self.exec_member(number) for number in reversed(self.numbers)])

    def start(self):
        """Until there is a leader and every member serves."""
        self.exec_all()
        self.wait_for_leader()
        for number in self.numbers:
            self.wait_until_serving(number)
        return self

    def leader(self):
        return next((number for number in self.numbers
                     if number in self.processes and self.processes[number].poll() is None
                     and self.leads(number)), None)

    def wait_for_leader(self):
        def found():
            for number, process in self.processes.items():
                if process.poll() is not None:
                    raise Failure(f"{self.target}: member {number} ended with "
                                  f"{process.returncode}: {self.log_tail(number)}")
            return self.leader()
        if not wait_until(found, READY_SECONDS):
            raise Failure(f"{self.target}: no leader: {self.log_tail(1)}")

    def wait_until_serving(self, number):
        if not wait_until(lambda: self.serves(number), READY_SECONDS):
            raise Failure(f"{self.target}: member {number} does not serve: "
                          f"{self.log_tail(number)}")

    def resident_mb(self):
        pages = [int(pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
                 for pid in self.pids]
        return sum(pages) * resource.getpagesize() / 1048576

    def log_tail(self, number):
        text = (self.member_dir(number) / "log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-8:])

    def end_member(self, number, how=signal.SIGTERM):
        process = self.processes.pop(number, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self):
        for number in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                self.processes[number].send_signal(signal.SIGCONT)
                self.processes[number].send_signal(signal.SIGTERM)
        for number in list(self.processes):
            self.end_member(number)

    def restart(self):
        """All members anew, on the same data."""
        self.stop()
        self.start()

    def disk_mb(self):
        return sum(path.stat().st_blocks * 512 for path in self.dir.rglob("*")
                   if path.is_file()) / 1048576

    def close(self):
        self.stop()
        if not self.settings.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Conclave(Cluster):
    target = "conclave"

    @staticmethod
    def missing(settings):
        binary = settings.bin_dir / "conclaved"
        return None if os.access(binary, os.X_OK) else f"there is no {binary}"

    def command(self, number):
        members = ",".join(f"{i}={HOST}:{self.base_port + 100 + i}" for i in self.numbers)
        return [str(self.settings.bin_dir / "conclaved"), f"--id={number}",
                f"--cluster_name=bench-{self.base_port}",
                f"--data_dir={self.member_dir(number) / 'data'}", f"--members={members}",
                f"--client_address={HOST}:{self.base_port + number}",
                f"--admin_address={HOST}:{self.base_port + 200 + number}",
                *self.settings.conclave_flags, *self.extra]

    def leads(self, number):
        status = _get(self.base_port + 200 + number, "/status")
        return status is not None and str(json.loads(status).get("role")).lower() == "leader"

    def serves(self, number):
        return _get(self.base_port + 200 + number, "/readyz") is not None

    def metrics(self, number):
        """Name (with labels) to value."""
        found = {}
        for line in (_get(self.base_port + 200 + number, "/metrics") or "").splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                with contextlib.suppress(ValueError):
                    found[name] = float(value)
        return found


class ZooKeeper(Cluster):
    target = "zookeeper"
    heap = "-Xmx1000m"  # what zkEnv.sh sets

    @staticmethod
    def missing(settings):
        del settings
        if shutil.which("java") is None:
            return "there is no java"
        return None if ZOOKEEPER_JAR.exists() else f"there is no {ZOOKEEPER_JAR}"

    def configure(self, number):
        directory = self.member_dir(number)
        (directory / "data").mkdir(exist_ok=True)
        (directory / "data" / "myid").write_text(f"{number}\n", encoding="ascii")
        lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={directory / 'data'}",
                 f"clientPort={self.base_port + number}", f"clientPortAddress={HOST}",
                 "maxClientCnxns=0", "admin.enableServer=false", "4lw.commands.whitelist=srvr",
                 "maxSessionTimeout=120000"]
        if self.members > 1:
            lines += [f"server.{i}={HOST}:{self.base_port + 100 + i}:{self.base_port + 200 + i}"
                      for i in self.numbers]
        (directory / "zoo.cfg").write_text("\n".join(lines) + "\n", encoding="ascii")

    def command(self, number):
        directory = self.member_dir(number)
        return ["java", self.heap, "-cp", f"{directory}:{ZOOKEEPER_JAR}",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(directory / "zoo.cfg"),
                *self.extra]

    def _mode(self, number):
        text = b""
        with contextlib.suppress(OSError):
            with socket.create_connection((HOST, self.base_port + number), timeout=2) as stream:
                stream.settimeout(2)
                stream.sendall(b"srvr")
                while part := stream.recv(4096):
                    text += part
        mode = re.search(rb"^Mode: (\w+)", text, re.MULTILINE)
        return mode.group(1).decode() if mode else None

    def leads(self, number):
        return self._mode(number) in ("leader", "standalone")

    def serves(self, number):
        return self._mode(number) is not None


class Etcd(Cluster):
    target = "etcd"

    @staticmethod
    def missing(settings):
        del settings
        return None if shutil.which("etcd") else "there is no etcd"

    def command(self, number):
        def peer(i):
            return f"http://{HOST}:{self.base_port + 100 + i}"
        client = f"http://{HOST}:{self.base_port + number}"
        return ["etcd", "--name", f"n{number}", "--data-dir", str(self.member_dir(number) / "data"),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer(number), "--initial-advertise-peer-urls", peer(number),
                "--initial-cluster", ",".join(f"n{i}={peer(i)}" for i in self.numbers),
                "--initial-cluster-state", "new", "--initial-cluster-token", f"{self.base_port}",
                "--quota-backend-bytes", "8000000000", *self.extra]

    def leads(self, number):
        status = _post(self.base_port + number, "/v3/maintenance/status")
        return bool(status) and status.get("leader") == status["header"].get("member_id")

    def serves(self, number):
        status = _post(self.base_port + number, "/v3/maintenance/status")
        return bool(status) and status.get("leader", "0") != "0"


TARGETS = {cluster.target: cluster for cluster in (Conclave, ZooKeeper, Etcd)}
