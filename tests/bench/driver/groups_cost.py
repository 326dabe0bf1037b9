"""What Conclave's calls cost by what is unrelated to them; a slow disk; too much load."""

import contextlib
import subprocess

from load import Step, say, wait
from servers import Failure

GET_AND_SET = ("set", "get")


@contextlib.contextmanager
def holding(run, cluster, sessions, watches):
    """Sessions and watches that are there meanwhile, held by a load generator of their own."""
    if sessions == 0:
        yield
        return
    command = [str(run.settings.load), "hold", "--target", cluster.target,
               "--ports", ",".join(map(str, cluster.ports)), "--sessions", str(sessions),
               "--watches", str(watches)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as holder:
        try:
            if holder.stdout.readline() != "holding\n":
                raise Failure(f"{cluster.target} does not hold {sessions} sessions")
            yield
        finally:
            holder.stdin.close()
            if holder.wait(60) != 0:
                say(f"{cluster.target}: the sessions held did not last")


def _axis_points(run):
    return {op: run.load(op, 64) for op in GET_AND_SET}


def _in_turn(run, group, clusters_by_point):
    """Every op on every cluster, in turn."""
    for repetition in run.repetitions():
        for op, (figure, options) in _axis_points(run).items():
            for size, cluster in clusters_by_point.items():
                run.loader.measure(Step(group, f"{op}-{size}", repetition), cluster, figure,
                                   **options)


def _wanted(run, group, sizes):
    return run.missing(group, [f"{op}-{size}" for op in GET_AND_SET for size in sizes],
                       ["conclave"])


def znodes_axis(run):
    """The load is on a thousand of them."""
    sizes = run.size.axis_znodes
    if not _wanted(run, "axis-znodes", sizes):
        return
    with run.started(["conclave"] * len(sizes), 1) as clusters:
        for size, cluster in zip(sizes, clusters):
            run.fill(cluster, size, outstanding=512, connections=32)
        for cluster in clusters:
            run.warm(cluster, run.size.warm_seconds / 4)
        _in_turn(run, "axis-znodes", dict(zip(sizes, clusters)))


def _held_axis(run, group, held):
    """`held`: size to (sessions, watches)."""
    if not _wanted(run, group, held):
        return
    with contextlib.ExitStack() as stack:
        clusters = {}
        for size, (sessions, watches) in held.items():
            (cluster,) = stack.enter_context(run.prepared(group, ["conclave"], 1))
            stack.enter_context(holding(run, cluster, sessions, watches))
            clusters[size] = cluster
        _in_turn(run, group, clusters)


def sessions_axis(run):
    _held_axis(run, "axis-sessions", {count: (count, 0) for count in run.size.axis_sessions})


def watches_axis(run):
    """Watches of a hundred sessions on znodes that nobody touches."""
    _held_axis(run, "axis-watches",
               {count: (min(run.size.axis_watch_sessions, count), count)
                for count in run.size.axis_watches})


def slow_disk(run):
    """Syncs that take longer; not of etcd, whose syncs do not go through libc."""
    shim = run.settings.bin_dir / "tests" / "bench" / "libconclave_slow_sync.so"
    targets = run.targets("conclave", "zookeeper")
    for members in (1, 3):
        for milliseconds in run.size.sync_ms:
            points = {f"members-{members}-sync-{milliseconds}ms-set-{o}": run.load("set", o)
                      for o in run.size.slow_loads}

            def prepare(cluster, delay_us=milliseconds * 1000):
                cluster.environment = {"LD_PRELOAD": str(shim),
                                       "CONCLAVE_BENCH_SYNC_US": str(delay_us)}
                cluster.start()
                run.fill(cluster, run.size.keys)
                run.warm(cluster, run.size.warm_seconds / 2)
            if run.missing("slow-disk", points, targets):
                with contextlib.ExitStack() as stack:
                    clusters = [stack.enter_context(run.cluster(target, members))
                                for target in targets]
                    run.in_turn("slow-disk",
                                run.those_prepared("slow-disk", clusters, prepare), points)


def overload(run):
    """Ten times what was measured right before, in an open loop."""
    for members in (1, 3):
        for repetition in run.repetitions(run.size.overload_repetitions):
            point = f"members-{members}"
            if run.results.has("overload", point, "conclave", repetition):
                continue
            with run.prepared("overload", ["conclave"], members) as (cluster,):
                capacity = run.warm_up(cluster, "load", op="set", outstanding=1024,
                                       connections=256, keys=run.size.keys,
                                       seconds=run.size.seconds)
                wait(run.size.outage_factor)
                found = run.loader.run(cluster, "overload", op="set",
                                       rate=10 * capacity["ops_per_s"], keys=run.size.keys,
                                       seconds=run.size.overload_seconds)
                if "failed" not in found:
                    found |= {"capacity_per_s": capacity["ops_per_s"],
                              "capacity_p99_us": capacity["p99_us"],
                              "capacity_mb": capacity["resident_mb"],
                              "memory_ratio": found["resident_max_mb"] / capacity["resident_mb"],
                              "p99_ratio": found["p99_us"] / found["unloaded_p99_us"],
                              "p99_capacity_ratio": found["p99_us"] / capacity["p99_us"]}
                run.loader.record(Step("overload", point, repetition), cluster, found)


GROUPS = {
    "axis-znodes": (znodes_axis, "Conclave alone: sets and gets with up to a million znodes"),
    "axis-sessions": (sessions_axis, "Conclave alone: with up to 10,000 sessions"),
    "axis-watches": (watches_axis, "Conclave alone: with up to 100,000 watches"),
    "slow-disk": (slow_disk, "sets when a sync takes 2 ms or 10 ms more; not etcd"),
    "overload": (overload, "Conclave alone: an open loop of ten times its capacity"),
}
