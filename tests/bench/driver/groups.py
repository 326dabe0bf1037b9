"""The groups of figures: what is started, what is measured, in which order.

In a group whose servers run side by side the targets are measured in turn, repetition by
repetition, so that a slow phase of the machine meets all of them.
"""

import contextlib

from load import Step, say

OUTSTANDING = (1, 16, 64, 256, 1024)
KEYS = 1_000


class Run:
    """Settings, results and loader of one call of tests/bench/compare."""

    def __init__(self, settings, results, loader):
        self.settings = settings
        self.results = results
        self.loader = loader

    @property
    def size(self):
        return self.settings.size

    def cluster(self, target, members):
        return self.settings.targets[target](self.settings, members)

    def targets(self, *wanted):
        return [name for name in self.settings.targets if not wanted or name in wanted]

    def repetitions(self, count=None):
        return range(1, (count or self.settings.repetitions) + 1)

    def missing(self, group, points, targets, count=None):
        """Whether anything of it is still to be measured."""
        return any(not self.results.has(group, point, target, repetition)
                   for point in points for target in targets
                   for repetition in self.repetitions(count))

    def warm_up(self, cluster, figure, **options):
        """Not recorded. A failure is told and repeated twice, then fatal."""
        for _ in range(3):
            found = self.loader.run(cluster, figure, **options)
            if "failed" not in found:
                return
            say(f"{cluster.target}: {figure} before the measurement: {found['failed']}")
        raise RuntimeError(f"{cluster.target} cannot be prepared: {found['failed']}")

    @contextlib.contextmanager
    def prepared(self, targets, members):
        """Clusters of all targets, with the thousand znodes and warm."""
        with contextlib.ExitStack() as stack:
            clusters = [stack.enter_context(self.cluster(target, members)) for target in targets]
            for cluster in clusters:
                cluster.start()
            for cluster in clusters:
                self.fill(cluster, self.size.keys)
                self.warm_up(cluster, "load", op="mixed", outstanding=64, keys=self.size.keys,
                             seconds=self.size.warm_seconds)
                self.warm_up(cluster, "load", op="set", outstanding=256, keys=self.size.keys,
                             seconds=self.size.warm_seconds * 0.75)
            yield clusters

    def fill(self, cluster, keys):
        self.warm_up(cluster, "populate", keys=keys, outstanding=64)

    def side_by_side(self, group, members, points, *wanted):
        """`points`: name to (figure, options)."""
        targets = self.targets(*wanted)
        if not self.missing(group, points, targets):
            return
        with self.prepared(targets, members) as clusters:
            self.in_turn(group, clusters, points)

    def in_turn(self, group, clusters, points):
        for repetition in self.repetitions():
            for point, (figure, options) in points.items():
                for cluster in clusters:
                    self.loader.measure(Step(group, point, repetition), cluster, figure, **options)


def load(run, op, outstanding, value_bytes=100, connections=0):
    options = {"op": op, "outstanding": outstanding, "value_bytes": value_bytes,
               "keys": run.size.keys, "seconds": run.size.seconds}
    if connections:
        options["connections"] = connections
    return "load", options


def sets(run, group, members):
    points = {f"set-{o}": load(run, "set", o) for o in run.size.outstanding}
    points |= {f"set-{o}-1KiB": load(run, "set", o, value_bytes=1024)
               for o in run.size.outstanding}
    points |= {f"set-{o}-4conns": load(run, "set", o, connections=4)
               for o in run.size.outstanding if o >= 64}
    run.side_by_side(group, members, points)


def gets(run, group, members):
    points = {f"get-{o}": load(run, "get", o) for o in run.size.outstanding}
    points |= {f"localget-{o}": load(run, "localget", o) for o in run.size.outstanding}
    points |= {f"{op}-{o}-4conns": load(run, op, o, connections=4)
               for op in ("get", "localget") for o in run.size.outstanding if o >= 64}
    run.side_by_side(group, members, points)


def mixes(run, group, members):
    points = {f"mixed-{o}": load(run, "mixed", o) for o in run.size.outstanding}
    run.side_by_side(group, members, points)


GROUPS = {}


def group(name, text):
    def register(function):
        GROUPS[name] = (function, text)
        return function
    return register


for _members in (1, 3):
    _word = "one member" if _members == 1 else "three members"
    GROUPS[f"sets-{_members}"] = (
        lambda run, m=_members: sets(run, f"sets-{m}", m),
        f"sets of 100 B and 1 KiB, 1 to 1024 outstanding, {_word}")
    GROUPS[f"gets-{_members}"] = (
        lambda run, m=_members: gets(run, f"gets-{m}", m),
        f"gets after writes, linearizable and of the session, {_word}")
    GROUPS[f"mixes-{_members}"] = (
        lambda run, m=_members: mixes(run, f"mixes-{m}", m),
        f"80 % gets and 20 % sets, {_word}")
