"""Figures of a life: fail-over, start, a million znodes."""

import signal

from load import Step, wait, wait_for_quiet


def outages(run, group, how, seconds, count):
    """The leader is signalled under a light load of writes, time and again."""
    targets = run.targets()
    if not run.missing(group, ["outage"], targets, count):
        return
    with run.started(targets, 3) as clusters:
        for cluster in clusters:
            run.fill(cluster, 1)
            run.warm_up(cluster, "load", op="set", outstanding=64, keys=1,
                        seconds=run.size.warm_seconds / 2)
        for repetition in run.repetitions(count):
            for cluster in clusters:
                step = Step(group, "outage", repetition)
                if run.results.has(step.group, step.point, cluster.target, repetition):
                    continue
                cluster.wait_for_leader()
                leader = cluster.leader()
                wait_for_quiet(run.settings.quiet)
                found = run.loader.run(
                    cluster, "failover", victim=cluster.processes[leader].pid, signal=int(how),
                    seconds=seconds[cluster.target] * run.size.outage_factor)
                if not found.get("recovered", "failed" in found):
                    found = {"failed": "no write has succeeded since the signal"}
                run.loader.record(step, cluster, found)
                cluster.end_member(leader, signal.SIGKILL)
                cluster.exec_member(leader)
                cluster.wait_until_serving(leader)


def kills(run):
    # From the signal on there are so many seconds less one.
    seconds = {"conclave": 3, "zookeeper": 4, "etcd": 5}
    outages(run, "killed", signal.SIGKILL, seconds, run.size.kills)


def stops(run):
    seconds = {"conclave": 4, "zookeeper": 16, "etcd": 5}
    outages(run, "stopped", signal.SIGSTOP, seconds, run.size.stops)


def starts(run):
    """From exec, with empty directories, to the first write that is acknowledged."""
    for repetition in run.repetitions(run.size.starts):
        for members in (1, 3):
            for target in run.targets():
                step = Step("starts", f"members-{members}", repetition)
                if run.results.has(step.group, step.point, target, repetition):
                    continue
                with run.cluster(target, members) as cluster:
                    begun = cluster.exec_all()
                    run.loader.measure(step, cluster, "probe", op="set", path="/",
                                       exec_wall_ns=begun, retry_ms=60)


def million(run):
    """Load, memory and restarts with a million znodes, a new server for each repetition."""
    for repetition in run.repetitions(run.size.million_repetitions):
        for target in run.targets():
            if run.missing_step("million", "load", target, repetition) or \
                    run.missing_step("million", "restart", target, repetition * 10 + 1):
                with run.cluster(target, 1) as cluster:
                    _million(run, cluster, repetition)


def _million(run, cluster, repetition):
    if cluster.target == "zookeeper":
        cluster.heap = "-Xmx3g"  # with less it does not hold them
    cluster.start()
    found = run.loader.run(cluster, "populate", keys=run.size.million, outstanding=512,
                           connections=32, limit_seconds=300)
    wait(3 * run.size.outage_factor)
    if "failed" not in found:
        found["loaded_mb"] = cluster.resident_mb()
        found["growth_mb"] = found["loaded_mb"] - found["resident_before_mb"]
        found["disk_mb"] = cluster.disk_mb()
    run.loader.record(Step("million", "load", repetition), cluster, found)
    for restart in range(1, run.size.restarts + 1):
        cluster.stop()
        begun = cluster.exec_all()
        run.loader.measure(Step("million", "restart", repetition * 10 + restart), cluster, "probe",
                           op="get", path="/b000/k0000000", exec_wall_ns=begun, retry_ms=200)


GROUPS = {
    "killed": (kills, "outage when the leader is killed; three members, default settings"),
    "stopped": (stops, "outage when the leader is stopped by SIGSTOP; three members"),
    "starts": (starts, "exec to the first acknowledged write; one member and three"),
    "million": (million, "a million znodes: load, memory, restart; one member"),
}
