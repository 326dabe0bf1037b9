"""Runs the load generator and says what came of it; waits for a quiet machine before."""

import json
import subprocess
import sys
import time

from servers import wait_until

QUIET_CORES = 0.4
SAMPLE_SECONDS = 0.25
TIMEOUT_SECONDS = 900


def say(text):
    print(text, file=sys.stderr, flush=True)


def wait(seconds):
    """Until so much time has passed: for rates, which are counts over time."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 1)


def busy_seconds():
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(field) for field in stat.readline().split()[1:8]]
    user, nice, system, _, _, interrupts, soft = fields
    return (user + nice + system + interrupts + soft) / 100


def wait_for_quiet(seconds):
    """At most so long, until little else runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before, begun = busy_seconds(), time.monotonic()
        wait(SAMPLE_SECONDS)
        if (busy_seconds() - before) / (time.monotonic() - begun) < QUIET_CORES:
            return


class Loader:
    """The load generator of a build, and where its results go."""

    def __init__(self, settings, results):
        self.settings = settings
        self.results = results

    def run(self, cluster, figure, **options):
        """The figure as a dict; {"failed": why} if it could not be measured."""
        command = [str(self.settings.load), figure, "--target", cluster.target,
                   "--ports", ",".join(map(str, cluster.ports)),
                   "--pids", ",".join(map(str, cluster.pids))]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False,
                                 timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return {"failed": f"no end after {TIMEOUT_SECONDS} s"}
        if run.returncode != 0:
            return {"failed": (run.stderr or f"status {run.returncode}").strip()}
        return json.loads(run.stdout)

    def measure(self, step, cluster, figure, **options):
        """Runs, unless it has been measured before, and records. `step` is a Step."""
        if self.results.has(step.group, step.point, cluster.target, step.repetition):
            return
        wait_for_quiet(self.settings.quiet)
        self.record(step, cluster, self.run(cluster, figure, **options))

    def record(self, step, cluster, found):
        row = {"group": step.group, "point": step.point, "repetition": step.repetition,
               "time": int(time.time()), **found, "target": cluster.target,
               "members": cluster.members}
        self.results.add(row)
        said = found.get("failed") or ", ".join(
            f"{name} {found[name]:,.4g}" for name in
            ("ops_per_s", "p50_us", "p99_us", "server_us_per_op", "last_p50_us", "set_p50_us",
             "opened_per_s", "kb_per_session", "idle_cores", "outage_ms", "ready_ms",
             "resident_mb", "other_cores") if name in found)
        say(f"{step.group} {step.point} #{step.repetition} {cluster.target}: {said}")


class Step:
    """Names one measurement."""

    def __init__(self, group, point, repetition):
        self.group = group
        self.point = point
        self.repetition = repetition
