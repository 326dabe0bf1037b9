"""The figures to reach, as ratios to the peers in the same run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    text: str
    group: str
    point: str
    field: str
    more: bool                # True: a larger ratio is better
    zookeeper: float = None   # ours / theirs; None: no goal
    etcd: float = None
    # Where the peers' figure comes from, if not from the same place: target to (group, point).
    other: dict = dataclasses.field(default_factory=dict)
    absolute: float = None    # at most, in the field's unit


def _rate(text, group, point, zookeeper, etcd, **more):
    return Goal(text, group, point, "ops_per_s", True, zookeeper, etcd, **more)


GOALS = (
    Goal("set, one member, 1 outstanding, p50 (us)", "sets-1", "set-1", "p50_us", False, 0.7, 0.85),
    _rate("set, one member, 256 outstanding, per second", "sets-1", "set-256", 2.2, 5.5),
    Goal("set, 1 outstanding, p50 (us)", "sets-3", "set-1", "p50_us", False, 0.5, 0.35),
    _rate("set, 64 outstanding, per second", "sets-3", "set-64", 3, 5.5),
    _rate("set, 256 outstanding, per second", "sets-3", "set-256", 4, 7),
    Goal("set, 256 outstanding, p99 (us)", "sets-3", "set-256", "p99_us", False, 0.3, 0.15),
    _rate("set, 1024 outstanding, per second (stretch 4.5; 7.5)", "sets-3", "set-1024", 3.5, 6),
    _rate("set of 1 KiB, 256 outstanding, per second", "sets-3", "set-256-1KiB", 3.5, 5.5),
    Goal("server CPU per set, 1024 outstanding (us)", "sets-3", "set-1024", "server_us_per_op",
         False, 0.2, 0.12),
    _rate("80/20 mix, 256 outstanding, per second", "mixes-3", "mixed-256", 5, 9),
)
