"""The figures to reach: as ratios to the peers in the same run, or by themselves."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    text: str
    group: str
    point: str
    field: str
    more: bool = False        # True: a larger ratio (or figure) is better
    zookeeper: float = None   # ours / theirs; None: no goal
    etcd: float = None
    absolute: float = None    # in the field's unit


def _rate(text, group, point, zookeeper=None, etcd=None, field="ops_per_s"):
    return Goal(text, group, point, field, True, zookeeper, etcd)


PEER_GOALS = (
    Goal("set, one member, 1 outstanding, p50 us", "sets-1", "set-1", "p50_us", False, 0.7, 0.85),
    _rate("set, one member, 256 outstanding, per second", "sets-1", "set-256", 2.2, 5.5),
    Goal("set, 1 outstanding, p50 us", "sets-3", "set-1", "p50_us", False, 0.5, 0.35),
    _rate("set, 64 outstanding, per second", "sets-3", "set-64", 3, 5.5),
    _rate("set, 256 outstanding, per second", "sets-3", "set-256", 4, 7),
    Goal("set, 256 outstanding, p99 us", "sets-3", "set-256", "p99_us", False, 0.3, 0.15),
    _rate("set, 1024 outstanding, per second (stretch 4.5 and 7.5)", "sets-3", "set-1024", 3.5, 6),
    _rate("set of 1 KiB, 256 outstanding, per second", "sets-3", "set-256-1KiB", 3.5, 5.5),
    Goal("server CPU per set, 1024 outstanding, us", "sets-3", "set-1024", "server_us_per_op",
         False, 0.2, 0.12),
    _rate("linearizable get, 64 outstanding, per second (ZooKeeper: local; etcd: after writes)",
          "gets-3", "get-64", 1.5, 10),
    _rate("linearizable get, the same, all restarted", "fresh-gets-3", "get-64", None, 5),
    _rate("session get, 256 outstanding, per second (etcd: after writes)", "gets-3",
          "localget-256", 2.5, 20),
    _rate("session get, the same, all restarted", "fresh-gets-3", "localget-256", None, 8),
    _rate("80/20 mix, 256 outstanding, per second", "mixes-3", "mixed-256", 5, 9),
    Goal("fan-out to 5,000 watchers, until the last, us", "fanout-3", "watchers-5000",
         "last_p50_us", False, 0.33, 0.3),
    Goal("setter's answer with 5,000 watchers, one member, us", "fanout-1", "watchers-5000",
         "set_p50_us", False, 0.03, 0.05),
    _rate("sessions opened in a burst of 10,000, per second, one member", "sessions",
          "sessions-10000", 3, 2.5, field="opened_per_s"),
    Goal("10,000 idle sessions, one member: cores", "sessions", "sessions-10000", "idle_cores",
         False, 0.4, 0.2),
    Goal("memory per session with its parked call, KB", "sessions", "sessions-10000",
         "kb_per_session", False, None, 0.05, absolute=9),
    Goal("leader killed, outage p50 ms", "killed", "outage", "outage_ms", False, 0.15, 0.08),
    Goal("leader stopped, outage p50 ms", "stopped", "outage", "outage_ms", False, 0.1, 0.35),
    Goal("exec to first acknowledged write, one member, ms", "starts", "members-1", "ready_ms",
         False, 0.1, 0.1),
    Goal("exec to first acknowledged write, three members, ms", "starts", "members-3", "ready_ms",
         False, 0.25, 0.5),
    Goal("restart with a million znodes to first read, ms", "million", "restart", "ready_ms",
         False, 0.25, 0.4),
    Goal("growth of resident memory by a million znodes, MB", "million", "load", "growth_mb",
         False, 0.17, 0.45),
    Goal("resident memory with a million znodes, MB", "million", "load", "loaded_mb",
         False, 0.22, 0.6),
    _rate("load of a million znodes, per second", "million", "load", 4, 5.5),
)


def _slow_disk(members, milliseconds):
    group, point = "slow-disk", f"members-{members}-sync-{milliseconds}ms-set-"
    word = "one member" if members == 1 else f"{members} members"
    return (
        Goal(f"syncs of {milliseconds} ms more, {word}: sets, 256 outstanding, per second",
             group, point + "256", "ops_per_s", True, absolute=0.45 * 256 / milliseconds * 1000),
        Goal(f"syncs of {milliseconds} ms more, {word}: set, 1 outstanding, p99 us",
             group, point + "1", "p99_us", absolute=3000 * milliseconds + 1000))


def _overload(members):
    point = f"members-{members}"
    word = "one member" if members == 1 else f"{members} members"
    return (
        Goal(f"overload, {word}: resident memory / at capacity", "overload", point,
             "memory_ratio", absolute=1.5),
        Goal(f"overload, {word}: p99 of what is served / unloaded", "overload", point,
             "p99_ratio", absolute=5),
        Goal(f"overload, {word}: seconds until well again", "overload", point,
             "recovery_seconds", absolute=5))


GOALS = (*PEER_GOALS, *_slow_disk(1, 2), *_slow_disk(1, 10), *_slow_disk(3, 2), *_slow_disk(3, 10),
         *_overload(1), *_overload(3))

# Group, and the most that the dearest size may cost relative to the cheapest.
AXES = {"axis-znodes": 1.3, "axis-sessions": 1.3, "axis-watches": 1.3}
